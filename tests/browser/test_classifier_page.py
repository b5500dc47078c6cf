"""The classifier's page gives the scores of `deploy` and asks no other host."""

import foreign
import numpy as np
import pytest
from pages import PHONE, watch
from PIL import Image
from server import serve

from edgetpu_lib import deploy
from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.web import classifier

pytestmark = pytest.mark.browser
expect = pytest.importorskip("playwright.sync_api", reason="make test-browser").expect
MODEL = data_file("quickstart_quant.tflite")
SAMPLES = sorted(data_file("samples/tulip_1.jpg").parent.glob("*.jpg"))
LABELS = "Gänseblümchen\nهندباء\nRose\nSonnenblume\nTulpe & <b>\n"
CLASSES = 5


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Write the page into one file; return its path."""
    path = tmp_path_factory.mktemp("page") / "classifier.html"
    try:
        classifier.write_page(MODEL, path)
    except InputError as error:
        pytest.skip(str(error))
    return path


def open_page(browser, address, **context):
    page = browser.new_page(**{"viewport": PHONE} | context)
    page.asked = []
    page.troubles = watch(page)
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    return page


@pytest.fixture(scope="module")
def opened(browser, written):
    """Open the page from the disk."""
    page = open_page(browser, written.as_uri())
    yield page
    assert page.troubles == []
    asked = [url for url in page.asked if not url.startswith(("blob:", "data:"))]
    assert asked == [written.as_uri()]
    page.close()


def scores_of(page, path, classes=CLASSES):
    """Classify a file on the page; return its scores."""
    page.evaluate("document.getElementById('bars').replaceChildren()")
    page.set_input_files("#file", str(path))
    page.wait_for_selector("#bars li", state="attached")
    rows = page.locator("#bars li").all()
    found = np.zeros(classes, np.float32)
    for row in rows:
        index = int(row.get_attribute("data-index"))
        found[index] = float(row.get_attribute("data-probability"))
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("height", "width"), [(96, 96), (97, 130), (300, 211)])
def test_scores_are_equal_to_the_bit(opened, tmp_path, seed, height, width):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 6, 3), np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(small).resize((width, height)).save(path)
    expected = deploy.score_image(MODEL, path)
    assert np.array_equal(scores_of(opened, path), expected)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_scores_of_photos_are_those_of_deploy(opened, path):
    # Both decoders of JPEG are libjpeg-turbo; one step of the output is 1/256.
    expected = deploy.score_image(MODEL, path)
    assert np.abs(scores_of(opened, path) - expected).max() <= 1 / 128


UNIT = (0.0, 255.0)
OTHERS = {
    "uint8": (lambda: foreign.to_tflite(foreign.classifier("raw"), 0, 255), None),
    "int8": (
        lambda: foreign.to_tflite(foreign.classifier("raw"), 0, 255, "int8"),
        None,
    ),
    "float": (lambda: foreign.to_tflite(foreign.classifier("unit")), UNIT),
    "logits": (
        lambda: foreign.to_tflite(foreign.classifier("raw", ends=None), 0, 255),
        None,
    ),
    "oblong": (
        lambda: foreign.to_tflite(foreign.classifier("raw", shape=(20, 32)), 0, 255),
        None,
    ),
    "one score": (lambda: foreign.to_tflite(foreign.binary()), UNIT),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("shade", [60, 150])
def test_other_models_give_the_scores_of_deploy(browser, tmp_path, kind, shade):
    build, pixel_scale = OTHERS[kind]
    model, path = tmp_path / "model.tflite", tmp_path / "image.png"
    model.write_bytes(build())
    image = np.random.default_rng(shade).normal(shade, 20, (30, 41, 3)).clip(0, 255)
    Image.fromarray(image.astype(np.uint8)).save(path)
    try:
        (written,) = classifier.write_page(
            model, tmp_path / "page.html", pixel_scale=pixel_scale
        )
    except InputError as error:
        pytest.skip(str(error))
    expected = deploy.score_image(model, path, pixel_scale=pixel_scale)
    page = open_page(browser, written.as_uri())
    found = scores_of(page, path, len(expected))
    assert page.troubles == []
    page.close()
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("orientation", [3, 6])
def test_photos_are_turned_as_their_camera_says(opened, tmp_path, orientation):
    path, exif = tmp_path / "turned.jpg", Image.Exif()
    exif[0x0112] = orientation
    Image.open(SAMPLES[0]).save(path, exif=exif, quality=95, subsampling=0)
    expected = deploy.score_image(MODEL, path)
    assert np.abs(scores_of(opened, path) - expected).max() <= 1 / 128


def test_what_is_no_image_is_named_and_the_page_goes_on(opened, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no image")
    opened.set_input_files("#file", str(path))
    expect(opened.locator("#error")).to_contain_text("notes.txt")
    assert not opened.locator("#result").is_visible()
    assert scores_of(opened, SAMPLES[0]).sum() > 0.9
    expect(opened.locator("#error")).not_to_be_visible()


def test_an_image_can_be_dropped_and_pasted(opened):
    for kind in ("drop", "paste"):
        opened.evaluate("document.getElementById('bars').replaceChildren()")
        opened.evaluate(
            """async (kind) => {
              const canvas = new OffscreenCanvas(50, 50);
              canvas.getContext("2d").fillRect(0, 0, 50, 50);
              const data = new DataTransfer();
              data.items.add(new File([await canvas.convertToBlob()], "x.png"));
              const event = kind === "drop"
                ? new DragEvent("drop", { dataTransfer: data, cancelable: true })
                : new ClipboardEvent("paste", { clipboardData: data });
              dispatchEvent(event);
            }""",
            kind,
        )
        opened.wait_for_selector("#bars li", state="attached")


def test_all_controls_have_names_and_work_by_keyboard(opened):
    buttons = opened.get_by_role("button", name="Sample image 1")
    buttons.focus()
    opened.keyboard.press("Enter")
    opened.wait_for_selector("#bars li", state="attached")
    expect(opened.get_by_label("Choose an image")).to_be_enabled()
    expect(opened.get_by_role("button", name="Camera")).to_be_enabled()
    nameless = "b => !b.textContent.trim() && !b.getAttribute('aria-label')"
    assert not opened.evaluate(
        f"[...document.querySelectorAll('button')].filter({nameless}).length"
    )


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_labels_of_all_scripts_fit_and_are_text(browser, tmp_path, width, scheme):
    (tmp_path / "labels.txt").write_text(LABELS, "utf-8")
    shown = classifier.PageOptions(
        labels_map_file=str(tmp_path / "labels.txt"), title="Blüten <b>"
    )
    path = tmp_path / "page.html"
    classifier.write_page(MODEL, path, options=shown)
    viewport = {"width": width, "height": 800}
    page = open_page(browser, path.as_uri(), viewport=viewport, color_scheme=scheme)
    scores_of(page, SAMPLES[0])
    names = page.locator("#bars li span:first-child").all_inner_texts()
    assert sorted(names) == sorted(LABELS.split("\n")[:-1])
    assert page.title() == "Blüten <b>"
    wide = "e => [e.scrollWidth, e.clientWidth]"
    scrolled, seen = page.locator("html").evaluate(wide)
    assert scrolled == seen
    assert page.troubles == []
    page.close()


def test_split_files_work_on_a_web_server(browser, tmp_path, written):
    classifier.write_page(MODEL, tmp_path / "site", split_files=True)
    with serve(tmp_path / "site") as address:
        page = open_page(browser, address)
        expected = deploy.score_image(MODEL, SAMPLES[0])
        assert np.abs(scores_of(page, SAMPLES[0]) - expected).max() <= 1 / 128
        assert page.troubles == []
        page.close()


def test_without_simd_one_line_says_so(browser, written):
    page = browser.new_page()
    page.add_init_script("WebAssembly.validate = () => false")
    page.goto(written.as_uri())
    expect(page.locator("#error")).to_contain_text("SIMD")
    page.close()


@pytest.fixture(scope="module")
def with_camera(browser):
    """Start Chromium with a camera that shows a moving picture."""
    import chromium

    program, environment = chromium.find_chromium()
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    started = browser.browser_type.launch(
        executable_path=program, env=environment, args=flags
    )
    yield started
    started.close()


def test_the_camera_is_live_and_freezes_on_tap(with_camera, written):
    page = open_page(with_camera, written.as_uri())
    page.get_by_role("button", name="Camera").click()
    page.wait_for_selector("#bars li")
    page.get_by_role("button", name="Freeze").click()
    expect(page.locator("#freeze")).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(200)
    first = page.locator("#seen").evaluate("canvas => canvas.toDataURL()")
    page.wait_for_timeout(400)
    assert page.locator("#seen").evaluate("canvas => canvas.toDataURL()") == first
    page.get_by_role("button", name="Stop the camera").click()
    expect(page.locator("#live")).not_to_be_visible()
    assert page.troubles == []
    page.close()


@pytest.mark.parametrize(
    ("name", "word"), [("NotFoundError", "no camera"), ("NotAllowedError", "permit")]
)
def test_a_missing_camera_is_one_line(browser, written, name, word):
    page = browser.new_page()
    page.add_init_script(
        "navigator.mediaDevices.getUserMedia = () =>"
        f" Promise.reject(new DOMException('', '{name}'))"
    )
    page.goto(written.as_uri())
    page.wait_for_selector("body[data-ready]")
    page.get_by_role("button", name="Camera").click()
    expect(page.locator("#error")).to_contain_text(word)
    page.close()
