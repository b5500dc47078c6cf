"""Build the site: the executed notebooks, the README and the reference.

Takes the repository as it is; gives pages that load nothing from anywhere else.
`make site` runs it from the repository's root, so that links between notebooks, README
and other files mean the same here as in the repository.
"""

import ast
import re
import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PACKAGE = ROOT / "edgetpu_lib"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
sys.path.insert(0, str(ROOT))

from edgetpu_lib import specs  # noqa: E402  found by the line above

project = "EfficientNet-EdgeTPU"
release = PROJECT["version"]
copyright = "the contributors, Apache License 2.0"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/reference/*.md",
    "notebooks/[0-9]*.ipynb",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "data/README.md",
]
# Folders that need not be searched for pages.
exclude_patterns = [".*", "artifacts", "notebooks/artifacts", "docs/_build"]

# Notebooks: the outputs that are committed; nothing runs here.
nb_execution_mode = "off"
nb_merge_streams = True
myst_heading_anchors = 3
# Dollars are dollars; mathematics would bring a script from another host.
myst_enable_extensions = []

# The reference: these are not needed to read signatures, and slow to import.
autodoc_mock_imports = [
    "ai_edge_litert",
    "google_crc32c",
    "jax",
    "keras",
    "matplotlib",
    "matplotlib_inline",
    "safetensors",
    "scipy",
    "tensorflow",
    "tensorflow_datasets",
]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
maximum_signature_line_length = 60
add_module_names = False
default_role = "code"
napoleon_custom_sections = [("Attributes", "params_style")]

html_theme = "furo"
pygments_dark_style = "a11y-high-contrast-dark"
html_title = project
html_static_path = ["_static"]
html_extra_path = ["_extra"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_use_index = False
html_domain_indices = False
copybutton_prompt_text = "$ "


# Plumbing: nobody calls it from a notebook. The commands have a page of their own.
LEFT_OUT = (
    "base.environment",
    "base.parallel",
    "base.quiet",
    "commands",
    "images.drawing",
    "teaching.grading",
)


def is_left_out(module: str) -> bool:
    """Return whether a module, or the folder that it lies in, is not described."""
    return any(f"{module}.".startswith(f"{name}.") for name in LEFT_OUT)


def summary(path: Path) -> str:
    """Return the first line of a file's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return docstring.partition("\n")[0].removesuffix(".")


def modules_below(folder: Path) -> dict[str, str]:
    """Return {module: its summary} of all described modules in a folder."""
    paths = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in sorted(folder.rglob("[a-z]*.py"))
    }
    return {name: summary(paths[name]) for name in paths if not is_left_out(name)}


def sections() -> dict[str, tuple[str, dict[str, str]]]:
    """Return {title: (sentence, {module: summary})}: the pipeline, then the folders.

    In the order of the tree in CONTRIBUTING.md; what it lacks comes last.
    """
    tree = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("\nedgetpu_lib/\n")[1]
    order = re.findall(r"(?m)^  (\w+)(?:\.py|/) ", tree.split("```")[0])
    places = {path.stem: path for path in PACKAGE.glob("[a-z]*.py")}
    folders = {path.parent.name: path.parent for path in PACKAGE.glob("*/__init__.py")}
    found = {
        "The pipeline": (
            PIPELINE,
            {n: summary(places[n]) for n in order if n in places},
        )
    }
    for name in [*order, *sorted(folders.keys() - set(order))]:
        if name in folders and (modules := modules_below(folders[name])):
            found[name] = (summary(folders[name] / "__init__.py") + ".", modules)
    return found


def write_reference() -> None:
    """Write one page for each module, and their table of contents; git ignores them."""
    folder = DOCS / "reference"
    folder.mkdir(exist_ok=True)
    parts = []
    for title, (sentence, modules) in sections().items():
        for name in modules:
            (folder / f"{name}.md").write_text(MODULE_PAGE.format(name=name), "utf-8")
        rows = "\n".join(
            f"| [{name}]({name}.md) | {modules[name]} |" for name in modules
        )
        pages = "\n".join(modules)
        parts.append(
            SECTION.format(title=title, sentence=sentence, rows=rows, pages=pages)
        )
    (folder / "index.md").write_text(REFERENCE_PAGE + "".join(parts), "utf-8")


PIPELINE = "The stages, in the order of the data. A notebook calls these first."
MODULE_PAGE = """# {name}

```{{eval-rst}}
.. automodule:: edgetpu_lib.{name}
   :members:
```
"""
REFERENCE_PAGE = """# The library

The modules of `edgetpu_lib`: first the pipeline, then the folders with its parts.
"""
SECTION = """
## {title}

{sentence}

| module | what it does |
|---|---|
{rows}

```{{toctree}}
:hidden:

{pages}
```
"""


class NotMocked:
    """Refuse what is mocked to importers that autodoc does not provide for.

    It looks for the source of base classes, and would load TensorFlow to find Keras'.
    """

    def find_spec(self, name: str, *_: object) -> None:
        """Raise for a mocked package; otherwise leave the finding to others."""
        if name.split(".")[0] in autodoc_mock_imports:
            raise ModuleNotFoundError(name)


def keep_plain(text: str) -> str:
    """Escape what reStructuredText would read more into: our text is plain but `code`.

    So `*.tflite` outside of code is no emphasis, and the plural of `name`s is allowed.
    Only the name of a notebook becomes a link.
    """
    parts = re.split(r"(`+[^`]+`+|\*\*Required\*\*)", text)
    for position in range(0, len(parts), 2):
        after_code = position and parts[position][:1].isalnum()
        escaped = re.sub(r"[*|]|_\b(?!\w)|:(?=//)", r"\\\g<0>", parts[position])
        linked = re.sub(r"notebooks/(\w+)\.ipynb", r":doc:`/notebooks/\1`", escaped)
        parts[position] = r"\ " + linked if after_code else linked
    return "".join(parts)


def keep_lines_plain(*event: object) -> None:
    """Do so in place with the lines, the last argument of an event."""
    lines = event[-1]
    lines[:] = [line if line.startswith("..") else keep_plain(line) for line in lines]


def keep_defaults_short(*event: object) -> tuple[str, str] | None:
    """Name the table of stages in a signature instead of writing it out."""
    *_, signature, returned = event
    if not signature:
        return None
    return signature.replace(repr(specs.STAGES), "STAGES"), returned


def setup(app: object) -> None:
    """Write the reference, and read docstrings and help texts as plain text."""
    write_reference()
    sys.meta_path.insert(0, NotMocked())
    # Before napoleon, which makes reStructuredText of the sections.
    app.connect("autodoc-process-docstring", keep_lines_plain, priority=400)
    app.connect("autodoc-process-signature", keep_defaults_short)
    for part in ("description", "options", "arguments"):
        app.connect(f"sphinx-click-process-{part}", keep_lines_plain)
