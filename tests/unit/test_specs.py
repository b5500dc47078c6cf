"""The networks as data: sizes, rounding, the odd first stage, and bad numbers."""

import dataclasses

import pytest

from edgetpu_lib import specs
from edgetpu_lib.base.artifacts import InputError

S, M, L = specs.SPECS

PUBLISHED = {S: (1.0, 1.0, 224, 0.2), M: (1.0, 1.1, 240, 0.2), L: (1.2, 1.4, 300, 0.3)}
TRAINABLE_1001 = {S: 5_439_673, M: 6_900_777, L: 10_591_249}
ALL_1001 = {S: 5_491_113, M: 6_968_585, L: 10_683_457}
TRAINABLE_1000 = {S: 5_438_392, M: 6_899_496, L: 10_589_712}
ALL_1000 = {S: 5_489_832, M: 6_967_304, L: 10_681_920}


def test_names_are_the_published_ones():
    assert list(specs.SPECS) == [f"efficientnet-edgetpu-{size}" for size in "SML"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_coefficients_are_the_published_ones(name):
    spec = specs.model_spec(name)
    found = (
        spec.width_coefficient,
        spec.depth_coefficient,
        spec.image_size,
        spec.dropout_rate,
    )
    assert found == PUBLISHED[name]
    assert (spec.survival_prob, spec.num_classes) == (0.8, 1001)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_with_background_class(name):
    counts = specs.count_parameters(specs.model_spec(name))
    assert counts == (TRAINABLE_1001[name], ALL_1001[name])


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_without_background_class(name):
    counts = specs.count_parameters(specs.model_spec(name, num_classes=1000))
    assert counts == (TRAINABLE_1000[name], ALL_1000[name])


def test_baseline_stages_are_the_published_rows():
    rows = [dataclasses.astuple(stage) for stage in specs.STAGES]
    assert rows == [
        ("fused", 1, 3, 1, 4, 24, 24, False),
        ("fused", 2, 3, 2, 8, 24, 32, True),
        ("fused", 4, 3, 2, 8, 32, 48, True),
        ("inverted", 5, 5, 2, 8, 48, 96, True),
        ("inverted", 4, 5, 1, 8, 96, 144, True),
        ("inverted", 2, 5, 2, 8, 144, 192, True),
    ]


@pytest.mark.parametrize(
    ("name", "repeats"),
    [(S, [1, 2, 4, 5, 4, 2]), (M, [2, 3, 5, 6, 5, 3]), (L, [2, 3, 6, 7, 6, 3])],
)
def test_repeats_are_rounded_up(name, repeats):
    blocks = specs.expand_blocks(specs.model_spec(name))
    stages = [block.stage for block in blocks]
    assert [stages.count(number) for number in range(1, 7)] == repeats
    assert [block.index for block in blocks] == list(range(sum(repeats)))


def test_only_the_first_block_of_a_stage_strides():
    blocks = specs.expand_blocks(specs.model_spec(S))
    strides = {block.index: block.stride for block in blocks if block.stride > 1}
    assert strides == {1: 2, 3: 2, 7: 2, 16: 2}


def test_first_stage_expands_from_the_nominal_channels():
    first = specs.expand_blocks(specs.model_spec(S))[0]
    assert specs.STAGES[0].nominal_input_channels == 24
    assert specs.STEM_CHANNELS == 32
    assert first.input_channels == 32
    assert first.expanded_channels == 4 * 24


@pytest.mark.parametrize("name", PUBLISHED)
def test_first_stage_never_skips(name):
    blocks = specs.expand_blocks(specs.model_spec(name))
    assert not any(block.skip for block in blocks if block.stage == 1)


@pytest.mark.parametrize("name", PUBLISHED)
def test_later_blocks_skip_exactly_where_shapes_allow(name):
    for block in specs.expand_blocks(specs.model_spec(name)):
        if block.stage > 1:
            same = block.input_channels == block.output_channels
            assert block.skip == (block.stride == 1 and same), block


@pytest.mark.parametrize("width", [0.1, 0.35, 0.5, 1.0, 1.2, 2.0])
def test_each_block_takes_what_the_one_before_gives(width):
    spec = specs.model_spec(S, width_coefficient=width)
    blocks = specs.expand_blocks(spec)
    assert blocks[0].input_channels == specs.round_channels(32, width)
    for before, after in zip(blocks, blocks[1:], strict=False):
        assert after.input_channels == before.output_channels
        assert not after.skip or after.input_channels == after.output_channels


@pytest.mark.parametrize(
    ("channels", "width", "rounded"),
    [
        (32, 1.0, 32),
        (24, 1.2, 32),  # 28.8 lies nearer to 32
        (32, 1.2, 40),  # 38.4
        (48, 1.2, 56),  # 57.6 lies nearer to 56
        (1280, 1.2, 1536),
        (10, 1.0, 16),  # 8 would fall below 90 %
        (12, 1.0, 16),  # a tie goes up
        (32, 0.1, 8),  # never below 8
    ],
)
def test_channels_are_rounded_to_multiples_of_eight(channels, width, rounded):
    assert specs.round_channels(channels, width) == rounded


def test_rounded_channels_keep_90_percent():
    for channels in range(1, 400):
        for width in (0.1, 0.7, 1.0, 1.3):
            rounded = specs.round_channels(channels, width)
            assert rounded % 8 == 0
            assert rounded >= 0.9 * channels * width


@pytest.mark.parametrize(
    ("repeats", "depth", "rounded"),
    [(1, 1.0, 1), (1, 1.1, 2), (5, 1.4, 7), (4, 0.1, 1)],
)
def test_repeats_round_up(repeats, depth, rounded):
    assert specs.round_repeats(repeats, depth) == rounded


@pytest.mark.parametrize(("name", "number"), [(S, 18), (M, 24), (L, 27)])
def test_drop_rates_grow_linearly(name, number):
    rates = [block.drop_rate for block in specs.expand_blocks(specs.model_spec(name))]
    assert rates == pytest.approx([0.2 * i / number for i in range(number)])


def test_survival_of_one_drops_nothing():
    blocks = specs.expand_blocks(specs.model_spec(L, survival_prob=1.0))
    assert {block.drop_rate for block in blocks} == {0}


def test_overrides_replace_and_none_keeps():
    spec = specs.model_spec(
        L, num_classes=5, image_size=96, width_coefficient=None, dropout_rate=0
    )
    assert (spec.num_classes, spec.image_size, spec.dropout_rate) == (5, 96, 0)
    assert (spec.width_coefficient, spec.depth_coefficient) == (1.2, 1.4)
    assert specs.SPECS[L].num_classes == 1001


def test_specs_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        specs.SPECS[S].num_classes = 5


def test_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(InputError) as caught:
        specs.model_spec("efficientnet-edgetpu-XL")
    message = str(caught.value)
    assert all(name in message for name in ("efficientnet-edgetpu-XL", S, M, L))
    assert "\n" not in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width_coefficient", 0),
        ("width_coefficient", -1.0),
        ("width_coefficient", 17),
        ("width_coefficient", float("nan")),
        ("depth_coefficient", 0),
        ("depth_coefficient", float("inf")),
        ("image_size", 31),
        ("image_size", -224),
        ("image_size", 4097),
        ("num_classes", 1),
        ("num_classes", 0),
        ("dropout_rate", -0.1),
        ("dropout_rate", 1.0),
        ("survival_prob", 0),
        ("survival_prob", 1.1),
    ],
)
def test_number_out_of_range_is_named(field, value):
    with pytest.raises(InputError, match=f"{field}={value}"):
        specs.model_spec(S, **{field: value})


