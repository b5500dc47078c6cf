"""A compiled file runs on a device, or one line says what is missing and the remedy."""

import shutil
import types

import pytest

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.board import delegate, runtime
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.board.runtime import Runtime

ANY = DeviceOptions()


@pytest.fixture
def opening(computer, build):
    """Return a function that opens the device of a computer, and the waits it made."""
    waits = []

    def opened(options=ANY, *, system=None, **settings):
        return delegate.load_delegate(
            options, system=system or computer.system(), pause=waits.append, **settings
        )

    opened.waits = waits
    return opened


def refused(opening, *words, options=ANY, **settings):
    with pytest.raises(InputError) as caught:
        opening(options, **settings)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def test_device_is_opened_at_once(opening, computer, build, caplog):
    computer.install(build())
    computer.plug()
    assert opening()._get_native_delegate_pointer()
    assert opening.waits == []
    assert "3 s" in caplog.text


def test_a_card_opens_without_a_remark(opening, computer, build, caplog):
    computer.install(build())
    computer.insert()
    assert opening(DeviceOptions())
    assert caplog.text == ""


@pytest.mark.parametrize("failures", [1, 3, 7])
def test_opening_is_repeated_with_growing_waits(opening, computer, build, failures):
    computer.install(build(FAILURES=failures))
    computer.plug()
    assert opening()
    assert len(opening.waits) == failures
    assert opening.waits == sorted(opening.waits)
    assert sum(opening.waits) < 15


def test_eight_attempts_are_enough(opening, computer, build):
    computer.install(build(FAILURES=1000))
    computer.plug()
    refused(opening, "8 attempts", "replug")
    assert len(opening.waits) == 7


def test_no_device_is_not_waited_for(opening, computer, build):
    computer.install(build(FAILURES=1000))
    refused(opening, "no Edge TPU is attached", "lsusb")
    assert opening.waits == []


def test_a_device_that_the_system_does_not_list_is_opened(opening, computer, build):
    computer.install(build())
    assert opening()


def test_options_reach_the_library(opening, computer, build):
    computer.install(build(WANTED='"usb:1"'))
    computer.plug()
    computer.plug(place="2-2", number=6)
    assert opening(DeviceOptions("usb:1", performance="High"))
    refused(opening, "attempts", options=DeviceOptions("usb:0"))


def test_library_that_is_missing(opening, computer):
    computer.plug()
    refused(opening, "libedgetpu.so.1", "not installed", "sudo apt install")
    for platform, name in {"darwin": ".1.dylib", "win32": "edgetpu.dll"}.items():
        system = computer.system(platform=platform)
        message = refused(opening, name, system=system)
        assert "apt" not in message


@pytest.mark.parametrize("failures", [2, 1000])
def test_system_that_lists_no_devices(opening, computer, build, failures):
    library = computer.install(build(FAILURES=failures), folder="usr/local/lib")
    library.rename(library.with_name("libedgetpu.1.dylib"))
    system = computer.system(platform="darwin")
    if failures < delegate.ATTEMPTS:
        assert opening(system=system)
    else:
        refused(opening, "attach", system=system)
    assert len(opening.waits) == min(failures, 7)


def test_stick_that_keeps_its_first_mode(opening, computer, build):
    computer.install(build(FAILURES=1000))
    computer.plug("1a6e:089a", speed="480")
    refused(opening, "1a6e:089a", "firmware")
    assert len(opening.waits) == 7


@pytest.mark.parametrize("change", ["closed", "unseen", "unplugged"])
def test_stick_whose_second_mode_is_out_of_reach(computer, build, change):
    # A rule or a container that knows the first mode alone.
    computer.install(build(FAILURES=1000))
    old = computer.plug("1a6e:089a")

    def renumber(_):
        old.unlink(missing_ok=True)
        new = computer.plug(number=6, file=change == "closed")
        computer.closed.add(new)
        if change == "unplugged":
            shutil.rmtree(computer.root / "sys/bus/usb/devices/2-1")

    with pytest.raises(InputError) as caught:
        delegate.load_delegate(ANY, system=computer.system(), pause=renumber)
    says = {"closed": "may not open", "unseen": "no file", "unplugged": "attached"}
    assert says[change] in str(caught.value)


