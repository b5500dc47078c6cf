"""What is counted from a spec is what the converted file holds."""

import dataclasses

import pytest

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import data_file
from edgetpu_lib.costs import estimate, networks
from edgetpu_lib.hardware import operator_costs
from edgetpu_lib.tflite import file as tflite_file

QUICKSTART = specs.model_spec(
    "efficientnet-edgetpu-S", width_coefficient=0.25, image_size=96, num_classes=5
)


def test_operators_are_those_of_the_converted_file():
    file = tflite_file.read_tflite(data_file("quickstart_quant.tflite"))
    assert networks.spec_operators(QUICKSTART) == operator_costs.operator_costs(file)


@pytest.mark.parametrize("clock", ["max", "std"])
def test_time_is_that_of_the_converted_file(clock):
    from_file = estimate.estimate_tflite(
        data_file("quickstart_quant.tflite"), clock=clock
    )
    from_spec = networks.estimate_spec(QUICKSTART, clock=clock)
    assert from_spec == from_file


def test_family_is_as_fast_as_published():
    # Source: coral.ai/docs/edgetpu/benchmarks, USB Accelerator.
    published_ms = {"S": 5.1, "M": 8.7, "L": 25.3}
    for name, milliseconds in published_ms.items():
        spec = specs.SPECS[f"efficientnet-edgetpu-{name}"]
        found = networks.estimate_spec(spec)
        assert found.latency_ms == pytest.approx(milliseconds, rel=0.12)


def test_a_changed_stage_changes_its_operators_alone():
    before = networks.spec_operators(QUICKSTART)
    stages = list(specs.STAGES)
    stages[3] = dataclasses.replace(stages[3], kind="fused")
    changed = dataclasses.replace(QUICKSTART, stages=tuple(stages))
    after = networks.spec_operators(changed)
    deep = [row for row in before if row.kind == "DEPTHWISE_CONV_2D"]
    assert len(before) - len(after) == specs.STAGES[3].repeats
    kept = [row for row in after if row.kind == "DEPTHWISE_CONV_2D"]
    assert len(deep) - len(kept) == specs.STAGES[3].repeats
