"""Find the TFLite runtime that is installed, and its version."""

from __future__ import annotations

import dataclasses
import importlib
import re
from typing import Any

from edgetpu_lib.base.artifacts import InputError

# Modules with `Interpreter` and `load_delegate`, and the packages that have them; the
# first that can be imported is taken. TensorFlow is last: it takes seconds to start.
RUNTIMES = {
    "ai_edge_litert.interpreter": ("ai-edge-litert", "ai-edge-litert-nightly"),
    "tflite_runtime.interpreter": ("tflite-runtime", "tflite-runtime-nightly"),
    "tensorflow.lite.python.interpreter": (
        "tensorflow",
        "tensorflow-cpu",
        "tf-nightly",
    ),
}
# The first TFLite with another layout of `TfLiteRegistration`, which libraries made
# before it pass by value. Source: google-coral/edgetpu issue 812, libedgetpu issue 53.
CHANGED = (2, 12)


@dataclasses.dataclass(frozen=True)
class Runtime:
    """A runtime that can be imported.

    Attributes:
        package: its name, as pip has it.
        version: of the package; empty if it does not tell.
        module: has `Interpreter` and `load_delegate`.
    """

    package: str
    version: str
    module: Any

    @property
    def tflite(self) -> tuple[int, int] | None:
        """The version of TFLite inside, at least; `None` if it is unknown."""
        if self.package.startswith("ai-edge-litert"):
            return (2, 17)  # LiteRT 1.0 began where TFLite 2.17 ended.
        return release(self.version)


def release(version: str) -> tuple[int, int] | None:
    """Return the first two numbers of a version, if it has two."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def find_runtime() -> Runtime:
    """Return the best runtime that is installed, with its version.

    Raises:
        InputError: as `import_runtime`.
    """
    module = import_runtime()
    return Runtime(*_installed(RUNTIMES[module.__name__], module), module)


def import_runtime() -> Any:
    """Return the module of the best runtime that is installed.

    Raises:
        InputError: none is, or one is that cannot be imported.
    """
    broken = None
    for name, packages in RUNTIMES.items():
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not (error.name and name.startswith(error.name)):
                broken = broken or cannot_start(packages[0], error)
        # What a NumPy of another binary interface raises is not always an ImportError.
        except (ImportError, AttributeError, SystemError) as error:
            broken = broken or cannot_start(packages[0], error)
    raise broken or InputError(
        "no TFLite runtime is installed; run `pip install ai-edge-litert`, or"
        " where that does not exist `pip install tflite-runtime`"
    )


def cannot_start(package: str, error: BaseException) -> InputError:
    """Return the error for a runtime that is installed and fails."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    # tflite-runtime 2.14.0 and ai-edge-litert 1.0.1 were built for NumPy 1.
    remedy = f"pip install --upgrade {package}"
    if re.search("numpy|_ARRAY_API|multiarray", f"{error} {error.__cause__}", re.I):
        remedy = "pip install 'numpy<2'"
    return InputError(f"{package} cannot be started ({reason}); run `{remedy}`")


def _installed(packages: tuple[str, ...], module: Any) -> tuple[str, str]:
    """Return name and version of the one of the packages that a module is of."""
    # Imported here: it takes a tenth of the time to start, for compiled files alone.
    import importlib.metadata

    for package in packages:
        try:
            return package, importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    # Installed by hand or by apt; the parent tells.
    parent = importlib.import_module(module.__name__.split(".")[0])
    return packages[0], str(getattr(parent, "__version__", ""))
