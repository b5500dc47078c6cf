"""A page holds the model, its labels and its samples; what it cannot is one line."""

import base64
import gzip
import json
import re

import pytest

from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.commands.main import main
from edgetpu_lib.tflite.scores import open_scorer
from edgetpu_lib.web import classifier

MODEL = data_file("quickstart_quant.tflite")
FILES = {"litert.js": b"script", "litert.wasm": b"wasm"}


@pytest.fixture(autouse=True)
def runtime(monkeypatch):
    """Take another runtime than npm's, so that no network is needed."""
    monkeypatch.setattr(classifier, "runtime_files", lambda: FILES)


def parts_of(page):
    found = re.findall(r'id="part:([^"]+)">([^<]+)<', page)
    return {n: gzip.decompress(base64.b64decode(text)) for n, text in found}


def settings_in(page):
    return json.loads(re.search(r'id="settings">(.*?)</script>', page)[1])


def test_one_file_holds_model_runtime_and_samples(tmp_path):
    (path,) = classifier.write_page(MODEL, tmp_path / "page.html")
    page = path.read_text("utf-8")
    parts, settings = parts_of(page), settings_in(page)
    assert parts["model.tflite"] == MODEL.read_bytes()
    assert parts.items() >= FILES.items()
    assert {each["name"] for each in settings["samples"]} <= parts.keys()
    assert settings["labels"][0] == "daisy"
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_same_model_gives_the_same_page(tmp_path):
    first = classifier.write_page(MODEL, tmp_path / "a.html")[0].read_bytes()
    assert first == classifier.write_page(MODEL, tmp_path / "b.html")[0].read_bytes()


def test_split_files_are_the_parts_themselves(tmp_path):
    written = classifier.write_page(MODEL, tmp_path / "site", split_files=True)
    assert written[0].name == "index.html"
    assert (tmp_path / "site/model.tflite").read_bytes() == MODEL.read_bytes()
    assert not parts_of(written[0].read_text("utf-8"))


def test_names_are_text_and_never_markup(tmp_path):
    names = ["</script><b>", "ä", "ب", "$x", "<!--"]
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(names), "utf-8")
    shown = classifier.PageOptions(labels_map_file=str(labels), title="</title><i>")
    (path,) = classifier.write_page(MODEL, tmp_path / "page.html", options=shown)
    page = path.read_text("utf-8")
    assert settings_in(page)["labels"] == names
    assert "<i>" not in page
    assert "<b>" not in page


def test_card_tells_accuracy_with_its_interval_training_and_licence():
    measured = {"top1": 0.9, "top1_low": 0.85, "top1_high": 0.94, "images": 70}
    metadata = {"test": measured, "training_images": 300, "date": "2026-11-25"}
    facts = classifier.facts_of(metadata, open_scorer(MODEL), "CC BY 4.0")
    accuracy = facts["Accuracy before quantization"]
    assert all(word in accuracy for word in ("90.0%", "85.0%", "94.0%", "70"))
    assert {"300", "2026-11-25", "CC BY 4.0"} <= set(facts.values())


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--labels_map_file=TMP/three.txt"], "3 labels"),
        (["--sample_glob=TMP/*.png"], "*.png"),
        (["--sample_glob=TMP/three.txt"], "three.txt"),
        (["--checker"], "not both"),
        (["--mean=3"], "--std"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, capsys, options, word):
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    options = [each.replace("TMP", str(tmp_path)) for each in options]
    output = tmp_path / "out" / "page.html"
    assert main(["page", str(MODEL), f"--output={output}", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line
    assert not output.parent.exists()


def test_a_compiled_file_is_refused_with_the_one_before(tmp_path):
    path = tmp_path / "flowers_edgetpu.tflite"
    path.write_bytes(MODEL.read_bytes() + b"edgetpu-custom-op")
    with pytest.raises(InputError, match=r"flowers\.tflite"):
        classifier.write_page(path, tmp_path / "page.html")


def test_without_npm_the_command_says_what_to_do(tmp_path, capsys, monkeypatch):
    def fail():
        raise InputError("there is no npm; install Node.js")

    monkeypatch.setattr(classifier, "runtime_files", fail)
    output = tmp_path / "page.html"
    assert main(["page", str(MODEL), f"--output={output}"]) == 2
    assert "Node.js" in capsys.readouterr().err
    assert not output.exists()
