"""`search` from the command line, and its winner used like S."""

import concurrent.futures
import csv
import json

import pytest

from edgetpu_lib import specs
from edgetpu_lib.commands.main import main
from edgetpu_lib.search import proxy, space


def share_of_fused(stages, task):
    """Stand in for a training: quick, and no two runs differ."""
    return sum(stage.kind == "fused" for stage in stages) / len(stages)


@pytest.fixture
def quick(monkeypatch):
    """Let networks be judged without training them."""
    monkeypatch.setattr(proxy, "proxy_top1", share_of_fused)
    monkeypatch.setattr(
        proxy, "worker_pool", lambda workers: concurrent.futures.ThreadPoolExecutor(1)
    )


@pytest.fixture
def command(class_folders, tmp_path):
    return [
        *("search", f"--data_dir={class_folders}", "--candidates=9"),
        *("--image_size=32", f"--output={tmp_path / 'found'}"),
    ]


def test_table_figure_and_winner_are_written(quick, command, tmp_path, capfd):
    assert main([*command, "--json"]) == 0
    prediction = json.loads(capfd.readouterr().out)
    folder = tmp_path / "found"
    assert sorted(path.name for path in folder.iterdir()) == [
        "candidates.csv",
        "judged.jsonl",
        "search.png",
        "winner.json",
    ]
    with open(folder / "candidates.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["number"]) for row in rows) == list(range(1, 10))
    rewards = [float(row["reward"]) for row in rows]
    assert rewards == sorted(rewards, reverse=True)
    best = max(prediction["candidates"], key=lambda row: row["reward"])
    winner = specs.read_spec(folder / "winner.json")
    assert [vars(stage) for stage in winner.stages] == best["stages"]
    assert space.describe(winner.stages) == rows[0]["network"]


def test_every_network_has_one_line(quick, command, capfd):
    assert main(command) == 0
    lines = capfd.readouterr().err.splitlines()
    numbers = [int(line.split()[0]) for line in lines if ", reward " in line]
    assert numbers == list(range(1, 10))


def test_stopped_search_goes_on(quick, command, tmp_path, monkeypatch, capfd):
    calls = []

    def judge(stages, task):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(stages)
        return share_of_fused(stages, task)

    monkeypatch.setattr(proxy, "proxy_top1", judge)
    assert main(command) == 130
    folder = tmp_path / "found"
    assert [path.name for path in folder.iterdir()] == ["judged.jsonl"]
    monkeypatch.setattr(proxy, "proxy_top1", share_of_fused)
    assert main(command) == 0
    resumed = (folder / "candidates.csv").read_bytes()
    (folder / "judged.jsonl").unlink()
    assert main(command) == 0
    assert (folder / "candidates.csv").read_bytes() == resumed
    capfd.readouterr()


def test_another_search_does_not_spoil_the_table(quick, command, capfd):
    assert main(command) == 0
    assert main([*command, "--epochs=9"]) == 2
    assert "choose another output folder" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--exponent=0.5", "exponent=0.5"),
        ("--target_latency_ms=0", "target_latency_ms"),
        ("--scheduler=tcp://127.0.0.1:1", "127.0.0.1:1"),
    ],
)
def test_bad_input_is_one_line(quick, command, flag, named, capfd):
    assert main([*command, flag]) == 2
    err = capfd.readouterr().err.strip().splitlines()
    assert err[-1].startswith("error: ")
    assert named in err[-1]


def test_winner_is_trained_exported_checked_and_estimated_like_s(
    quick, command, class_folders, tmp_path, capfd
):
    assert main(command) == 0
    winner = tmp_path / "found" / "winner.json"
    model, file = tmp_path / "mine.keras", tmp_path / "mine.tflite"
    for arguments in (
        [
            *("fine-tune", f"--model_name={winner}", f"--data_dir={class_folders}"),
            *("--width_coefficient=0.1", "--depth_coefficient=0.3", "--image_size=32"),
            *("--epochs=1", f"--output={model}"),
        ],
        [
            *("export", f"--model={model}", f"--data_dir={class_folders}"),
            f"--output_tflite={file}",
        ],
        ["check", str(file)],
        ["estimate", str(file)],
    ):
        assert main(arguments) == 0, (arguments, capfd.readouterr().err)
    capfd.readouterr()
