"""`device` goes through all that is needed, tries the device, and says what to type."""

import json
import platform

import pytest
import zoo

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.board.finding import RIGHT, UNSURE, WRONG
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.tflite import device, trial

ANY = DeviceOptions()
LINUX = pytest.mark.skipif(platform.system() != "Linux", reason="needs Linux")
pytestmark = LINUX


@pytest.fixture
def installed(build, monkeypatch):
    """Return a function that lets the loader find a library; also that of a child."""

    def install(**settings):
        folder = build(**settings).parent
        monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))

    return install


@pytest.fixture(scope="module")
def compiled(int8_tflite, tmp_path_factory):
    content = int8_tflite.read_bytes()
    path = tmp_path_factory.mktemp("compiled") / "model_edgetpu.tflite"
    path.write_bytes(zoo.as_custom(content, "CONV_2D", b"edgetpu-custom-op"))
    return path


def states(findings):
    return {each.topic: each.state for each in findings}


def examined(computer, **settings):
    # The child looks at this computer, but in the same folders for libraries.
    searched = device.System().searched_first
    return device.examine(
        ANY, system=computer.system(searched_first=searched), **settings
    )


def test_all_is_right(installed, computer, compiled):
    installed(VERSION='"RuntimeVersion(14)"')
    computer.plug()
    findings = examined(computer, model=compiled)
    assert set(states(findings).values()) == {RIGHT}
    assert findings[-1].topic == "trial"
    assert "runs the file" in findings[-1].text


def test_all_that_is_wrong_has_a_remedy(computer):
    computer.closed.add(computer.plug("1a6e:089a", speed="480"))
    findings = device.examine(ANY, system=computer.system())
    assert states(findings)["library"] == WRONG
    assert states(findings)["permission"] == WRONG
    assert all(each.remedy for each in findings if each.state == WRONG)


def test_device_that_opens_is_right_whatever_the_system_lists(installed, computer):
    installed()
    found = states(examined(computer))
    assert found["device"] == UNSURE
    assert found["trial"] == RIGHT


def test_device_that_does_not_open_is_explained_once(installed, computer):
    installed(FAILURES=1000)
    findings = examined(computer)
    assert [each.topic for each in findings if each.state == WRONG] == ["device"]


def test_slow_port_is_a_remark(installed, computer):
    installed()
    computer.plug(speed="480")
    assert states(examined(computer))["speed"] == UNSURE


def test_crash_at_opening_is_named(installed, computer):
    installed(CRASH_AT_OPENING=1)
    found = trial.try_device(ANY)
    assert found.state == WRONG
    assert "SIGABRT" in found.text


def test_file_that_is_not_compiled_is_refused(computer, int8_tflite):
    with pytest.raises(InputError, match="not compiled"):
        device.examine(ANY, model=int8_tflite, system=computer.system())


def test_command_succeeds(installed, run, compiled):
    installed()
    code, out, err = run("device", f"--model={compiled}", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["usable"] is True
    assert {"state", "topic", "text", "remedy"} == set(found["findings"][0])


def test_command_gives_the_first_remedy(run, monkeypatch, tmp_path):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    (tmp_path / "libedgetpu.so.1").write_text("404: Not Found")
    code, out, err = run("device")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "libedgetpu.so.1 is no shared library" in err
    assert "apt install" in err
    assert "TFLite runtime" in out


@pytest.mark.parametrize("given", ["--device=tpu", "--performance=High"])
def test_command_refuses_what_the_library_would_ignore(run, given):
    code, out, err = run("device", given)
    assert (code, out) == (2, "")
    assert "usb:0" in err
