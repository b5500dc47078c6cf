"""Write the page that checks TFLite files in a browser, as a folder.

Takes the sources of this library and of Click, and Python for browsers (Pyodide) from
npm; gives files that any static web server can hand out.
"""

from __future__ import annotations

import html
import io
import itertools
import json
import string
import zipfile
from pathlib import Path

import click

import edgetpu_lib
from edgetpu_lib.base import artifacts
from edgetpu_lib.costs.constants import DEVICES
from edgetpu_lib.hardware import operator_rules
from edgetpu_lib.hardware.evidence import Rule
from edgetpu_lib.web.runtime import npm_package

# Python 3.14 with its standard library; no NumPy. Licence: MPL-2.0.
PYODIDE = (
    "pyodide",
    "314.0.7",
    "sha512-0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+"
    "SNvi/6V5JEsOlD2R1A==",
)
PYODIDE_FILES = (
    "pyodide.mjs",
    "pyodide.asm.mjs",
    "pyodide.asm.wasm",
    "pyodide-lock.json",
    "python_stdlib.zip",
)
# `import` loads scripts, and cannot tell how far it is; the page counts the others.
_COUNTED = (".wasm", ".json", ".zip")
PAGE = Path(__file__).with_name("checker_page")
# What both pages look like.
STYLE = PAGE.with_name("page.css")
# What the commands `check` and `estimate` import of this library.
PARTS = (
    *("__init__.py", "specs.py"),
    *("base", "commands", "costs", "hardware", "images", "tflite"),
)
SAMPLE = "quickstart_quant.tflite"
# The same sources give the same archive, whenever it is written.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_checker(output: str | Path) -> list[Path]:
    """Write the page into a folder, replacing files of the same names.

    Args:
        output: folder of the page; it is made if it is missing.

    Returns:
        The files written; the page is `index.html`.

    Raises:
        InputError: the folder cannot be written, or npm cannot give Pyodide.
    """
    runtime = npm_package(*PYODIDE)
    parts = (STYLE, *sorted(PAGE.iterdir()))
    contents = {path.name: path.read_bytes() for path in parts}
    contents |= {name: (runtime / name).read_bytes() for name in PYODIDE_FILES}
    page = string.Template(contents["explanations.html"].decode())
    contents["explanations.html"] = page.substitute(rules=explanations()).encode()
    contents["python.zip"] = packed_sources()
    contents["settings.js"] = _settings(contents)
    for name in (SAMPLE, f"{SAMPLE}.json"):
        contents[name] = artifacts.data_file(name).read_bytes()
    with artifacts.atomic_files(output) as folder:
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    return [Path(output) / name for name in contents]


def packed_sources() -> bytes:
    """Return a ZIP archive of the Python sources that the page runs.

    Click is the only library beside this one: both commands parse with it.
    """
    package, library = Path(edgetpu_lib.__file__).parent, Path(click.__file__).parent
    paths = [path for part in PARTS for path in _sources(package / part)]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for root, path in (
            *((package.parent, path) for path in paths),
            *((library.parent, path) for path in _sources(library)),
        ):
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _DATE)
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def explanations() -> str:
    """Return the rules of the check in HTML; a section's id is the finding's code."""
    rules = sorted(operator_rules.rules(), key=lambda rule: rule.code)
    sections = []
    for code, found in itertools.groupby(rules, lambda rule: rule.code):
        parts = "\n".join(map(_explanation, found))
        sections.append(f'<h2 id="{code}">{code}</h2>\n{parts}')
    return "\n".join(sections)


def _explanation(rule: Rule) -> str:
    """Return one rule and its evidence in HTML."""
    evidence = "".join(
        f'<li class="quiet">{html.escape(str(each))}</li>' for each in rule.evidence
    )
    about = html.escape(rule.about[0].upper() + rule.about[1:])
    return f"<p>{about} {html.escape(rule.demand)}.</p>\n<ul>{evidence}</ul>"


def _sources(path: Path) -> list[Path]:
    """Return a file, or all Python files below a folder."""
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def _settings(contents: dict[str, bytes]) -> bytes:
    """Return a script with what the page shows and cannot know."""
    counted = [len(contents[name]) for name in contents if name.endswith(_COUNTED)]
    settings = {
        "version": edgetpu_lib.__version__,
        "devices": {name: device.title for name, device in DEVICES.items()},
        "load_bytes": sum(counted),
        "sample": SAMPLE,
    }
    return f"export default {json.dumps(settings, indent=2)};\n".encode()
