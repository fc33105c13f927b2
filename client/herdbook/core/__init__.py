"""The pure core, which drives both clients and the live model: no I/O, no grpc, no clock."""

from __future__ import annotations
