"""The checker's page prints what the commands print, and stays usable meanwhile."""

import inspect
from pathlib import Path

import pytest
from pages import PHONE, watch
from server import serve

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.commands.main import main
from edgetpu_lib.costs.constants import DEVICES
from edgetpu_lib.web import checker

pytestmark = pytest.mark.browser
SHARED = Path(__file__).parents[3] / "shared" / "models"
COMMANDS = [["check"], *(["estimate", f"--device={name}"] for name in DEVICES)]
WIDE = {"width": 1280, "height": 900}
WIDTHS = "e => [e.scrollWidth, e.clientWidth]"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checker")
    try:
        checker.write_checker(folder)
    except InputError as error:
        pytest.skip(str(error))
    with serve(folder) as found:
        yield found


@pytest.fixture(scope="module")
def opened(browser, address):
    """Open the page once; Python stays loaded for all files."""
    page = browser.new_page(viewport=PHONE)
    page.troubles = watch(page)
    page.goto(address)
    yield page
    assert page.troubles == []
    page.close()


def drop(page, *paths, timeout_s=60):
    """Choose files and wait for the result or the error."""
    page.set_input_files("#model", [str(path) for path in paths])
    page.locator("#result:visible, #error:visible").wait_for(timeout=1000 * timeout_s)
    assert page.locator("#status").inner_text() == ""


def printed(page):
    """Return {command: what it printed} of the page; {} after an error."""
    if not page.locator("#result").is_visible():
        return {}
    return {
        each.get_attribute("data-command"): each.text_content()
        for each in page.locator("pre").all()
    }


def run(words, capsys):
    """Return the exit code of a command, and what it printed."""
    capsys.readouterr()  # What a converter said before.
    code = main(words)
    output = capsys.readouterr()
    return code, output.out or output.err.strip()


def assert_page_equals_commands(page, path, capsys, monkeypatch):
    monkeypatch.chdir(path.parent)
    drop(page, path)
    texts = printed(page)
    for words in COMMANDS:
        code, text = run([*words, "--json", "--", path.name], capsys)
        if words == ["check"] and code == 2:
            assert page.locator("#error").inner_text() == text
            assert texts == {}
            return
        assert texts[" ".join(words)] == text, path.name


@pytest.mark.parametrize("name", sorted(path.name for path in SHARED.glob("*.tflite")))
def test_json_of_public_models_is_that_of_the_commands(
    opened, name, capsys, monkeypatch
):
    assert_page_equals_commands(opened, SHARED / name, capsys, monkeypatch)


def small_models():
    """Return {name: content} of the small files that other tests check."""
    import zoo

    made = {}
    for name, function in inspect.getmembers(zoo, inspect.isfunction):
        parameters = inspect.signature(function).parameters.values()
        if function.__module__ == "zoo" and all(
            p.default is not p.empty or p.kind is p.VAR_KEYWORD for p in parameters
        ):
            content = function()
            if isinstance(content, bytes):
                made[name] = content
    return made


def test_json_of_small_models_is_that_of_the_commands(
    opened, tmp_path, capsys, monkeypatch
):
    models = small_models()
    assert len(models) > 50
    for name, content in models.items():
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        assert_page_equals_commands(opened, path, capsys, monkeypatch)


def test_metadata_beside_the_model_are_read(opened, capsys, monkeypatch, tmp_path):
    sample = checker.artifacts.data_file(checker.SAMPLE)
    monkeypatch.chdir(sample.parent)
    drop(opened, sample.parent / f"{sample.name}.json", sample)
    _, text = run(["check", "--json", sample.name], capsys)
    assert printed(opened)["check"] == text


@pytest.mark.parametrize(
    "content",
    [b"", b"no model at all", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 500],
    ids=["empty", "text", "damaged"],
)
@pytest.mark.parametrize("name", ["bad.tflite", "-ä <b>ü.tflite"])
def test_a_bad_file_gives_the_line_of_the_command(
    opened, name, content, tmp_path, capsys, monkeypatch
):
    path = tmp_path / name
    path.write_bytes(content)
    assert_page_equals_commands(opened, path, capsys, monkeypatch)


def test_a_file_beyond_the_format_is_refused_unread(
    opened, tmp_path, capsys, monkeypatch
):
    path = tmp_path / "huge.tflite"
    with path.open("wb") as stream:
        stream.write(b"\x1c\x00\x00\x00TFL3")
        stream.truncate(2**31 + 10)
    assert_page_equals_commands(opened, path, capsys, monkeypatch)


def test_a_large_file_does_not_freeze_the_page(opened, tmp_path, capsys, monkeypatch):
    content = checker.artifacts.data_file(checker.SAMPLE).read_bytes()
    path = tmp_path / "large.tflite"
    path.write_bytes(content + bytes(100 * 2**20 - len(content)))
    opened.evaluate("""() => {
      window.longest_ms = 0;
      let last = performance.now();
      window.ticking = setInterval(() => {
        const now = performance.now();
        window.longest_ms = Math.max(window.longest_ms, now - last);
        last = now;
      }, 10);
    }""")
    assert_page_equals_commands(opened, path, capsys, monkeypatch)
    longest_ms = opened.evaluate("clearInterval(window.ticking), window.longest_ms")
    assert longest_ms < 500


def test_a_file_can_be_dropped_on_the_page(opened):
    opened.evaluate("""() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(["no model"], "dropped.tflite"));
      document.body.dispatchEvent(
        new DragEvent("drop", { dataTransfer: transfer, bubbles: true }));
    }""")
    opened.locator("#error", has_text="dropped.tflite").wait_for()


def test_the_page_recovers_when_python_did_not_load(browser, address):
    page = browser.new_page(viewport=PHONE)
    page.goto(address)
    page.route("**/python.zip", lambda route: route.abort())
    sample = checker.artifacts.data_file(checker.SAMPLE)
    drop(page, sample)
    assert page.locator("#error").is_visible()
    page.unroute("**/python.zip")
    drop(page, sample)
    assert page.locator("#result").is_visible()
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "wide"])
def test_the_page_fits_and_can_be_used_without_a_mouse(browser, address, size, theme):
    page = browser.new_page(viewport=size, color_scheme=theme)
    troubles = watch(page)
    page.goto(address)
    page.get_by_role("button", name="Try it with a sample").focus()
    page.keyboard.press("Enter")
    page.locator("progress").wait_for()
    page.get_by_role("heading", name="is ready for the Edge TPU").wait_for()
    wide, narrow = page.locator("html").evaluate(WIDTHS)
    assert wide == narrow
    controls = page.locator("input, button, select, progress, summary, [tabindex='0']")
    for control in controls.all():
        snapshot = control.evaluate(
            "e => e.labels?.[0]?.textContent || e.ariaLabel || e.textContent"
        )
        assert snapshot.strip()
    page.get_by_label("Device", exact=True).select_option("dev-board")
    assert page.locator("#slowest tbody tr").count() == 10
    assert troubles == []
    page.close()


def test_a_finding_links_to_its_explanation(opened, browser):
    drop(opened, SHARED / "deeplabv3_mnv2_dm05_pascal_quant.tflite")
    link = opened.locator("#findings a").first
    code, target = link.inner_text(), link.evaluate("link => link.href")
    page = browser.new_page(viewport=PHONE)
    page.goto(target)
    assert page.locator(f"h2#{code}").is_visible()
    wide, narrow = page.locator("html").evaluate(WIDTHS)
    assert wide == narrow
    page.close()
