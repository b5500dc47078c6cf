"""The compiler's logs are read, and its failures become clear errors.

Google's compiler did not run here: the logs follow the format of those that users
published, and a small program stands in for it.
"""

import json
import os
import sys
import time

import pytest

from edgetpu_lib.base.artifacts import InputError, data_file, read_metadata
from edgetpu_lib.commands import main as cli
from edgetpu_lib.hardware import compiler
from edgetpu_lib.tflite import edit

HEAD = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.
"""
MODEL = """\
Input model: {name}.tflite
Input size: 5.86MiB
Output model: {name}_edgetpu.tflite
Output size: 6.79MiB
On-chip memory used for caching model parameters: 6.57MiB
On-chip memory remaining for caching model parameters: 859.00KiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 66
Operation log: {name}_edgetpu.log
"""
TAIL = """\
Compilation child process completed within timeout period.
Compilation succeeded!
"""
TABLE = """
Operator                       Count      Status

ADD                            12         Mapped to Edge TPU
QUANTIZE                       2          Mapped to Edge TPU
CONV_2D                        52         Mapped to Edge TPU
"""
WHOLE = (
    HEAD
    + "\nModel compiled successfully in 1021 ms.\n\n"
    + MODEL.format(name="S")
    + TABLE
    + TAIL
)
PARTIAL = (
    HEAD
    + "\nModel compiled successfully in 372 ms.\n\n"
    + MODEL.format(name="deeplab").replace("operations: 66", "operations: 72")
    + """
Model successfully compiled but not all operations are supported by the Edge TPU. A \
percentage of the model will instead run on the CPU, which is slower. If possible, \
consider updating your model to use only operations supported by the Edge TPU. For \
details, visit g.co/coral/model-reqs.
Number of operations that will run on Edge TPU: 64
Number of operations that will run on CPU: 8

Operator                       Count      Status

RESIZE_BILINEAR                1          More than one subgraph is not supported
RESIZE_BILINEAR                2          Operation is otherwise supported, but not \
mapped due to some unspecified limitation
ARG_MAX                        1          Operation not supported
ADD                            68         Mapped to Edge TPU
"""
    + TAIL
)
TOO_LARGE = (
    HEAD
    + """\
ERROR: Restored original execution plan after delegate application failure.
Compilation failed: Compilation failed due to large activation tensors in model.
Compilation child process completed within timeout period.
Compilation failed!
"""
)
ABORT = (
    "Edge TPU Compiler version 16.0.384591198\n\nInternal compiler error. Aborting!\n"
)
NEWER = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.
ERROR: Didn't find op for builtin opcode 'CONV_2D' version '6'. An older version of \
this builtin might be supported. Are you using an old TFLite binary with a newer model?

ERROR: Registration failed.

Invalid model: grouped.tflite
Model could not be parsed
"""


def test_log_of_a_whole_model():
    log = compiler.parse_log(WHOLE)
    assert log["version"] == "16.0.384591198"
    assert log["duration_ms"] == 1021
    assert log["failure"] is None
    (model,) = log["models"]
    assert (model["input"], model["output"]) == ("S.tflite", "S_edgetpu.tflite")
    assert model["input_bytes"] == round(5.86 * 2**20)
    assert model["cached_bytes"] == round(6.57 * 2**20)
    assert model["cache_left_bytes"] == 859 * 1024
    assert model["streamed_bytes"] == 0
    assert (model["subgraphs"], model["operators"]) == (1, 66)
    # The log leaves the two counts out when all operators are mapped.
    assert (model["edge_tpu_operators"], model["cpu_operators"]) == (66, 0)
    assert sum(row["count"] for row in model["operations"]) == 66
    assert model["operations"][0] == {
        "kind": "ADD",
        "count": 12,
        "status": "Mapped to Edge TPU",
    }


def test_log_of_a_partly_mapped_model():
    (model,) = compiler.parse_log(PARTIAL)["models"]
    assert (model["edge_tpu_operators"], model["cpu_operators"]) == (64, 8)
    assert [row["count"] for row in model["operations"]] == [1, 2, 1, 68]
    assert model["operations"][1]["status"].endswith("unspecified limitation")


def test_log_without_the_operation_table():
    text = WHOLE.replace(
        TABLE, "See the operation log file for individual operation details.\n"
    )
    (model,) = compiler.parse_log(text)["models"]
    assert model["operations"] == []
    assert model["operators"] == 66


