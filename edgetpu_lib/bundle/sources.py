"""Find the modules that a program needs, by what they import."""

from __future__ import annotations

import modulefinder
from pathlib import Path
from types import ModuleType

import edgetpu_lib

ROOT = Path(edgetpu_lib.__file__).parents[1]


class _OwnModules(modulefinder.ModuleFinder):
    """Follows the imports of this library's modules, and of no other."""

    def import_module(
        self, partname: str, fqname: str, parent: ModuleType | None
    ) -> ModuleType | None:
        """Return a module's record, or `None` for a module of others."""
        own = fqname.split(".")[0] == edgetpu_lib.__name__
        return super().import_module(partname, fqname, parent) if own else None


def needed_sources(module: str) -> dict[str, bytes]:
    """Return the sources of a module and of all that it imports of this library.

    Imports within functions count: the program may reach them.

    Args:
        module: such as "edgetpu_lib.deploy".

    Returns:
        {path below the library's parent folder, with slashes: content}, sorted.
    """
    finder = _OwnModules(path=[str(ROOT)])
    finder.import_hook(module)
    paths = sorted(Path(found.__file__) for found in finder.modules.values())
    return {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in paths}
