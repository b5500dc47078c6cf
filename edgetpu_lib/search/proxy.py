"""Estimate the accuracy of a network by a brief training of a small copy."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process

import numpy as np

from edgetpu_lib import data, specs
from edgetpu_lib.base import parallel, quiet
from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.images import pixels
from edgetpu_lib.search.space import Stages


@dataclasses.dataclass(frozen=True, eq=False)
class ProxyTask:
    """Images, and how a small copy is trained on them.

    Attributes:
        train_u8: uint8 [number, larger, larger, 3], of which random crops are taken.
        train_labels: int64 [number].
        held_out_u8: uint8 [number, image_size, image_size, 3].
        held_out_labels: int64 [number].
        image_size: height and width, pixels.
        width_coefficient: factor of the copy's channels.
        learning_rate: peak learning rate.
        seed: of weights, order, crops and dropout.
    """

    train_u8: np.ndarray
    train_labels: np.ndarray
    held_out_u8: np.ndarray
    held_out_labels: np.ndarray
    image_size: int
    width_coefficient: float = 0.25
    epochs: int = 6
    batch_size: int = 16
    learning_rate: float = 5e-3
    seed: int = 0

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return int(self.train_labels.max()) + 1

    def facts(self) -> dict[str, object]:
        """Return what an accuracy depends on: digests of the images, and settings."""
        facts = dict(vars(self))
        for name, value in facts.items():
            if isinstance(value, np.ndarray):
                facts[name] = hashlib.sha256(value.tobytes()).hexdigest()[:16]
        return facts

    @property
    def digest(self) -> str:
        """First eight hex digits of the SHA-256 of `facts`."""
        text = json.dumps(self.facts(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def load_task(
    images: data.Images, *, image_size: int, seed: int = 0, **settings: float
) -> ProxyTask:
    """Read images for a proxy task: 60 % to train on, the others held out.

    `images` must not include those of the final test. `settings` are other fields of
    `ProxyTask`.

    Raises:
        InputError: an image cannot be decoded, or there are too few.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    count = round(0.6 * len(images))
    train, held_out = images.take(order[:count]), images.take(order[count:])
    if set(train.labels) != set(images.labels) or not len(held_out):
        raise InputError(
            f"{len(images)} images are too few to train and to compare networks with"
        )
    # A margin for crops, as in `fine_tune`.
    margin_size = round(image_size / pixels.CROP_FRACTION)
    train_u8 = data.load_pixels(
        train, margin_size, resize="square", progress="training images"
    )
    held_out_u8 = data.load_pixels(held_out, image_size, progress="held-out images")
    arrays = train_u8, train.labels, held_out_u8, held_out.labels
    return ProxyTask(*arrays, image_size=image_size, seed=seed, **settings)


def copy_spec(stages: Stages, task: ProxyTask) -> specs.ModelSpec:
    """Return the small copy of a network: fewer channels, a smaller image."""
    return specs.ModelSpec(
        "proxy",
        width_coefficient=task.width_coefficient,
        depth_coefficient=1.0,
        image_size=task.image_size,
        dropout_rate=0.0,
        survival_prob=1.0,
        num_classes=task.num_classes,
        stages=stages,
    )


def proxy_top1(stages: Stages, task: ProxyTask) -> float:
    """Return the accuracy of a briefly trained small copy, 0..1.

    The same arguments give the same number on the same machine, if TensorFlow has one
    thread (`worker_pool`).
    """
    # Imported in the worker, after the environment has limited its threads.
    quiet.prefer_onednn()
    quiet.start_tensorflow()
    import keras

    from edgetpu_lib import build, fine_tune
    from edgetpu_lib.training import examples

    keras.backend.clear_session()
    keras.utils.set_random_seed(task.seed)
    model = build.build_network(copy_spec(stages, task))
    rows = fine_tune.train_all_layers(
        model,
        examples.from_array(task.train_u8, task.train_labels, task.num_classes),
        examples.from_array(task.held_out_u8, task.held_out_labels, task.num_classes),
        fine_tune.FineTuneConfig(
            epochs=task.epochs,
            batch_size=task.batch_size,
            scratch_learning_rate=task.learning_rate,
            patience=task.epochs,
            seed=task.seed,
        ),
        show_progress=False,
    )
    # The last epoch: the best of several would be biased upwards.
    return rows[-1].validation_top1


def worker_pool(workers: int | None = None) -> ProcessPoolExecutor:
    """Return processes that each train with one thread; by default one per core.

    TensorFlow keeps about 100 MB of every network that a process has trained: after
    some hundred networks, stop the search and resume it with the same command.
    """
    return ProcessPoolExecutor(
        workers or parallel.cores(),
        mp_context=get_context("spawn"),
        initializer=_prepare_worker,
    )


def _prepare_worker() -> None:
    """Use one thread, leave Ctrl-C to the parent process, and end when it ends."""
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent has ended, even if it was killed."""
    parent_process().join()
    os._exit(1)
