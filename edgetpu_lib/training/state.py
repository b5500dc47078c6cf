"""Keep everything a training needs to go on, whole or not at all.

Takes a model that trains, its optimizer and averages; gives one safetensors file.
Next: `train` restores it and takes the following step as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy

from edgetpu_lib.base.artifacts import InputError, atomic_path
from edgetpu_lib.training import devices
from edgetpu_lib.training.recipe import Averages

STATE_NAME = "training_state.safetensors"


class TrainingState:
    """Weights, random state, optimizer, averages, and how far the training is.

    Attributes:
        path: the file.
        model: what trains.
        averages: of its weights.
        step: steps taken.
        progress: what else a training remembers; anything JSON can hold.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: dict[str, Any],
        model: keras.Model,
        averages: Averages,
    ) -> None:
        """Describe what is kept; nothing is read or written yet.

        Args:
            folder: where the file lies.
            settings: what makes this training; anything JSON can hold.
            model: compiled, its optimizer built.
            averages: of its weights.
        """
        self.path = Path(folder) / STATE_NAME
        self.step = 0
        self.progress: dict[str, Any] = {}
        self._settings = json.loads(json.dumps(settings))
        self.model = model
        self.averages = averages
        self._variables = {
            f"{group}/{number:04d}": variable
            for group, variables in (
                ("model", model.variables),
                ("optimizer", model.optimizer.variables),
            )
            for number, variable in enumerate(variables)
        }

    def restore(self) -> bool:
        """Go back to what was kept, and say whether there was anything.

        Raises:
            InputError: the file is damaged or another training's.
        """
        if not self.path.exists():
            return False
        try:
            with safetensors.safe_open(self.path, "numpy") as file:
                facts = {k: json.loads(v) for k, v in file.metadata().items()}
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            self._check_settings(facts["settings"])
            averages = [tensors.pop(name) for name in self._average_names()]
            for name, variable in self._variables.items():
                variable.assign(tensors[name])
        except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{self.path} is not a readable state of this training ({error});"
                " delete it to start again"
            ) from error
        self.averages.values = [keras.ops.convert_to_tensor(a) for a in averages]
        self.step, self.progress = facts["step"], facts["progress"]
        return True

    def keep(self) -> None:
        """Write everything, replacing what was kept before; the first process does.

        Raises:
            InputError: a value is not finite, or the file cannot be written; what was
                kept before is untouched.
        """
        tensors = {
            name: np.array(keras.ops.convert_to_numpy(variable), order="C")
            for name, variable in self._variables.items()
        }
        averages = map(keras.ops.convert_to_numpy, self.averages.values)
        tensors |= zip(self._average_names(), averages, strict=True)
        for name, value in tensors.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise InputError(
                    f"weights are not finite after step {self.step} ({name});"
                    f" {self.describe()}; lower base_learning_rate"
                )
        if devices.process()[0]:
            return
        facts = {
            "step": self.step,
            "progress": self.progress,
            "settings": self._settings,
        }
        metadata = {name: json.dumps(value) for name, value in facts.items()}
        with atomic_path(self.path) as scratch:
            safetensors.numpy.save_file(tensors, scratch, metadata)

    def describe(self) -> str:
        """Return which state is on disk, for an error."""
        if not self.path.exists():
            return "no state was kept before"
        with safetensors.safe_open(self.path, "numpy") as file:
            return f"{self.path} keeps step {file.metadata()['step']}"

    def _average_names(self) -> list[str]:
        return [f"average/{n:04d}" for n in range(len(self.averages.values))]

    def _check_settings(self, found: dict[str, Any]) -> None:
        """Refuse to go on with a training of other settings.

        Raises:
            InputError: it names what differs.
        """
        different = [
            f"{name} was {found.get(name)!r} and is now {self._settings.get(name)!r}"
            for name in sorted({*found, *self._settings})
            if found.get(name) != self._settings.get(name)
        ]
        if different:
            raise InputError(
                f"{self.path} belongs to another training: {'; '.join(different[:3])};"
                " give the same settings, or another output folder"
            )


@contextlib.contextmanager
def stop_between_steps() -> Iterator[threading.Event]:
    """Let Ctrl-C and SIGTERM wait for the end of a step within a `with` block.

    Yields:
        An event that is set once the training shall stop. A second signal does what
        it always did.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: Any) -> None:
        stop.set()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
