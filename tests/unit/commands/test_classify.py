"""`classify` takes an image, a folder or paths through a pipe; a model opens once."""

import io
import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from edgetpu_lib.tflite import scores


@pytest.fixture
def opened(monkeypatch):
    """Count the models that are opened."""
    noted, original = [], scores.open_scorer

    def counted(model, **options):
        noted.append(model)
        return original(model, **options)

    monkeypatch.setattr(scores, "open_scorer", counted)
    return noted


@pytest.fixture
def classified(run, int8_tflite, monkeypatch):
    """Return a function: arguments to the lines of JSON that are printed."""

    def call(source, *more, lines=b"", code=0):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
        model = f"--model={int8_tflite}"
        found, out, err = run("classify", model, f"--example_img={source}", *more)
        assert found == code, err
        return out, err

    return call


def rows(out):
    return [json.loads(line) for line in out.splitlines()]


def best(row):
    return row["predictions"][0]["index"]


def test_folder_is_classified_with_one_interpreter(classified, class_folders, opened):
    found = rows(classified(class_folders / "red", "--json", "--top=2")[0])
    assert len(found) == 10
    assert [row["image"] for row in found] == sorted(row["image"] for row in found)
    assert {best(row) for row in found} == {2}
    assert {len(row["predictions"]) for row in found} == {2}
    assert len(opened) == 1


def test_folders_in_a_folder_are_searched(classified, class_folders):
    found = rows(classified(class_folders, "--json")[0])
    assert len(found) == 30
    assert [best(row) for row in found] == [0] * 10 + [1] * 10 + [2] * 10


def test_paths_on_standard_input(classified, class_folders, opened):
    paths = [class_folders / "green" / "00.jpg", class_folders / "blue" / "01.png"]
    for end in ("\n", "\r\n", "\n\n"):
        lines = end.join(map(str, paths)).encode()
        found = rows(classified("-", "--json", lines=lines)[0])
        assert [row["image"] for row in found] == list(map(str, paths))
        assert [best(row) for row in found] == [1, 0]
    assert len(opened) == 3


def test_each_of_many_has_a_line_for_people(classified, class_folders):
    out, _ = classified(class_folders / "red", "--top=2")
    lines = out.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith(str(class_folders / "red" / "00.jpg"))
    assert "%" in lines[0]


def test_one_image_is_as_ever(classified, class_folders):
    (row,) = rows(classified(class_folders / "red" / "00.jpg", "--json")[0])
    assert set(row) == {"predictions"}


@pytest.mark.parametrize("kind", ["missing", "folder", "no image"])
def test_unreadable_image_among_many(classified, class_folders, tmp_path, kind):
    good = str(class_folders / "red" / "00.jpg")
    bad = tmp_path / "bad.jpg"
    if kind != "missing":
        bad.mkdir() if kind == "folder" else bad.write_text("none")
    lines = f"{good}\n{bad}\n{good}\n".encode()
    out, err = classified("-", lines=lines, code=2)
    assert len(out.splitlines()) == 1
    assert str(bad) in err
    out, err = classified("-", "--on_error=skip", lines=lines)
    assert len(out.splitlines()) == 2
    assert str(bad) in err
    out, err = classified("-", "--on_error=skip", "--json", lines=lines)
    assert [set(row) for row in rows(out)] == [
        {"image", "predictions"},
        {"image", "error"},
        {"image", "predictions"},
    ]


@pytest.mark.parametrize("lines", [b"", b"\n\n", b"nowhere.jpg\n"])
def test_no_image_at_all_is_an_error(classified, lines):
    out, err = classified("-", "--on_error=skip", lines=lines, code=2)
    assert out == ""
    assert "'-'" in err


def test_folder_without_images_is_named(classified, tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    _, err = classified(tmp_path, code=2)
    assert str(tmp_path) in err


def test_orientation_is_obeyed(classified, class_folders, tmp_path):
    # The crop and the classes are those of the upright picture.
    with Image.open(class_folders / "red" / "01.png") as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.rotate(90, expand=True).save(tmp_path / "a.png", exif=exif)
        image.save(tmp_path / "b.png")
    turned, upright = rows(classified(tmp_path, "--json")[0])
    assert turned["predictions"] == upright["predictions"]


def test_name_that_is_no_text(classified, class_folders, tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    try:
        with open(name, "wb") as stream:
            stream.write((class_folders / "red" / "00.jpg").read_bytes())
    except OSError:
        pytest.skip("this file system takes names of text only")
    (row,) = rows(classified("-", "--json", lines=name + b"\n")[0])
    assert best(row) == 2


def test_device_is_for_compiled_files(classified, class_folders):
    image = class_folders / "red" / "00.jpg"
    _, err = classified(image, "--device=usb:0", code=2)
    assert "compile" in err


def test_predictions_come_while_the_pipe_is_open(int8_tflite, class_folders):
    command = [sys.executable, "-m", "edgetpu_lib", "classify", "--example_img=-"]
    with subprocess.Popen(
        [*command, f"--model={int8_tflite}", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        for name in ("red", "blue"):
            child.stdin.write(os.fsencode(class_folders / name / "00.jpg") + b"\n")
            child.stdin.flush()
            assert json.loads(child.stdout.readline())["image"].endswith("00.jpg")
        child.stdin.close()
    assert child.returncode == 0
