"""What an interrupted evaluation left behind is found again, and nothing else."""

import os

import numpy as np
import pytest

from edgetpu_lib import data
from edgetpu_lib.evaluation import journal as answer_journal


@pytest.fixture
def some(draw_folders, tmp_path):
    return data.list_images(draw_folders(tmp_path / "colours", 3))


def answered(rows):
    filled = rows.copy()
    filled["indices"] = np.arange(5 * len(rows)).reshape(-1, 5)
    filled["probabilities"] = filled["indices"] / 100
    return filled


def test_rows_come_back_to_their_photos_in_any_order(some, tmp_path):
    rows = answer_journal.empty_rows(some)
    filled = answered(rows)
    journal = tmp_path / "kept" / "journal"
    answer_journal.append(journal, filled[[4, 0]])
    answer_journal.append(journal, filled[[7]])
    fresh = answer_journal.empty_rows(some)
    known = answer_journal.restore(journal, fresh)
    assert np.flatnonzero(known).tolist() == [0, 4, 7]
    assert (fresh[known] == filled[known]).all()
    assert not fresh["indices"][~known].any()


def test_no_journal_knows_nothing(some, tmp_path):
    rows = answer_journal.empty_rows(some)
    assert not answer_journal.restore(tmp_path / "none", rows).any()


def test_a_torn_row_is_cut_off(some, tmp_path):
    rows = answer_journal.empty_rows(some)
    filled = answered(rows)
    journal = tmp_path / "journal"
    answer_journal.append(journal, filled[:2])
    os.truncate(journal, 2 * answer_journal.ROW.itemsize - 3)
    assert answer_journal.restore(journal, rows).sum() == 1
    answer_journal.append(journal, filled[5:6])
    again = answer_journal.empty_rows(some)
    known = answer_journal.restore(journal, again)
    assert np.flatnonzero(known).tolist() == [0, 5]


def test_a_photo_that_changed_is_answered_anew(some, tmp_path):
    journal = tmp_path / "journal"
    answer_journal.append(journal, answered(answer_journal.empty_rows(some)))
    some.paths[3].write_bytes(some.paths[4].read_bytes() + b"more")
    rows = answer_journal.empty_rows(some)
    known = answer_journal.restore(journal, rows)
    assert np.flatnonzero(~known).tolist() == [3]


def test_a_folder_that_takes_nothing_is_no_failure(some, tmp_path):
    (tmp_path / "file").write_text("in the way")
    rows = answer_journal.empty_rows(some)
    answer_journal.append(tmp_path / "file" / "journal", rows)
    assert not answer_journal.restore(tmp_path / "file" / "journal", rows).any()
