"""The checkpoint that ships is small, whole, and as good as its model card says."""

import numpy as np
import pytest

from edgetpu_lib import build, checkpoint, data, evaluate
from edgetpu_lib.evaluation import classifiers

NAME = "efficientnet-edgetpu-S"


@pytest.fixture(scope="module")
def loaded():
    model = build.build_model(NAME, num_classes=11, image_size=64)
    path = checkpoint.shipped_checkpoint(NAME)
    return model, checkpoint.load_weights(model, path)


def test_it_is_small_and_fills_every_weight_with_averages(loaded):
    model, report = loaded
    assert checkpoint.shipped_checkpoint(NAME).stat().st_size <= 12e6
    assert len(report.loaded) == len(model.weights)
    assert not report.kept and not report.ignored
    assert report.use_ema


def test_its_values_are_bfloat16s(loaded):
    for weight in loaded[0].weights:
        bits = np.ascontiguousarray(weight.numpy()).view(np.uint32)
        assert not (bits & 0xFFFF).any(), weight.path


@pytest.mark.parametrize("name", ["efficientnet-edgetpu-M", "efficientnet-edgetpu-L"])
def test_other_sizes_have_none(name):
    assert checkpoint.shipped_checkpoint(name) is None


def test_it_knows_what_its_model_card_says(loaded, shared):
    images = data.open_splits(shared("data/cifar10"))["test"]
    images = images.take(np.arange(0, 10_000, 20))
    opened = classifiers.open_classifier(loaded[0])
    predictions = evaluate.predict(opened, images, progress=None)
    top1 = (predictions.best == images.labels + 1).mean()
    # 85.6 % on all 10,000; four standard errors of 500.
    assert abs(top1 - 0.856) < 0.063
