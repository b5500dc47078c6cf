"""Evaluated networks survive whatever stops a search."""

import json

import pytest

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.search import history

SETTINGS = {"photos": "ab12", "epochs": 3, "sizes": (1, 2)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "judged.jsonl"


def test_networks_come_back(path):
    first = history.History(path, SETTINGS)
    assert first.top1_of(specs.STAGES) is None
    first.add(specs.STAGES, 0.625)
    again = history.History(path, SETTINGS)
    assert again.top1_of(specs.STAGES) == 0.625
    assert again.top1_of(specs.STAGES[:5]) is None
    assert len(again) == 1


def test_half_written_line_is_dropped_and_the_file_goes_on(path):
    table = history.History(path, SETTINGS)
    table.add(specs.STAGES, 0.5)
    whole = path.read_text("utf-8")
    path.write_text(whole + '{"top1": 0.7, "sta', encoding="utf-8")
    again = history.History(path, SETTINGS)
    assert len(again) == 1
    again.add(specs.STAGES[:5], 0.25)
    last = history.History(path, SETTINGS)
    assert (last.top1_of(specs.STAGES), last.top1_of(specs.STAGES[:5])) == (0.5, 0.25)


def test_other_settings_are_refused_and_nothing_is_lost(path):
    history.History(path, SETTINGS).add(specs.STAGES, 0.5)
    before = path.read_bytes()
    with pytest.raises(InputError, match="other images or settings"):
        history.History(path, {**SETTINGS, "epochs": 4})
    assert path.read_bytes() == before


def test_damaged_file_is_named(path):
    path.parent.mkdir()
    path.write_text("not JSON\n", encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        history.History(path, SETTINGS)


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="cannot write"):
        history.History(tmp_path / "file" / "judged.jsonl", SETTINGS)


def test_a_file_of_the_first_versions_is_read(path):
    """A search that was begun before goes on: the same lines, written since 0.1."""
    path.parent.mkdir()
    stages = [vars(stage) for stage in specs.STAGES]
    lines = [{**SETTINGS, "sizes": [1, 2]}, {"top1": 0.5, "stages": stages}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert history.History(path, SETTINGS).top1_of(specs.STAGES) == 0.5
