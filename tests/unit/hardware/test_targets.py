"""Other accelerators' compiler: what is passed on of its words, and its failures."""

import importlib.util
import json

import pytest

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.commands.main import main
from edgetpu_lib.hardware import targets

# A stand-in for Vela: fails for U85, leaves one operator of another file on the CPU.
STAND_IN = """
import pathlib, shutil, sys
accelerator = next(a for a in sys.argv if "accelerator" in a).split("=")[1]
folder = pathlib.Path(next(a for a in sys.argv if "output" in a).split("=")[1])
if "u85" in accelerator or "--system-config=Nope" in sys.argv:
    sys.exit("Traceback\\nValueError: no such section")
folder.mkdir()
print("Warning: Using a default of Slow.")
print("Warning: Using a default of Slow.")
shutil.copy({compiled!r}, folder / "model_vela.tflite")
memories = "sram dram on_chip_flash off_chip_flash".split()
names = [f"{{name}}_memory_used" for name in memories]
names += ["system_config", "memory_mode", "inference_time", "cycles_total"]
(folder / "model_summary_Slow.csv").write_text(
    ",".join(names) + "\\n2.0,3.0,0.0,1.5,Slow,Small,0.0125,12500.0\\n"
)
"""


@pytest.fixture
def model(repo_root):
    """Return the path of a file of ten operators."""
    return repo_root / "tests/golden/check/tile.tflite"


@pytest.fixture
def stand_in(tmp_path, monkeypatch, repo_root):
    """Let `python -m ethosu.vela` run the stand-in, which needs no Vela."""
    compiled = str(repo_root / "tests/golden/check/cast_front.tflite")
    folder = tmp_path / "ethosu/vela"
    folder.mkdir(parents=True)
    for path in (folder.parent / "__init__.py", folder / "__init__.py"):
        path.write_text("")
    (folder / "__main__.py").write_text(STAND_IN.format(compiled=compiled))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(targets, "require_vela", lambda: None)


@pytest.fixture
def vela():
    """Skip where the extra is not installed."""
    try:
        targets.require_vela()
    except InputError as missing:
        pytest.skip(str(missing))


def test_summary_is_read(stand_in, model):
    (target,) = targets.compile_for(model, ["ethos-u55-32"])
    assert target.latency_ms == pytest.approx(12.5)
    assert (target.cycles, target.sram_bytes, target.other_bytes) == (12500, 2048, 4608)
    assert (target.system_config, target.memory_mode) == ("Slow", "Small")
    assert target.warnings == ("Using a default of Slow.",)
    # Seven of ten are still there in what the stand-in gives for the compiled file.
    assert (target.operators, len(target.cpu_operators)) == (3, 7)
    assert target.cpu_operators[0] == "CAST"


def test_failure_for_one_configuration_is_told_beside_the_others(
    stand_in, model, capsys
):
    names = "--accelerators=ethos-u65-512,ethos-u85-512"
    assert main(["targets", str(model), names]) == 0
    text = capsys.readouterr().out
    assert "ValueError: no such section" in text
    assert "Vela warns: Using a default of Slow." in text
    assert "proves nothing for the Edge TPU" in text
    assert main(["targets", str(model), names, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["edge_tpu"]["operators"] == 10
    assert [row["latency_ms"] for row in content["ethos_u"]] == [12.5, None]


@pytest.mark.parametrize(
    "flags", [["--accelerators=ethos-u85-128"], ["--system_config=Nope"]]
)
def test_failure_for_all_is_one_line(stand_in, model, capsys, flags):
    assert main(["targets", str(model), *flags]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert "no such section" in printed.err


def test_missing_extra_is_one_line_with_the_remedy(model, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["targets", str(model)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "[targets]" in line


@pytest.mark.parametrize("text", ["", "ethos-u55", "ethos-u65-512,edge-tpu"])
def test_accelerators_that_do_not_exist(text):
    with pytest.raises(InputError, match="does not exist"):
        targets.parse_accelerators(text)


def test_accelerators_are_named_once_each():
    assert targets.parse_accelerators("ethos-u65-512, ethos-u65-512") == (
        "ethos-u65-512",
    )


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="TFLite"):
        targets.compile_for(b"no model")


def test_vela_compiles(vela, model):
    first, second = targets.compile_for(model, ["ethos-u55-128", "ethos-u65-512"])
    for target in (first, second):
        assert not target.failure
        assert (target.operators, target.cpu_operators) == (10, ())
        assert target.latency_ms > 0
        assert target.sram_bytes > 0
        assert any("system configuration" in line for line in target.warnings)
    assert second.latency_ms < first.latency_ms


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
@pytest.mark.parametrize("name", ["hard_swish", "open_batch"])
def test_vela_is_no_proof_for_the_edge_tpu(vela, name):
    import zoo

    from edgetpu_lib.hardware import check

    content = getattr(zoo, name)()
    (target,) = targets.compile_for(content, ["ethos-u65-512"])
    assert not target.cpu_operators
    assert not check.check_tflite(content).ready


def test_vela_leaves_floats_to_the_cpu(vela, tmp_path, capsys):
    import zoo

    path = tmp_path / "float.tflite"
    path.write_bytes(zoo.float_model())
    assert main(["targets", str(path), "--accelerators=ethos-u65-512"]) == 0
    assert "on the CPU: CONV_2D 1" in capsys.readouterr().out


def test_vela_takes_a_configuration_and_no_longer_warns_of_it(vela, model):
    (target,) = targets.compile_for(
        model, ["ethos-u65-512"], system_config="Ethos_U65_High_End"
    )
    assert target.system_config == "Ethos_U65_High_End"
    assert not any("No system configuration" in line for line in target.warnings)


def test_names_are_vela_s(vela):
    from ethosu.vela.architecture_features import Accelerator

    assert set(targets.ACCELERATORS) <= set(Accelerator.member_list())
