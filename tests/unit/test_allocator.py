"""What a process does with the memory of chunks that come and go; each in one of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

CHUNK_BYTES = 2 * 1024 * 1024
CHUNKS = 200
PROGRAM = f"""
import resource
from herdbook_server.allocator import keep_freed_memory

kept = keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({CHUNKS}):
    held = [bytearray({CHUNK_BYTES}) for _ in range(4)]
    del held
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> tuple[str, int]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=clean | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    kept, count = ran.stdout.split()
    return kept, int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_freed_memory_is_used_again() -> None:
    pages = CHUNKS * 4 * CHUNK_BYTES // os.sysconf("SC_PAGE_SIZE")
    kept, count = faults()
    assert kept == "True"
    assert count < pages / 20


def test_the_environment_has_the_last_word() -> None:
    kept, _ = faults(MALLOC_ARENA_MAX="8")
    assert kept == "False"
