"""Rows survive whatever stops the work, and no others are read."""

import resource

import pytest

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.base.journal import Journal

SETTINGS = {"images": "ab12", "epochs": 3, "sizes": (1, 2)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "rows.jsonl"


def test_rows_come_back_in_their_order(path):
    journal = Journal(path, SETTINGS)
    assert journal.rows == []
    assert not path.exists()
    journal.append([1, 0.1], [2, 0.2])
    journal.append({"name": "Blüte"})
    assert Journal(path, SETTINGS).rows == [[1, 0.1], [2, 0.2], {"name": "Blüte"}]


@pytest.mark.parametrize("cut", [1, 5])
def test_an_incomplete_last_line_is_cut_off_and_the_file_goes_on(path, cut):
    Journal(path, SETTINGS).append([1], [2000000])
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(path, SETTINGS)
    assert again.rows == [[1]]
    again.append([3])
    assert Journal(path, SETTINGS).rows == [[1], [3]]


def test_an_incomplete_first_line_is_a_new_file(path):
    Journal(path, SETTINGS).append([1])
    path.write_bytes(path.read_bytes()[:7])
    again = Journal(path, SETTINGS)
    assert again.rows == []
    again.append([2])
    assert Journal(path, SETTINGS).rows == [[2]]


def test_other_settings_are_refused_and_nothing_is_lost(path):
    Journal(path, SETTINGS).append([1])
    before = path.read_bytes()
    with pytest.raises(InputError, match="other images or settings"):
        Journal(path, {**SETTINGS, "epochs": 4})
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not JSON\n", b"\x80\x00\n\xff\xfe\n", b"{}\n\n"])
def test_a_damaged_file_is_named_and_left_alone(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"rows\.jsonl is damaged.*delete it"):
        Journal(path, {})
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    journal = Journal(tmp_path / "file" / "rows.jsonl", SETTINGS)
    with pytest.raises(InputError, match="cannot write"):
        journal.append([1])
    journal.delete()


def test_a_full_disk_leaves_no_part_of_a_row(path):
    journal = Journal(path, SETTINGS)
    journal.append([1])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, limits[1]))
    try:
        with pytest.raises(InputError, match="free some space"):
            journal.append(["a long row"] * 9)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.append([2])
    assert Journal(path, SETTINGS).rows == [[1], [2]]


def test_a_deleted_journal_starts_again(path):
    journal = Journal(path, SETTINGS)
    journal.append([1])
    journal.delete()
    assert not path.exists()
    journal.append([2])
    assert Journal(path, SETTINGS).rows == [[2]]
