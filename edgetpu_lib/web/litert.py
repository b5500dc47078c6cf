"""Find the TFLite runtime for browsers: inside an installed wheel, or through npm."""

from __future__ import annotations

from pathlib import Path

from edgetpu_lib.base.artifacts import InputError, data_file
from edgetpu_lib.web.runtime import npm_package

# Licence: Apache-2.0.
PACKAGE = (
    "@litertjs/core",
    "2.5.3",
    "sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1k"
    "CnN4nzWoyJQ==",
)
# Of the package's four builds that which all browsers with SIMD run: its sums do not
# depend on the processor, as those of relaxed SIMD may.
FILES = {
    "litert.js": "wasm/litert_wasm_compat_internal.js",
    "litert.wasm": "wasm/litert_wasm_compat_internal.wasm",
}
# Below the files that ship with the package; the wheel's build puts them there.
FOLDER = "litert"


def runtime_files() -> dict[str, bytes]:
    """Return {name: content} of the runtime.

    Raises:
        InputError: it came with no wheel and is not cached, and npm cannot give it.
    """
    try:
        paths = {name: data_file(f"{FOLDER}/{name}") for name in FILES}
    except InputError:
        paths = fetched_paths()
    return {name: path.read_bytes() for name, path in paths.items()}


def fetched_paths() -> dict[str, Path]:
    """Return {name: path} of the runtime in the cache; npm fetches it once.

    Raises:
        InputError: it is not cached, and npm cannot give it.
    """
    folder = npm_package(*PACKAGE)
    return {name: folder / path for name, path in FILES.items()}
