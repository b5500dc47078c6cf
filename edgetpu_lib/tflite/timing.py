"""Time TFLite files side by side: creation, first call, and each part of an inference.

The files take turns, so that whatever else the computer does slows all of them alike.
"""

from __future__ import annotations

import dataclasses
import io
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
from PIL import Image

from edgetpu_lib.base.artifacts import InputError
from edgetpu_lib.board.options import DeviceOptions
from edgetpu_lib.images import pixels
from edgetpu_lib.tflite import contract, interpreter, preprocessing, scores
from edgetpu_lib.tflite.compiled import is_compiled
from edgetpu_lib.tflite.feed import dequantize, quantize_input
from edgetpu_lib.tflite.file import read_bytes, read_tflite
from edgetpu_lib.tflite.interpreter import Latency
from edgetpu_lib.tflite.pipeline import Stage, noise_for
from edgetpu_lib.tflite.trial import require_running

# Height and width of the image that is drawn where none is given: of a webcam.
DRAWN = (480, 640)
# Inferences after the first that are not counted.
WARM_UPS = 3
# More than any board has; the runtime makes as many as it is told.
MAX_THREADS = 256
_TOP = 5


@dataclasses.dataclass(frozen=True)
class Timing:
    """Milliseconds of one file with one number of threads.

    Attributes:
        model: path of the file.
        runs_on: "CPU" or "Edge TPU".
        threads: of the CPU.
        size_bytes: of the file.
        creation_ms: of opening it and allocating its tensors.
        first_ms: of the first inference, which may load parameters onto a device.
        preprocessing: from the bytes of an image file to the input; `None` if the file
            does not take one RGB image.
        inference: from the input to the output.
        postprocessing: from the output to the most probable classes; `None` if the file
            does not give scores.
    """

    model: str
    runs_on: str
    threads: int
    size_bytes: int
    creation_ms: float
    first_ms: float
    preprocessing: Optional[Latency]  # noqa: UP045 (Python 3.9)
    inference: Latency
    postprocessing: Optional[Latency]  # noqa: UP045


@dataclasses.dataclass(frozen=True)
class PassedOver:
    """A compiled file that cannot run here, and one line that says why."""

    model: str
    reason: str


def time_models(
    models: Sequence[str | Path],
    *,
    image: str | Path | None = None,
    threads: Sequence[int] = (1,),
    runs: int = 50,
    device: DeviceOptions = interpreter.ANY_DEVICE,
) -> tuple[list[Timing], list[PassedOver]]:
    """Time files of any kind, each with each number of CPU threads.

    Args:
        models: `.tflite` files. A compiled one runs on the Edge TPU, once, whatever the
            threads; it is passed over where there is none.
        image: image file for the preprocessing; `None` draws one, a JPEG of 640 × 480.
        threads: numbers of threads, 1 or more.
        runs: inferences that are counted, for each file and number of threads.
        device: the Edge TPU that runs compiled files.

    Returns:
        Timings in the order of the files, and the files passed over.

    Raises:
        InputError: a file or the image cannot be used, or no file can run here.
    """
    source = _Drawn() if image is None else image
    runners, passed = [], []
    for model in models:
        compiled = is_compiled(read_bytes(model)[1])
        chosen = device if compiled else interpreter.ANY_DEVICE
        try:
            for count in threads[:1] if compiled else threads:
                runners.append(_Runner(model, count, source, chosen))
        except InputError as error:
            if not compiled:
                raise
            passed.append(PassedOver(str(model), str(error)))
    if not runners:
        raise InputError(passed[0].reason if passed else "no model; give .tflite files")
    for turn in range(WARM_UPS + runs):
        for runner in runners:
            runner.run(counted=turn >= WARM_UPS)
    return [runner.timing() for runner in runners], passed


