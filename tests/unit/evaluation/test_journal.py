"""What an interrupted evaluation saved is found again, and nothing else."""

import numpy as np
import pytest

from edgetpu_lib import data
from edgetpu_lib.evaluation.classifiers import Classifier
from edgetpu_lib.evaluation.journal import PartialPredictions, delete_journals
from edgetpu_lib.evaluation.metrics import Predictions

MODEL = Classifier("a model", 32, 7, "ab12", None, 1)


@pytest.fixture
def some(draw_folders, tmp_path):
    return data.list_images(draw_folders(tmp_path / "colours", 3))


def predictions(count, start=0):
    indices = np.arange(start, start + 5 * count, dtype=np.int32).reshape(-1, 5)
    return Predictions(indices, (indices / 300).astype(np.float32), 7)


def interrupt(images, folder, *batches):
    """Evaluate images until the model fails."""
    with (
        pytest.raises(RuntimeError),
        PartialPredictions(MODEL, images, folder) as partial,
    ):
        for batch in batches:
            partial.add(batch)
        raise RuntimeError


def test_rows_come_back_to_their_photos_in_any_order(some, tmp_path):
    folder = tmp_path / "kept"
    interrupt(some.take([4, 0]), folder, predictions(2))
    interrupt(some.take([7, 4]), folder, predictions(1, start=40))
    partial = PartialPredictions(MODEL, some, folder)
    assert partial.missing.tolist() == [1, 2, 3, 5, 6, 8]
    found = partial.predictions
    assert found.indices[[4, 0]].tolist() == predictions(2).indices.tolist()
    assert found.indices[7].tolist() == [40, 41, 42, 43, 44]
    assert (found.probabilities == (found.indices / 300).astype(np.float32)).all()
    assert not found.indices[partial.missing].any()


def test_no_journal_knows_nothing(some, tmp_path):
    for folder in (None, tmp_path / "none"):
        partial = PartialPredictions(MODEL, some, folder)
        assert partial.missing.tolist() == list(range(9))
    assert not (tmp_path / "none").exists()


def test_a_torn_row_is_cut_off(some, tmp_path):
    interrupt(some.take([0, 1]), tmp_path / "kept", predictions(2))
    (path,) = (tmp_path / "kept").iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    assert 0 not in PartialPredictions(MODEL, some, tmp_path / "kept").missing
    interrupt(some.take([5]), tmp_path / "kept", predictions(1))
    partial = PartialPredictions(MODEL, some, tmp_path / "kept")
    assert partial.missing.tolist() == [1, 2, 3, 4, 6, 7, 8]


def test_a_photo_that_changed_is_answered_anew(some, tmp_path):
    interrupt(some, tmp_path / "kept", predictions(9))
    some.paths[3].write_bytes(some.paths[4].read_bytes() + b"more")
    partial = PartialPredictions(MODEL, some, tmp_path / "kept")
    assert partial.missing.tolist() == [3]


def test_a_folder_that_takes_nothing_is_no_failure(some, tmp_path):
    (tmp_path / "file").write_text("in the way")
    interrupt(some, tmp_path / "file", predictions(9))
    with PartialPredictions(MODEL, some, tmp_path / "file") as partial:
        assert len(partial.missing) == 9


def test_a_kept_journal_stays_until_it_is_deleted(some, tmp_path):
    with PartialPredictions(MODEL, some, tmp_path / "kept", keep=True) as partial:
        partial.add(predictions(9))
    again = PartialPredictions(MODEL, some, tmp_path / "kept", keep=True)
    assert not len(again.missing)
    delete_journals(tmp_path / "kept", [MODEL.digest])
    assert not list((tmp_path / "kept").iterdir())
    delete_journals(tmp_path / "none", [MODEL.digest])