def test_stick_in_its_first_mode_is_opened(opening, computer, build):
    computer.install(build(FAILURES=1))
    computer.plug("1a6e:089a", speed="480")
    assert opening()


@pytest.mark.parametrize("kind", ["usb", "pci"])
def test_device_that_this_user_may_not_open(opening, computer, build, kind):
    computer.install(build(FAILURES=1000))
    file = computer.plug() if kind == "usb" else computer.insert()
    computer.closed.add(file)
    refused(opening, str(file), "may not open", "/etc/udev/rules.d/")
    assert opening.waits == []


def test_card_without_a_driver(opening, computer, build):
    computer.install(build(FAILURES=1000))
    computer.insert(driver=False)
    refused(opening, "driver", "gasket")


def test_stick_in_a_container_that_does_not_see_it(opening, computer, build):
    computer.install(build(FAILURES=1000))
    computer.plug(file=False)
    refused(opening, "/dev/bus/usb")


@pytest.mark.parametrize("device", ["usb:1", "pci", "pci:0", ":1"])
def test_device_that_is_not_among_the_attached(opening, computer, build, device):
    computer.install(build(FAILURES=1000))
    computer.plug()
    options = DeviceOptions(device)
    refused(opening, device, "usb:0", options=options)


def test_one_usable_device_of_two_is_enough(opening, computer, build):
    computer.install(build(FAILURES=1))
    computer.closed.add(computer.plug())
    computer.insert()
    assert opening()


# The library.


def module(package, version):
    def never(*_):
        raise AssertionError("loaded")

    stand_in = types.SimpleNamespace(load_delegate=never)
    return Runtime(package, version, stand_in)


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("ai-edge-litert", "1.0.1"),
        ("ai-edge-litert", "2.3.0"),
        ("tflite-runtime", "2.12.0"),
        ("tflite-runtime", "2.14.0"),
        ("tensorflow", "2.21.0"),
    ],
)
@pytest.mark.parametrize("told", ["package", "label", "version", "date"])
def test_library_of_2021_is_never_loaded(
    opening, computer, build, package, version, told
):
    old = "COMPILER=6.3.0 20170516,DATE=redacted"
    dated = "COMPILER=MSVC 192528612,DATE=Jul 20 2021"
    library, listed = {
        "package": (build(LABEL='""'), ("libedgetpu1-std", "16.0")),
        "label": (build(LABEL=f'"{old}"'), None),
        "version": (build(LABEL='""', VERSION=f'"{old}), RuntimeVersion(14)"'), None),
        "date": (build(LABEL=f'"{dated}"'), None),
    }[told]
    computer.install(library, package=listed)
    computer.plug()
    message = refused(
        opening, "2.12", version, "crashes", runtime=module(package, version)
    )
    assert "libedgetpu" in message.split(";")[1]


@pytest.mark.parametrize(
    ("version", "listed"),
    [
        ("2.5.0.post1", ("libedgetpu1-std", "16.0")),
        ("2.11.0", ("libedgetpu1-max", "16.0")),
        ("2.14.0", ("libedgetpu1-std", "16.0tf2.15.0-1")),
        ("2.17.1", ("libedgetpu1-max", "16.0tf2.17.1-1")),
        ("2.17.1", ("libedgetpu1-max", "16.0TF2.19.1-1")),
        # Built today from Google's sources, which count no further than 16.0.
        ("2.17.1", ("libedgetpu1-std", "16.0", "COMPILER=14.2.0,DATE=Feb 22 2026")),
    ],
)
def test_library_that_fits_is_loaded(opening, computer, build, version, listed):
    *listed, label = [*listed, ""][:3]
    computer.install(build(LABEL=f'"{label}"'), package=listed)
    computer.plug()
    loaded = types.SimpleNamespace(load_delegate=lambda path, options: path)
    found = opening(runtime=Runtime("tflite-runtime", version, loaded))
    assert found.endswith("libedgetpu.so.1")


