"""Each call of the API, described once: which rpc, which request, how to read the answer, whether a retry is safe."""

from __future__ import annotations
