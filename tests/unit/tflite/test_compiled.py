"""What compiled files tell, and files that only look compiled."""

import pytest

from edgetpu_lib.tflite import compiled


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("mobilenet_v1_0.25_128_quant_edgetpu", 12),
        ("deeplabv3_mnv2_dm05_pascal_quant_edgetpu", 12),
        ("split_concat_edgetpu", 13),
        ("split_concat", 0),
    ],
)
def test_needed_runtime_is_read(shared, name, needed):
    content = shared(f"models/{name}.tflite").read_bytes()
    assert compiled.needed_runtime(content) == needed
    assert compiled.is_compiled(content) == bool(needed)


@pytest.mark.parametrize(
    "content", [b"", b"DWN1", b"xDWN1", b"\xff" * 8 + b"DWN1" + b"\xff" * 60]
)
def test_chance_is_no_version(content):
    assert compiled.needed_runtime(content) == 0


def test_cut_and_changed_files_are_read_without_a_fault(shared):
    path = shared("models/split_concat_edgetpu.tflite")
    content = bytearray(path.read_bytes())
    start = content.index(b"DWN1") - 4
    for place in (start, start + 1, start + 2, start + 3):
        damaged = bytes(content[:place]) + b"\xff" + bytes(content[place + 1 :])
        assert compiled.needed_runtime(damaged) in range(1000)
    for length in range(start, start + 60):
        assert compiled.needed_runtime(bytes(content[:length])) in range(1000)