class _Drawn:
    """A drawn image file in memory: soft colours and noise, as photos have."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        soft = Image.fromarray(coarse).resize(DRAWN[::-1], Image.Resampling.BICUBIC)
        image = np.asarray(soft) + rng.normal(0, 6, (*DRAWN, 3))
        stream = io.BytesIO()
        Image.fromarray(pixels.to_uint8(image)).save(stream, "JPEG", quality=90)
        self.content = stream.getvalue()

    def __str__(self) -> str:
        return "the drawn image"

    def read_bytes(self) -> bytes:
        return self.content


class _Runner:
    """An opened file, and the milliseconds of its inferences."""

    def __init__(
        self, model: str | Path, threads: int, image: Any, device: DeviceOptions
    ) -> None:
        name, content = read_bytes(model)
        self.model, self.threads, self.image = name, threads, image
        self.compiled, self.size_bytes = is_compiled(content), len(content)
        if not self.compiled:
            require_running(model, content)
            # The first of a process also loads the runtime.
            interpreter.start(content, name=name, threads=threads)
        self.creation_ms, opened = _timed(
            interpreter.start, content, name=name, threads=threads, device=device
        )
        self.stage = Stage(opened, name)
        self.takes_image, self.gives_scores = _kinds(opened)
        file = read_tflite(content)
        # For times any will do, but normalizing takes longer than raw bytes.
        self.pixel_scale = preprocessing.of_file(file) or contract.OWN
        self.fed = noise_for(self.stage)
        self.first_ms, _ = _timed(self.stage, self.fed)
        # Before, during and after each inference.
        self.counted_ms: list[tuple[float, float, float]] = []

    def run(self, *, counted: bool) -> None:
        """Infer once, from the image file to the classes."""
        before_ms, fed = _timed(self._feed) if self.takes_image else (0.0, self.fed)
        run_ms, made = _timed(self.stage, fed)
        after_ms = _timed(self._rank, made)[0] if self.gives_scores else 0.0
        if counted:
            self.counted_ms.append((before_ms, run_ms, after_ms))

    def _feed(self) -> dict[str, np.ndarray]:
        taken = interpreter.input_contract(self.stage.opened)
        loaded = pixels.load_on_device(self.image, max(taken.shape[1:3]))
        mean, stddev = self.pixel_scale
        fed = quantize_input(loaded, taken, mean=mean, stddev=stddev)
        (name,) = self.stage.inputs
        return {name: fed}

    def _rank(self, made: dict[str, np.ndarray]) -> np.ndarray:
        """Return the most probable classes."""
        (name,) = self.stage.outputs
        given = interpreter.output_contract(self.stage.opened)
        found = scores.probabilities(dequantize(made[name].ravel(), given)[None])[0]
        return np.argsort(-found, kind="stable")[:_TOP]

    def timing(self) -> Timing:
        """Return percentiles of what was counted."""
        percentiles = np.percentile(self.counted_ms, [50, 90, 99], axis=0)
        before, run, after = (Latency(*map(float, part)) for part in percentiles.T)
        return Timing(
            model=self.model,
            runs_on="Edge TPU" if self.compiled else "CPU",
            threads=self.threads,
            size_bytes=self.size_bytes,
            creation_ms=self.creation_ms,
            first_ms=self.first_ms,
            preprocessing=before if self.takes_image else None,
            inference=run,
            postprocessing=after if self.gives_scores else None,
        )


def _kinds(opened: Any) -> tuple[bool, bool]:
    """Return whether a file takes one RGB image, and whether it gives scores."""
    inputs, outputs = opened.get_input_details(), opened.get_output_details()
    sizes = [int(n) for n in inputs[0]["shape"]]
    image = len(inputs) == 1 and len(sizes) == 4 and sizes[::3] == [1, 3]
    *rest, classes = [int(n) for n in outputs[0]["shape"]] or [1]
    return image, len(outputs) == 1 and math.prod(rest) == 1 and classes > 1


def _timed(call: Callable[..., Any], *given: Any, **named: Any) -> tuple[float, Any]:
    """Return the milliseconds of a call, and its result."""
    start = time.perf_counter()
    result = call(*given, **named)
    return 1e3 * (time.perf_counter() - start), result
