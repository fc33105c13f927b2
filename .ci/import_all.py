"""Import every module of the client that needs no extra: do the installed libraries suffice?"""

from __future__ import annotations

import importlib
from pathlib import Path

import herdbook

COMMAND_LINE = "cli"


def main() -> None:
    """Import the modules one by one, and say how many there are."""
    root = Path(herdbook.__file__).parent
    paths = [path.relative_to(root.parent) for path in sorted(root.rglob("*.py"))]
    wanted = [path for path in paths if path.parts[1] != COMMAND_LINE]
    for path in wanted:
        importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
    print(f"{len(wanted)} modules import")


if __name__ == "__main__":
    main()
