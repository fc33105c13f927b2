"""Puts random chunks below a directory until it is killed; prints the digests of those held."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from pathlib import Path

from herdbook_server.storage.chunks.local import LocalChunkStore

LARGEST = 2 * 1024 * 1024


async def put_for_ever(store: LocalChunkStore) -> None:
    """Put one chunk after the other."""
    while True:
        data = os.urandom(LARGEST)
        digest = hashlib.sha256(data).digest()
        failures = await store.put({digest: data})
        assert not failures
        os.write(sys.stdout.fileno(), f"{digest.hex()}\n".encode())


async def main(root: Path) -> None:
    """Put several chunks at any time."""
    store = LocalChunkStore(root)
    await store.open()
    await asyncio.gather(*(put_for_ever(store) for _ in range(6)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