def test_library_for_another_processor(opening, computer, build):
    path = computer.install(build())
    content = bytearray(path.read_bytes())
    content[18:20] = (0x28).to_bytes(2, "little")
    path.write_bytes(content)
    computer.plug()
    refused(opening, str(path), "is for arm")


def test_library_for_this_processor_is_taken_of_two(opening, computer, build):
    # As on a board with packages of 32 and of 64 bits.
    other = computer.install(build(), folder="usr/lib/arm-linux-gnueabihf")
    content = bytearray(other.read_bytes())
    content[18:20] = (0x28).to_bytes(2, "little")
    other.write_bytes(content)
    computer.install(build(), folder="usr/lib/x86_64-linux-gnu")
    computer.plug()
    assert opening()


def test_file_that_is_no_library(opening, computer, build):
    path = computer.install(build())
    computer.plug()
    for content in (b"", b"<html>404", b"\x7fELF", b"version https://git-lfs"):
        path.write_bytes(content)
        refused(opening, str(path), "no shared library")


def test_library_that_crashes_when_loaded(opening, computer, build):
    computer.install(build(CRASH=1))
    computer.plug()
    refused(opening, "SIGABRT")


def test_library_without_libusb(opening, computer, build, tmp_path):
    libusb = tmp_path / "libusb-1.0.so.0"
    shutil.copy(build(NO_PLUGIN=1), libusb)
    computer.install(build(link=libusb))
    libusb.unlink()
    computer.plug()
    refused(opening, "needs libusb", "sudo apt install libusb-1.0-0")


def test_library_of_something_else(opening, computer, build):
    computer.install(build(NO_PLUGIN=1))
    computer.plug()
    refused(opening, "no library for TFLite")


def test_file_for_a_newer_runtime(opening, computer, build):
    computer.install(build(VERSION='"BuildLabel(N/A), RuntimeVersion(13)"'))
    computer.plug()
    assert opening(needed=13)
    refused(opening, "runtime 14", "has 13", "--min_runtime_version=13", needed=14)


def test_package_tells_the_version_of_an_older_runtime(opening, computer, build):
    computer.install(build(), package=("libedgetpu1-std", "12.1-1"))
    computer.plug()
    refused(opening, "has 12", needed=13)


def test_first_folder_of_the_loader_wins(opening, computer, build, tmp_path):
    computer.install(build(NO_PLUGIN=1))
    computer.install(build(), folder="opt/coral")
    computer.plug()
    first = (str(computer.root / "opt/coral"),)
    assert opening(system=computer.system(searched_first=first))
    computer.write("etc/ld.so.conf.d/coral.conf", "# ours\n/opt/coral\n")
    assert opening()


def test_no_runtime(opening, computer, build, monkeypatch):
    computer.install(build())
    computer.plug()
    monkeypatch.setattr(runtime, "RUNTIMES", {"no_such_runtime": ("none",)})
    refused(opening, "pip install ai-edge-litert")


# What can be asked for.


@pytest.mark.parametrize("device", ["tpu", "usb:", "usb:-1", "USB:0", "0", "pci:x"])
def test_devices_that_cannot_be(device):
    with pytest.raises(InputError, match="usb:0"):
        DeviceOptions(device)


@pytest.mark.parametrize(
    "settings",
    [
        {"device": "usb:0", "performance": "Fast"},
        {"device": "usb:0", "usb_max_bulk_in_queue_length": 256},
        {"device": "usb:0", "usb_max_bulk_in_queue_length": -1},
        {"performance": "High"},
        {"device": "usb", "usb_always_dfu": True},
    ],
)
def test_settings_that_the_library_would_ignore(settings):
    with pytest.raises(InputError):
        DeviceOptions(**settings)


def test_all_values_are_given_as_texts():
    options = DeviceOptions(
        "pci:1",
        performance="Low",
        usb_always_dfu=False,
        usb_max_bulk_in_queue_length=0,
    )
    assert options.given() == {
        "device": "pci:1",
        "Performance": "Low",
        "Usb.AlwaysDfu": "False",
        "Usb.MaxBulkInQueueLength": "0",
    }
    assert DeviceOptions().given() == {}
