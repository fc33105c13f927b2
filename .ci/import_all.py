"""Import every module of the client that needs no extra: do the installed libraries suffice?"""

from __future__ import annotations

import importlib
import pkgutil

import herdbook


def main() -> None:
    """Import the modules one by one, and say how many there are."""
    found = pkgutil.walk_packages(herdbook.__path__, prefix="herdbook.", onerror=fail)
    names = [module.name for module in found if not module.name.startswith("herdbook.cli")]
    for name in names:
        importlib.import_module(name)
    print(f"{len(names)} modules import")


def fail(name: str) -> None:
    """Let no import error pass."""
    raise ImportError(name)


if __name__ == "__main__":
    main()
