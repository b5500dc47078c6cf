"""A compiled file is run by the real runtime through a delegate."""

import zipfile

import numpy as np
import pytest
import zoo

from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.board import delegate, runtime
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.bundle import contents, write
from edgetpu_lib.tflite import interpreter, pipeline, timing


@pytest.fixture
def attached(computer, build, monkeypatch):
    """Attach a stick to this computer; return the list of what was opened."""
    computer.install(build())
    computer.plug()
    noted, original = [], delegate.load_delegate

    def load(options, **settings):
        noted.append((options, settings))
        return original(options, system=computer.system(), **settings)

    monkeypatch.setattr(delegate, "load_delegate", load)
    monkeypatch.setattr(interpreter, "_OPENED", {})
    return noted


@pytest.fixture(scope="module")
def compiled(int8_tflite):
    """Return the bytes of a classifier whose convolutions are compiled."""
    content = int8_tflite.read_bytes()
    return zoo.as_custom(content, "CONV_2D", b"edgetpu-custom-op")


def test_compiled_file_runs_on_the_device(attached, compiled):
    opened = interpreter.start(compiled)
    details = opened.get_input_details()[0]
    interpreter.invoke(opened, np.zeros(details["shape"], details["dtype"]))
    assert attached == [(DeviceOptions(), {"needed": 0})]


def test_a_file_has_one_interpreter(attached, compiled):
    first = interpreter.start(compiled)
    assert interpreter.start(compiled, name="again") is first
    assert len(attached) == 1
    other = interpreter.start(compiled, device=DeviceOptions("usb:0"))
    assert other is not first


def test_failed_opening_is_tried_again(attached, computer, compiled):
    library = computer.root / "usr/lib/x86_64-linux-gnu/libedgetpu.so.1"
    library.rename(library.with_name("away"))
    with pytest.raises(InputError, match="on this CPU.*not installed.*before comp"):
        interpreter.start(compiled, name="a_edgetpu.tflite")
    library.with_name("away").rename(library)
    assert interpreter.start(compiled)


def test_a_bundle_opens_the_device_that_is_named(
    attached, compiled, int8_tflite, tmp_path
):
    path = tmp_path / "slim_edgetpu.tflite"
    path.write_bytes(compiled)
    app = write.write_bundle(int8_tflite, tmp_path / "app.zip", compiled=path)
    bundle = contents.Bundle(zipfile.ZipFile(app).read)
    opened = bundle.open(compiled=True, device=DeviceOptions("usb:0"))
    assert attached[0][0] == DeviceOptions("usb:0")
    assert opened.predict(data_file("samples/rose_1.jpg"), 1)


def test_a_file_for_the_cpu_needs_no_device(attached, int8_tflite):
    assert interpreter.open_interpreter(int8_tflite)
    assert attached == []
    with pytest.raises(InputError, match=r"usb:0.*compile"):
        interpreter.open_interpreter(int8_tflite, device=DeviceOptions("usb:0"))


def test_published_file_asks_for_its_runtime(attached, shared):
    path = shared("models/mobilenet_v1_0.25_128_quant_edgetpu.tflite")
    scores = interpreter.run(
        interpreter.open_interpreter(path), np.zeros((128, 128, 3), np.uint8)
    )
    assert scores.shape == (1001,)
    assert attached[0][1]["needed"] == 12


def test_compiled_file_without_a_runtime(attached, compiled, monkeypatch):
    monkeypatch.setattr(runtime, "RUNTIMES", {"no_such_runtime": ("none",)})
    with pytest.raises(InputError, match="pip install") as caught:
        interpreter.start(compiled)
    assert "before compilation" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("Failed to execute request. USB transfer error 5 [LibUsbDataOut]", "replug"),
        ("transfer on tag 1 failed. Abort. Deadline exceeded", "replug"),
        ("requires runtime version (14), which is newer than this (13)", "min_runtime"),
        ("Encountered unresolved custom op: edgetpu-custom-op.", "before compilation"),
        ("Node number 3 (CONV_2D) failed to invoke.", "convert"),
    ],
)
def test_what_the_runtime_says_has_its_remedy(said, remedy):
    class Failing:
        def get_input_details(self):
            return [{"index": 0}]

        def set_tensor(self, index, fed):
            raise RuntimeError(said)

    with pytest.raises(InputError, match=remedy):
        interpreter.invoke(Failing(), np.zeros(1))


def test_runtime_that_numpy_does_not_fit(float_tflite, monkeypatch):
    class Broken:
        __name__ = "tflite_runtime.interpreter"

        def Interpreter(self, **_):  # noqa: N802
            raise SystemError("<built-in> returned NULL") from ImportError(
                "numpy.core.multiarray failed to import"
            )

    monkeypatch.setattr(interpreter, "import_runtime", Broken)
    with pytest.raises(InputError, match="tflite-runtime.*numpy<2"):
        interpreter.start(float_tflite.read_bytes())


def test_compiled_file_is_timed_on_the_device_beside_others(
    attached, compiled, int8_tflite, tmp_path
):
    path = tmp_path / "small_edgetpu.tflite"
    path.write_bytes(compiled)
    found, passed = timing.time_models(
        [path, int8_tflite], threads=(1, 2), runs=2, device=DeviceOptions("usb:0")
    )
    assert not passed
    # Once, whatever the threads of the CPU.
    assert [(each.runs_on, each.threads) for each in found] == [
        *(("Edge TPU", 1), ("CPU", 1), ("CPU", 2))
    ]
    assert [options for options, _ in attached] == [DeviceOptions("usb:0")]


def test_stage_of_a_pipeline_runs_on_its_device(attached, compiled):
    devices = [DeviceOptions("usb:0"), DeviceOptions("usb")]
    for device in devices:
        stage = pipeline.open_stage(compiled, device=device)
        stage(pipeline.noise_for(stage))
    assert [options for options, _ in attached] == devices
