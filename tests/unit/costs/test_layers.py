"""What networks cost and what files hold."""

import collections

import pytest

from edgetpu_lib import specs
from edgetpu_lib.costs import layers

S, M, L = specs.SPECS


@pytest.mark.parametrize(
    ("name", "giga_macs", "weights"),
    [(S, 1.789, 5_387_232), (M, 3.013, 6_831_968), (L, 7.936, 10_498_040)],
)
def test_totals_of_the_published_networks(name, giga_macs, weights):
    rows = layers.layer_table(specs.model_spec(name))
    assert round(sum(row.macs for row in rows) / 1e9, 3) == giga_macs
    assert sum(row.weights for row in rows) == weights
    trainable, _ = specs.count_parameters(specs.model_spec(name))
    assert sum(row.parameters for row in rows) == trainable


@pytest.mark.parametrize("name", [S, M, L])
def test_stages_sum_to_the_layers(name):
    rows = layers.layer_table(specs.model_spec(name))
    stages = layers.stage_table(specs.model_spec(name))
    assert [stage.name for stage in stages] == [
        "stem", *(f"stage {n}" for n in range(1, 7)), "head",
    ]  # fmt: skip
    for field in ("macs", "parameters"):
        assert sum(getattr(s, field) for s in stages) == sum(
            getattr(r, field) for r in rows
        )
    assert sum(stage.layers for stage in stages) == len(rows)
    assert stages[-1].output_channels == (1536 if name == L else 1280)


def test_largest_map_of_the_published_networks():
    """Source of the numbers: the first fused expansion, at one byte a number."""
    for name, kib in ((S, 1176), (M, 1350), (L, 2812.5)):
        stages = layers.stage_table(specs.model_spec(name))
        assert max(stage.largest_bytes for stage in stages) / 1024 == kib


def test_receptive_field_by_asking_the_network():
    """A pixel belongs to the field if the output's gradient at it is not zero."""
    import keras
    import numpy as np
    import tensorflow as tf

    stages = tuple(specs.STAGES[i] for i in (0, 1, 3))
    changes = {"image_size": 128, "width_coefficient": 0.25, "depth_coefficient": 0.4}
    spec = specs.model_spec(S, stages=stages, num_classes=3, **changes)
    fields = layers.receptive_fields(layers.layer_table(spec))
    from edgetpu_lib import build

    model = build.build_network(spec)
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(keras.ops.abs(layer.kernel) + 0.01)
    for name in ("block_0_project_conv", "block_2_project_conv"):
        inside = keras.Model(model.input, model.get_layer(name).output)
        image = tf.ones((1, 128, 128, 3))
        with tf.GradientTape() as tape:
            tape.watch(image)
            found = inside(image)
            middle = found[0, found.shape[1] // 2, found.shape[2] // 2, 0]
        seen = np.abs(tape.gradient(middle, image)[0].numpy()).sum(axis=(1, 2)) > 0
        assert seen.sum() == fields[name], name


def test_memory_holds_what_is_needed_at_a_time(int8_tflite):
    rows = layers.memory_profile(int8_tflite)
    assert [row.index for row in rows] == list(range(len(rows)))
    # The image's bytes, and as many signed ones.
    assert (rows[0].kind, rows[0].live_bytes) == ("QUANTIZE", 2 * 32 * 32 * 3)
    # Where a skip waits, three maps live: what is kept, what comes, what goes.
    adds = [row for row in rows if row.kind == "ADD"]
    assert adds and all(row.live_bytes % 3 == 0 for row in adds)
    assert rows[-1].live_bytes == 2 * 3, "three scores, signed and unsigned"


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"image_size": 97, "num_classes": 5},
        {"width_coefficient": 0.1, "depth_coefficient": 0.3, "image_size": 33},
    ],
)
def test_rows_are_the_layers_of_the_built_model(overrides):
    from edgetpu_lib import build

    model = build.build_model(M, **{"num_classes": 1001, **overrides})
    kernels = {
        layer.name: layer
        for layer in model.layers
        if any(weight.name == "kernel" for weight in layer.weights)
    }
    rows = layers.layer_table(specs.model_spec(M, **overrides))
    assert [row.name for row in rows] == list(kernels)
    for row in rows:
        kernel = kernels[row.name].kernel
        shape = kernels[row.name].output.shape
        assert row.weights == kernel.shape.num_elements(), row.name
        assert row.output_channels == shape[-1], row.name
        side = shape[1] if len(shape) == 4 else 1
        assert row.output_size == side, row.name
        # Each weight is used once for each place of the output.
        assert row.macs == row.weights * side * side, row.name


def test_rows_name_stages_and_kinds():
    rows = layers.layer_table(specs.model_spec(S))
    assert [row.stage for row in rows] == sorted(row.stage for row in rows)
    assert rows[0].stage == 0
    assert {row.stage for row in rows[-2:]} == {7}
    kinds = collections.Counter(row.kind for row in rows)
    assert kinds == {"conv": 1 + 2 * 18 + 1, "depthwise": 11, "dense": 1}
