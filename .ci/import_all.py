"""Import every module of client and server: do the installed libraries suffice?"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import herdbook
import herdbook_server

NEEDS_MORE = ("herdbook.cli.demo",)
"""Needs what only the demo installs."""


def main() -> None:
    """Import the modules one by one, and say how many there are."""
    names = [name for package in (herdbook, herdbook_server) for name in names_in(package)]
    wanted = [name for name in names if not name.startswith(NEEDS_MORE)]
    for name in wanted:
        importlib.import_module(name)
    print(f"{len(wanted)} modules import")


def names_in(package: ModuleType) -> list[str]:
    """Name the modules of a package, those of its packages included."""
    root = Path(str(package.__file__)).parent
    paths = [path.relative_to(root.parent) for path in sorted(root.rglob("*.py"))]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return [name for name in names if not name.endswith(".__main__")]


if __name__ == "__main__":
    main()
