"""Measured results are written whole or not at all, and never lost between."""

import errno
import io
import sys

import pytest

from edgetpu_lib.commands.main import EXIT_BAD_INPUT, main
from edgetpu_lib.evaluation.journal import PartialPredictions
from edgetpu_lib.plots import accuracy


def fail(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


class FullDisk(io.StringIO):
    """A standard output on a full disk: what is written fails when it is flushed."""

    def flush(self):
        if self.getvalue():
            fail()


@pytest.fixture
def evaluate(int8_tflite, class_folders, tmp_path):
    """Return a function that evaluates; it gives the exit code."""

    def call(*arguments):
        return main(
            [
                *("evaluate", f"--model={int8_tflite}", f"--data_dir={class_folders}"),
                *(f"--journal_dir={tmp_path / 'journal'}", *arguments),
            ]
        )

    return call


@pytest.fixture
def predicted(monkeypatch):
    """Return a list, to which each evaluation adds how many images it predicts."""
    counts = []
    original = PartialPredictions.__init__

    def watched(self, *arguments, **options):
        original(self, *arguments, **options)
        counts.append(len(self.missing))

    monkeypatch.setattr(PartialPredictions, "__init__", watched)
    return counts


def test_a_report_that_cannot_be_written_loses_no_prediction(
    evaluate, predicted, tmp_path, monkeypatch, capsys
):
    output, kept = tmp_path / "out", tmp_path / "journal"
    with monkeypatch.context() as patched:
        patched.setattr(accuracy, "save_figures", fail)
        assert evaluate(f"--output={output}") == EXIT_BAD_INPUT
    err = capsys.readouterr().err
    assert str(output) in err and err.count("\n") == 1
    assert not output.exists()
    assert len(list(kept.iterdir())) == 1
    assert evaluate(f"--output={output}") == 0
    assert predicted == [30, 0]
    assert not list(kept.iterdir())
    assert {"evaluation.json", "evaluation.md"} <= {p.name for p in output.iterdir()}


def test_a_folder_of_results_keeps_all_old_files_or_gets_all_new_ones(
    evaluate, tmp_path, monkeypatch
):
    output = tmp_path / "out"
    output.mkdir()
    (output / "evaluation.json").write_text("old")
    (output / "notes.txt").write_text("mine")
    with monkeypatch.context() as patched:
        patched.setattr(accuracy, "save_figures", fail)
        assert evaluate(f"--output={output}") == EXIT_BAD_INPUT
    assert {path.name: path.read_text() for path in output.iterdir()} == {
        "evaluation.json": "old",
        "notes.txt": "mine",
    }
    assert evaluate(f"--output={output}") == 0
    assert (output / "evaluation.json").read_text() != "old"
    assert (output / "notes.txt").read_text() == "mine"


def test_an_output_stream_on_a_full_disk_loses_no_prediction(
    evaluate, predicted, monkeypatch
):
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", FullDisk())
        assert evaluate("--json") == EXIT_BAD_INPUT
    assert evaluate("--json") == 0
    assert predicted == [30, 0]
