"""The command `audit`: a table, JSON, and a page that needs nothing else."""

import html.parser
import json
import shutil

import pytest
from PIL import Image

from edgetpu_lib import checkpoint


@pytest.fixture(scope="session")
def model_file(classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "slim.keras"
    return checkpoint.save_model(classifier, path)


@pytest.fixture
def folder(tmp_path, draw_folders):
    """Return class folders with a wrong label, a copy and a damaged file."""
    folder = draw_folders(tmp_path / "colours", per_class=24)
    shutil.move(folder / "red/05.png", folder / "blue/moved.png")
    shutil.copy(folder / "red/00.jpg", folder / "green/copy.jpg")
    (folder / "red/cut.jpg").write_bytes(b"\xff\xd8\xff cut")
    return folder


@pytest.fixture
def audit(run, model_file, tmp_path):
    """Return a function: a folder and options to (exit code, output, errors)."""

    def call(folder, *options):
        output = f"--output={tmp_path / 'out' / 'audit.html'}"
        cache = f"--cache_dir={tmp_path / 'cache'}"
        return run("audit", folder, f"--model={model_file}", output, cache, *options)

    return call


class Page(html.parser.HTMLParser):
    """Collects the text of a page, its images, and everything it refers to."""

    def __init__(self, text):
        super().__init__()
        self.text, self.images, self.links, self.tags = "", [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        values = dict(attrs)
        self.links += [values[name] for name in ("href", "src") if name in values]
        if tag == "img":
            self.images.append(values)

    def handle_data(self, data):
        self.text += data


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_finds_what_was_planted_and_changes_nothing(audit, folder, tmp_path):
    before = contents(folder)
    code, output, errors = audit(folder)
    assert (code, contents(folder)) == (0, before), errors
    moved = next(line for line in output.splitlines() if "moved.png" in line)
    assert moved.split()[1] == "blue" and moved.split()[3] == "red"
    assert "cut.jpg" in output
    page = Page((tmp_path / "out/audit.html").read_text("utf-8"))
    for name in ("moved.png", "copy.jpg", "00.jpg", "cut.jpg"):
        assert name in page.text


def test_json_holds_all_findings(audit, folder):
    code, output, _ = audit(folder, "--json")
    found = json.loads(output)
    assert (code, found["images"], found["judged"]) == (0, 74, 73)
    first = found["labels"][0]["image"]
    assert first["path"].endswith(("moved.png", "copy.jpg"))
    (copies,) = found["copies"]
    assert copies["kind"] == "two classes"
    assert {image["class_name"] for image in copies["images"]} == {"red", "green"}
    assert [flaw["kind"] for flaw in found["flaws"]] == ["unreadable"]
    counts = found["counts"]
    assert (counts["two classes"], counts["unreadable"]) == (1, 1)
    assert counts["label"] == len(found["labels"])


def test_the_page_holds_all_that_it_shows(audit, folder, tmp_path):
    audit(folder)
    page = Page((tmp_path / "out/audit.html").read_text("utf-8"))
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert "script" not in page.tags
    assert page.images
    for image in page.images:
        assert image["src"].startswith("data:image/jpeg;base64,")
        assert max(int(image["width"]), int(image["height"])) <= 160


def test_names_are_text_on_the_page(audit, folder, tmp_path):
    # What a folder is called must not become a part of the page.
    (folder / "blue").rename(folder / "<script>&")
    assert audit(folder)[0] == 0
    page = Page((tmp_path / "out/audit.html").read_text("utf-8"))
    assert "<script>&" in page.text
    assert "script" not in page.tags


def test_the_list_has_each_path_once(audit, folder, tmp_path):
    target = tmp_path / "doubtful.txt"
    assert audit(folder, f"--list={target}")[0] == 0
    paths = target.read_text("utf-8").splitlines()
    assert len(set(paths)) == len(paths)
    wanted = {"blue/moved.png", "green/copy.jpg", "red/00.jpg", "red/cut.jpg"}
    assert {str(folder / name) for name in wanted} <= set(paths)


def test_a_limit_shortens_page_and_list(audit, folder, tmp_path):
    shutil.copy(folder / "red/02.jpg", folder / "green/copy2.jpg")
    audit(folder)
    all_images = len(Page((tmp_path / "out/audit.html").read_text("utf-8")).images)
    target = tmp_path / "doubtful.txt"
    audit(folder, "--limit=1", f"--list={target}")
    page = Page((tmp_path / "out/audit.html").read_text("utf-8"))
    assert len(page.images) < all_images
    assert len(page.images) == len(target.read_text("utf-8").splitlines()) - 1 or (
        # A doubtful label may be one of a pair of copies, too.
        len(page.images) == len(target.read_text("utf-8").splitlines())
    )


def test_splits_of_a_folder_are_compared(audit, tmp_path, draw_folders):
    data = tmp_path / "data"
    draw_folders(data / "train", per_class=20)
    draw_folders(data / "valid", per_class=5, seed=1)
    shutil.copy(data / "train/red/00.jpg", data / "valid/red/again.jpg")
    found = json.loads(audit(data, "--json")[1])
    (copies,) = found["copies"]
    assert copies["kind"] == "two splits"
    assert {image["split"] for image in copies["images"]} == {"train", "validation"}


def test_records_of_shards_are_audited(audit, shards, tmp_path):
    code, output, errors = audit(shards, "--json")
    assert code == 0, errors
    assert json.loads(output)["images"] == 30
    assert (tmp_path / "out/audit.html").is_file()


@pytest.mark.parametrize(
    "options",
    [
        ["--ckpt_dir=somewhere"],
        ["--num_classes=3"],
        ["--output=page.txt"],
        ["--limit=0"],
    ],
)
def test_what_cannot_be_is_one_line(audit, folder, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, output, errors = audit(folder, *options)
    assert (code, output) == (2, "")
    assert len([line for line in errors.splitlines() if "error:" in line]) == 1
    assert options[0].split("=")[0] in errors
    assert not list(tmp_path.rglob("*.html"))


def test_a_folder_as_output_is_refused_before_the_work(audit, folder, tmp_path):
    place = tmp_path / "page.html"
    place.mkdir()
    code, _, errors = audit(folder, f"--output={place}")
    assert code == 2 and str(place) in errors
    assert not (tmp_path / "cache").exists()


def test_a_missing_folder_and_one_without_classes_are_one_line(audit, tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        code, output, errors = audit(path)
        assert (code, output) == (2, "")
        assert str(path) in errors.splitlines()[-1]


def test_a_network_of_another_kind_is_refused(run, folder, tmp_path):
    import keras

    layers = [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
    path = tmp_path / "other.keras"
    keras.Sequential(layers).save(path)
    code, _, errors = run("audit", folder, f"--model={path}")
    assert code == 2 and str(path) in errors


def test_without_weights_that_ship_the_command_asks_for_some(run, folder):
    code, _, errors = run("audit", folder, "--model_name=efficientnet-edgetpu-L")
    assert code == 2 and "--ckpt_dir" in errors


def test_features_are_computed_once(audit, folder, monkeypatch):
    from edgetpu_lib.training import features

    assert audit(folder)[0] == 0

    def fail(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(features, "_compute", fail)
    assert audit(folder)[0] == 0


def test_a_model_of_stretched_images_sees_them_stretched(
    audit, folder, model_file, tmp_path, monkeypatch
):
    from edgetpu_lib.base.artifacts import save_metadata
    from edgetpu_lib.training import features

    seen, compute = [], features.pooled_features

    def watched(*arguments, **options):
        seen.append(options["resize"])
        return compute(*arguments, **options)

    monkeypatch.setattr(features, "pooled_features", watched)
    stretched = shutil.copy(model_file, tmp_path / "stretched.keras")
    save_metadata(stretched, resize="stretch")
    assert audit(folder)[0] == audit(folder, f"--model={stretched}")[0] == 0
    assert seen == ["crop", "stretch"]


def test_large_images_are_shown_small(audit, folder, tmp_path):
    Image.new("RGB", (3000, 1000)).save(folder / "red" / "wide.png")
    assert audit(folder)[0] == 0
    assert (tmp_path / "out/audit.html").stat().st_size < 500_000