def test_log_of_several_segments():
    names = [f"S_segment_{k}_of_3" for k in range(3)]
    text = HEAD + "\nModels compiled successfully in 2037 ms.\n"
    text += "".join("\n" + MODEL.format(name=name) + TABLE for name in names) + TAIL
    log = compiler.parse_log(text)
    assert log["duration_ms"] == 2037
    assert [model["output"] for model in log["models"]] == [
        f"{name}_edgetpu.tflite" for name in names
    ]
    assert all(len(model["operations"]) == 3 for model in log["models"])


def test_log_of_an_old_compiler():
    text = WHOLE.replace("memory remaining", "memory available")
    assert compiler.parse_log(text)["models"][0]["cache_left_bytes"] == 859 * 1024


def test_search_that_succeeds_in_the_end():
    tries = """\
Edge TPU Compiler version 16.0.384591198
Searching for valid delegate with step 1
Try to compile segment with 66 ops
Started a compilation timeout timer of 180 seconds.
ERROR: Restored original execution plan after delegate application failure.
Compilation failed: Compilation failed due to large activation tensors in model.
Compilation child process completed within timeout period.
Compilation failed!
Try to compile segment with 65 ops
Intermediate tensors: probabilities
"""
    log = compiler.parse_log(tries + WHOLE.split("\n", 1)[1])
    assert log["failure"] is None
    assert log["models"][0]["subgraphs"] == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TOO_LARGE, "large activation tensors"),
        (ABORT, "Internal compiler error"),
        (NEWER, "'CONV_2D' version '6'"),
        (HEAD + TAIL.replace("succeeded", "failed"), "Compilation failed"),
        ("", ""),
    ],
)
def test_failure_is_told_in_the_compilers_words(text, words):
    log = compiler.parse_log(text)
    assert log["models"] == []
    assert words in log["failure"]


@pytest.mark.parametrize("line", ["Output size", "Number of Edge TPU subgraphs"])
def test_log_that_was_cut_is_refused(line):
    text = "\n".join(row for row in WHOLE.splitlines() if not row.startswith(line))
    with pytest.raises(InputError):
        compiler.parse_log(text)


# A stand-in for the compiler.


def compiled_content(model):
    """Return a file whose only operator is what the compiler leaves."""
    from ai_edge_litert import schema_py_generated as schema

    changed = edit.unpack(model)
    graph = changed.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = b"edgetpu-custom-op", 1
    changed.operatorCodes = [code]
    operator = schema.OperatorT()
    operator.opcodeIndex = 0
    operator.inputs, operator.outputs = list(graph.inputs), list(graph.outputs)
    graph.operators = [operator]
    return edit.pack(changed)


STAND_IN = """#!{python}
import json, pathlib, sys, time
given = sys.argv[1:]
pathlib.Path({asked!r}).write_text(json.dumps(given))
folder = pathlib.Path(given[given.index("--out_dir") + 1])
time.sleep({sleep})
stem = pathlib.Path(given[-1]).stem
for name in {names}:
    content = pathlib.Path({content!r}).read_bytes()
    (folder / name.format(stem=stem)).write_bytes(content)
sys.stdout.write(pathlib.Path({log!r}).read_text().replace("S.tflite", given[-1]))
sys.exit({code})
"""


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "S.tflite"
    path.write_bytes(data_file("quickstart_quant.tflite").read_bytes())
    return path


