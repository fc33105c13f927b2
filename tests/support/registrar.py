"""A client process that registers versions.

`python -m tests.support.registrar ADDRESS MODEL COUNT` pushes small versions of a model.

Writes the numbers that its versions got, as JSON.
"""

from __future__ import annotations

import json
import os
import sys

from tests.support.stubs import Stubs


def main(address: str, model: str, count: int) -> None:
    """Push small versions, each with a chunk of its own."""
    with Stubs(address) as stubs:
        versions = [
            stubs.push(model, f"version {index} of {os.getpid()}".encode())
            for index in range(count)
        ]
    json.dump([version.number for version in versions], sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