@pytest.mark.parametrize(
    "field", ["repeats", "kernel_size", "stride", "expand_ratio", "channels"]
)
def test_stage_with_nothing_in_it_is_refused(field):
    with pytest.raises(InputError, match=f"{field}=0"):
        dataclasses.replace(specs.STAGES[1], **{field: 0})


def test_stage_of_unknown_kind_is_refused():
    with pytest.raises(InputError, match="dense"):
        dataclasses.replace(specs.STAGES[1], kind="dense")


def test_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


def test_written_spec_is_read_back_and_has_overrides(tmp_path):
    stages = (*specs.STAGES[:5], dataclasses.replace(specs.STAGES[5], channels=200))
    spec = dataclasses.replace(specs.SPECS[M], name="found", stages=stages)
    path = specs.write_spec(spec, tmp_path / "found.json")
    assert specs.read_spec(path) == spec
    changed = specs.model_spec(str(path), image_size=96, num_classes=None)
    assert changed == dataclasses.replace(spec, image_size=96)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("not JSON", "does not describe a network"),
        ("[]", "does not describe a network"),
        ('{"name": "x"}', "does not describe a network"),
        ('{"name": "x", "stages": [{"kind": "fused"}]}', "does not describe a network"),
    ],
)
def test_file_without_a_network_is_named(tmp_path, text, named):
    path = tmp_path / "found.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=named):
        specs.model_spec(str(path))


def test_file_with_a_bad_number_names_file_and_number(tmp_path):
    path = specs.write_spec(specs.SPECS[S], tmp_path / "found.json")
    path.write_text(path.read_text("utf-8").replace('"fused"', '"fuzed"'), "utf-8")
    with pytest.raises(InputError, match="found.json.*fuzed"):
        specs.model_spec(str(path))


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        specs.model_spec(str(tmp_path / "none.json"))
