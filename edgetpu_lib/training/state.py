"""Save the state of a training in a safetensors file so that it can resume."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors
import safetensors.numpy

from edgetpu_lib.base.artifacts import InputError, write_file
from edgetpu_lib.training import devices


@dataclasses.dataclass
class Tensors:
    """Tensors saved besides model and optimizer, such as the best weights."""

    values: list[Any]


def new_progress() -> dict[str, Any]:
    """Return an empty history and the numbers of an epoch before its first step."""
    return {"history": [], "loss": [], "top1": [], "seconds": 0.0}


class TrainingState:
    """Weights, random state, optimizer, and progress of a training.

    Attributes:
        path: of the file; `None` without a folder.
        step: number of steps taken.
        progress: history and numbers of the epoch under way, serializable as JSON.
    """

    def __init__(
        self,
        folder: str | Path | None,
        settings: dict[str, Any],
        name: str,
        model: keras.Model,
        extra: dict[str, Any],
        *,
        keep_minutes: float = 10,
        keep_steps: int | None = None,
    ) -> None:
        """Describe what is saved; nothing is read or written yet.

        Args:
            folder: of the file; `None` saves nothing.
            settings: must equal those in the file to resume; serializable as JSON.
            name: of the file, without its suffix.
            model: compiled, its optimizer built.
            extra: `Tensors` or `Averages`, by the name of their group in the file.
            keep_minutes: minutes between two writes by `keep_when_due`.
            keep_steps: steps between two writes; `None`: by minutes alone.
        """
        self.path = folder and Path(folder) / f"{name}.safetensors"
        self.step = 0
        self.progress = new_progress()
        self._settings = json.loads(json.dumps(settings))
        self.model = model
        self._extra = extra
        self._keep_minutes, self._keep_steps = keep_minutes, keep_steps
        self._kept_at = time.monotonic()
        self._variables = {
            f"{group}/{number:04d}": variable
            for group, owner in (("model", model), ("optimizer", model.optimizer))
            for number, variable in enumerate(owner.variables)
        }

    def restore(self) -> bool:
        """Read the file; return whether there is one.

        Raises:
            InputError: the file is damaged or belongs to another training.
        """
        if not (self.path and self.path.exists()):
            return False
        try:
            with safetensors.safe_open(self.path, "numpy") as file:
                metadata = dict(file.metadata() or {})
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            facts = {name: json.loads(text) for name, text in metadata.items()}
            del metadata["sha256"]
            if facts["sha256"] != _digest(tensors, metadata):
                raise ValueError("its checksum is of other content")
            self._check_settings(facts["settings"])
            extra = {
                group: [tensors[name] for name in names]
                for group, names in self._extra_names()
            }
            for name, variable in self._variables.items():
                variable.assign(tensors[name])
        except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{self.path} is not a readable state of this training ({error});"
                " delete it to start again"
            ) from error
        for group, arrays in extra.items():
            self._extra[group].values = [keras.ops.convert_to_tensor(a) for a in arrays]
        self.step, self.progress = facts["step"], facts["progress"]
        return True

    def keep(self) -> None:
        """Replace the file; of several processes only the first one writes.

        Raises:
            InputError: a value is not finite, or the file cannot be written; the
                earlier file is kept.
        """
        if self.path is None:
            return
        tensors = {
            name: np.array(keras.ops.convert_to_numpy(variable), order="C")
            for name, variable in self._variables.items()
        }
        for group, names in self._extra_names():
            arrays = map(keras.ops.convert_to_numpy, self._extra[group].values)
            tensors |= zip(names, arrays, strict=True)
        for name, value in tensors.items():
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise InputError(
                    f"weights are not finite after step {self.step} ({name});"
                    f" {self.describe()}; lower the learning rate"
                )
        self._kept_at = time.monotonic()
        if devices.process()[0]:
            return
        metadata = {
            "step": json.dumps(self.step),
            "progress": json.dumps(self.progress),
            "settings": json.dumps(self._settings),
        }
        metadata["sha256"] = json.dumps(_digest(tensors, metadata))
        # Python writes it, whose error tells a full disk from others.
        write_file(self.path, safetensors.numpy.save(tensors, metadata))

    def keep_when_due(self) -> None:
        """Call `keep` if `keep_minutes` or `keep_steps` have passed."""
        overdue = time.monotonic() - self._kept_at >= 60 * self._keep_minutes
        if overdue or (self._keep_steps and self.step % self._keep_steps == 0):
            self.keep()

    def describe(self) -> str:
        """Return which state is on disk, for an error message."""
        if not (self.path and self.path.exists()):
            return "no state was kept before"
        with safetensors.safe_open(self.path, "numpy") as file:
            return f"{self.path} keeps step {file.metadata()['step']}"

    def _extra_names(self) -> Iterator[tuple[str, list[str]]]:
        for group, tensors in self._extra.items():
            yield group, [f"{group}/{n:04d}" for n in range(len(tensors.values))]

    def _check_settings(self, found: dict[str, Any]) -> None:
        """Raise `InputError` if the file's settings differ from this training's."""
        now = self._settings
        different = [
            f"{name} was {found.get(name)!r} and is now {now.get(name)!r}"
            for name in sorted({*found, *now})
            if found.get(name) != now.get(name)
        ]
        if different:
            raise InputError(
                f"{self.path} belongs to another training: {'; '.join(different[:3])};"
                " give the same settings or another output, or delete it"
            )


def _digest(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of names, contents and metadata, in hex."""
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def stop_between_steps() -> Iterator[threading.Event]:
    """Delay Ctrl-C and SIGTERM to the end of a step within a `with` block.

    Yields an event that the first signal sets; a second signal interrupts at once.
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
