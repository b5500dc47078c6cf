"""Save Python values as data, and load them without running code of whoever made them.

A kernel saves what a submission left behind; the grader's own process loads it. Arrays
become `.npy`, models `.keras`, bytes a file, the rest JSON. A function stays where it
is: the loaded one asks for the result of each call.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

FILE = "values.json"
# Deeper or larger structures than these are no answer to any task.
DEEPEST = 10
MOST_ITEMS = 1_000_000
LONGEST_TEXT = 200
# The functions that were saved, by their number; they are called in this process.
_functions: list[Callable] = []


def save(values: Mapping[str, Any], folder: str | Path) -> None:
    """Write values to `folder`, which is made; what is no data becomes its description.

    Raises:
        OSError: the folder exists, or cannot be written.
    """
    folder = Path(folder)
    folder.mkdir()
    numbers = itertools.count()
    content = {name: _encode(value, folder, numbers) for name, value in values.items()}
    (folder / FILE).write_text(json.dumps(content), encoding="utf-8")


def load(folder: str | Path, call: Callable[..., Any]) -> dict[str, Any]:
    """Return saved values; what cannot be read is an object that says so.

    Args:
        folder: that `save` wrote, perhaps changed by somebody since.
        call: gives the result of a saved function; takes its number, the tuple of its
            arguments and the dictionary of those with names.
    """
    try:
        content = json.loads((Path(folder) / FILE).read_text(encoding="utf-8"))
        return {str(k): _decode(v, Path(folder), call) for k, v in content.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def call_saved(folder: str | Path, result: str | Path) -> None:
    """Call a saved function of this process with saved arguments; save the result.

    Args:
        folder: holds "number", "arguments" and "named".
        result: folder to write; holds "result".
    """
    given = load(folder, call=_functions_stay)
    function = _functions[given["number"]]
    save({"result": function(*given["arguments"], **given["named"])}, result)


def _functions_stay(*_: Any) -> Any:
    raise TypeError("a function cannot be an argument here")


def _encode(value: Any, folder: Path, numbers: Iterator[int], depth: int = 0) -> Any:
    """Return a value for JSON; large parts become files of the folder."""
    try:
        if depth > DEEPEST or next(numbers) > MOST_ITEMS:
            raise ValueError("too deep or too large")
        return _encode_kind(value, folder, numbers, depth)
    # Anything may be left behind, and raise anything, or not end, when looked at.
    except (Exception, KeyboardInterrupt) as error:
        return _described(value, f"{type(error).__name__} when it was saved")


def _encode_kind(value: Any, folder: Path, numbers: Iterator[int], depth: int) -> Any:
    def inner(part: Any) -> Any:
        return _encode(part, folder, numbers, depth + 1)

    if value is None or isinstance(value, bool | float | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        json.dumps(value)  # An integer can have too many digits.
        return value
    if isinstance(value, list):
        return [inner(part) for part in value]
    if isinstance(value, tuple | set | frozenset | range):
        return {"kind": "tuple", "items": [inner(part) for part in value]}
    if isinstance(value, dict):
        pairs = [[inner(key), inner(part)] for key, part in value.items()]
        return {"kind": "dict", "items": pairs}
    if isinstance(value, Path):
        # Whoever loads it works in another folder.
        return {"kind": "path", "text": str(value.absolute())}
    if _is_object(value):
        kind = {"kind": "object", "type": type(value).__name__}
        fields = {name: inner(part) for name, part in _fields(value).items()}
        return {**kind, "fields": fields}
    return _encode_file(value, folder, next(numbers))


def _encode_file(value: Any, folder: Path, number: int) -> Any:
    """Return a value that becomes a file, a function, or a description."""
    if isinstance(value, bytes | bytearray):
        (folder / str(number)).write_bytes(value)
        return {"kind": "bytes", "file": number}
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(value, keras.Model):
        value.save(folder / f"{number}.keras")
        return {"kind": "model", "file": number}
    if hasattr(value, "__array__") and not isinstance(value, type):
        array = np.asarray(value)
        np.save(folder / f"{number}.npy", array, allow_pickle=False)
        is_scalar = isinstance(value, np.generic)
        return {"kind": "scalar" if is_scalar else "array", "file": number}
    if callable(value) and not isinstance(value, type):
        _functions.append(value)
        return {"kind": "function", "number": len(_functions) - 1}
    return _described(value, repr(value)[:LONGEST_TEXT])


def _is_object(value: Any) -> bool:
    """Return whether an instance is described by its attributes alone."""
    if isinstance(value, type) or callable(value):
        return False
    is_own = type(value).__module__ == "__main__" and hasattr(value, "__dict__")
    is_simple = isinstance(value, types.SimpleNamespace)
    return dataclasses.is_dataclass(value) or is_simple or is_own


def _fields(value: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: getattr(value, name) for name in names}
    return {name: part for name, part in vars(value).items() if name[:1] != "_"}


def _described(value: Any, text: str) -> dict[str, Any]:
    return {"kind": "other", "type": type(value).__name__, "text": text}


def _decode(tree: Any, folder: Path, call: Callable[..., Any]) -> Any:
    """Return the value of an encoded one, however it was changed."""
    if isinstance(tree, list):
        return [_decode(part, folder, call) for part in tree]
    if not isinstance(tree, dict):
        return tree
    try:
        return _decode_kind(tree, folder, call)
    # A damaged file may raise anything.
    except Exception as error:
        return _instance("Unreadable", {}, f"({type(error).__name__}: {error})")


def _decode_kind(tree: dict[str, Any], folder: Path, call: Callable[..., Any]) -> Any:
    kind = tree["kind"]
    if kind == "tuple":
        return tuple(_decode(part, folder, call) for part in tree["items"])
    if kind == "dict":
        pairs = (
            [_decode(part, folder, call) for part in pair] for pair in tree["items"]
        )
        return dict(pairs)
    if kind == "path":
        return Path(tree["text"])
    if kind == "object":
        fields = {n: _decode(part, folder, call) for n, part in tree["fields"].items()}
        return _instance(tree["type"], fields)
    if kind == "function":
        number = int(tree["number"])
        return lambda *arguments, **named: call(number, arguments, named)
    if kind == "other":
        return _instance(tree["type"], {}, str(tree["text"])[:LONGEST_TEXT])
    return _decode_file(kind, folder / str(int(tree["file"])))


def _decode_file(kind: str, path: Path) -> Any:
    if kind == "bytes":
        return path.read_bytes()
    if kind == "model":
        import keras

        # Neither a pickled function nor a loss of the submission's own is restored.
        path = path.with_suffix(".keras")
        return keras.models.load_model(path, compile=False, safe_mode=True)
    array = np.load(path.with_suffix(".npy"), allow_pickle=False)
    return array[()] if kind == "scalar" else array


def _instance(type_name: str, fields: Mapping[str, Any], text: str = "") -> Any:
    """Return an object of a class of that name, with these attributes alone."""
    name = type_name if str(type_name).isidentifier() else "object"
    methods = {"__repr__": lambda _: text} if text else {}
    return type(name, (types.SimpleNamespace,), methods)(**fields)