@pytest.fixture
def install(tmp_path, monkeypatch, model):
    """Return a function that puts a stand-in on the PATH."""

    def put(log=WHOLE, code=0, names=("{stem}_edgetpu.tflite",), content=None, sleep=0):
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "log.txt").write_text(log)
        (folder / "content").write_bytes(
            compiled_content(model.read_bytes()) if content is None else content
        )
        program = folder / compiler.PROGRAM
        program.write_text(
            STAND_IN.format(
                python=sys.executable,
                asked=str(folder / "asked"),
                names=list(names),
                content=str(folder / "content"),
                log=str(folder / "log.txt"),
                code=code,
                sleep=sleep,
            )
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return lambda: json.loads((folder / "asked").read_text())

    return put


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


def test_compiled_file_appears_with_its_record(install, model, tmp_path, capsys):
    asked = install(names=("{stem}_edgetpu.tflite", "{stem}_edgetpu.log"))
    output = tmp_path / "new" / "folder"
    code = cli.main(
        ["compile", str(model), f"--output-dir={output}", "--min-runtime-version=13"]
    )
    assert code == 0
    assert {path.name for path in output.iterdir()} == {
        "S_edgetpu.tflite",
        "S_edgetpu.log",
        "S_edgetpu.tflite.json",
    }
    assert "Compilation succeeded!" in (output / "S_edgetpu.log").read_text()
    assert asked()[asked().index("--min_runtime_version") + 1] == "13"
    assert "--search_delegate" not in asked()
    metadata = read_metadata(output / "S_edgetpu.tflite")
    assert metadata["compiled"]["version"] == "16.0.384591198"
    assert str(output / "S_edgetpu.tflite") in capsys.readouterr().out


def test_answer_in_json(install, model, capsys):
    asked = install()
    assert cli.main(["compile", "--search-delegate", str(model), "--json"]) == 0
    prediction = json.loads(capsys.readouterr().out)
    assert prediction["predicted"]["ready"] is True
    assert prediction["compiled"]["models"][0]["streamed_bytes"] == 0
    assert prediction["compiled"]["outputs"] == [
        str(model.with_name("S_edgetpu.tflite"))
    ]
    assert "--search_delegate" in asked()


def test_segments(install, model, tmp_path):
    names = [f"{{stem}}_segment_{k}_of_2_edgetpu.tflite" for k in range(2)]
    asked = install(names=names)
    made = compiler.compile_tflite(model, output_dir=tmp_path / "out", num_segments=2)
    assert [path.name for path in made.outputs] == [
        "S_segment_0_of_2_edgetpu.tflite",
        "S_segment_1_of_2_edgetpu.tflite",
    ]
    assert all(path.exists() for path in made.outputs)
    assert asked()[asked().index("--num_segments") + 1] == "2"


@pytest.mark.parametrize(
    "how",
    [
        {"log": TOO_LARGE, "code": 1},
        {"log": ABORT, "code": -6},
        {"log": TOO_LARGE, "code": 0},
        {"names": ()},
        {"content": b"half a file"},
        {"log": "", "code": 0},
    ],
)
def test_failed_compilation_is_one_line_and_leaves_nothing(
    install, model, tmp_path, capsys, how
):
    install(**how)
    output = tmp_path / "out"
    assert cli.main(["compile", str(model), f"--output-dir={output}"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert list(output.iterdir()) == []


def test_compilation_that_maps_nothing_is_no_success(install, model, tmp_path):
    install(content=model.read_bytes())
    with pytest.raises(InputError, match="S_edgetpu.tflite"):
        compiler.compile_tflite(model, output_dir=tmp_path / "out")


def test_compilation_without_end_is_stopped(install, model, tmp_path, monkeypatch):
    install(sleep=60)
    monkeypatch.setattr(compiler, "_GRACE_S", 0.5)
    start = time.monotonic()
    with pytest.raises(InputError, match="--timeout-sec"):
        compiler.compile_tflite(model, output_dir=tmp_path / "out", timeout_s=1)
    assert time.monotonic() - start < 30
    assert list((tmp_path / "out").iterdir()) == []


def test_without_the_compiler_it_says_what_check_predicts(
    nothing_installed, model, capsys
):
    assert cli.main(["compile", str(model)]) == 2
    told = capsys.readouterr()
    assert len(told.err.splitlines()) == 1
    assert "66" in told.err
    for words in ("signed-by=", "/etc/apt/keyrings", "docker run", "Colab"):
        assert words in told.out
    assert "apt-key add" not in told.out
    assert list(model.parent.glob("*edgetpu*")) == []


def test_without_the_compiler_json_holds_the_prediction(
    nothing_installed, model, capsys
):
    assert cli.main(["compile", str(model), "--json"]) == 2
    prediction = json.loads(capsys.readouterr().out)
    assert prediction["predicted"]["edge_tpu_operators"] == 66
    assert prediction["compiled"] is None


def test_model_that_is_not_ready_is_not_compiled(install, float_tflite, capsys):
    asked = install()
    assert cli.main(["compile", str(float_tflite)]) == 1
    assert "float-model" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError):
        asked()


def test_missing_model(install, tmp_path):
    install()
    assert cli.main(["compile", str(tmp_path / "none.tflite")]) == 2
