"""Where files are cut into chunks.

Where a format tells where its parts begin, each large part begins a chunk. A longer header, or a
part that is new, then shifts no other, and what did not change is not moved again.
"""

from __future__ import annotations

from herdbook.core.cutting import gguf, safetensors, zips
from herdbook.core.cutting.parts import OWN_CHUNK_BYTES, Read, cut_fixed
from herdbook.core.manifests import MAX_FILE_CHUNKS

_MAGIC_BYTES = 4


def cut_file(path: str, size_bytes: int, read: Read) -> list[int]:
    """Returns the sizes of the chunks of a file: each 1 byte to 2 MiB, all together its size.

    Args:
        path: Its path, whose ending names some formats.
        size_bytes: Its size.
        read: Gives parts of it. What it raises is passed on.
    """
    if size_bytes < OWN_CHUNK_BYTES:
        return list(cut_fixed(size_bytes))
    magic = read(0, _MAGIC_BYTES)
    cuts: list[int] | None = None
    if path.endswith(safetensors.SUFFIX):
        cuts = safetensors.cut(read, size_bytes)
    elif magic == zips.MAGIC:
        cuts = zips.cut(read, size_bytes)
    elif magic == gguf.MAGIC:
        cuts = gguf.cut(read, size_bytes)
    fits = cuts is not None and len(cuts) <= MAX_FILE_CHUNKS
    return cuts if cuts is not None and fits else list(cut_fixed(size_bytes))
