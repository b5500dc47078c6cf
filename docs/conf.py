"""Build the site: the executed notebooks, the README and the reference.

Takes the repository as it is; gives pages that load nothing from anywhere else.
`make site` runs it from the repository's root, so that links between notebooks, README
and other files mean the same here as in the repository.
"""

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


def described_modules() -> dict[str, str]:
    """Return {module: what it is for}, in the order of the README's tree.

    A module that the tree does not have yet comes last, without a word.
    """
    tree = (ROOT / "README.md").read_text("utf-8").split("## The house")[1]
    told = dict(re.findall(r"(?m)^  (\w+)\.py(?:, \w+/)?\s+(\S.*)$", tree))
    present = sorted(path.stem for path in PACKAGE.glob("[a-z]*.py"))
    known = {name: told[name] for name in told if name in present}
    return known | {name: "" for name in present if name not in told}


def write_reference() -> None:
    """Write one page a module and their table; git ignores them."""
    modules = described_modules()
    folder = DOCS / "reference"
    folder.mkdir(exist_ok=True)
    for name in modules:
        (folder / f"{name}.md").write_text(MODULE_PAGE.format(name=name), "utf-8")
    rows = "\n".join(f"| [{name}]({name}.md) | {modules[name]} |" for name in modules)
    index = REFERENCE_PAGE.format(rows=rows, pages="\n".join(modules))
    (folder / "index.md").write_text(index, "utf-8")


MODULE_PAGE = """# {name}

```{{eval-rst}}
.. automodule:: edgetpu_lib.{name}
   :members:
```
"""
REFERENCE_PAGE = """# The library

The modules of `edgetpu_lib`, in the order in which they are best read.

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
