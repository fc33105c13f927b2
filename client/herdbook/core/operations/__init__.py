"""Each call of the API, described once: rpc, request, reading the answer, safety of a retry."""

from __future__ import annotations
