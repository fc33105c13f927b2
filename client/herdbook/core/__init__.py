"""The pure core: no I/O, no grpc, no clock of its own. Both clients and the live model are driven by it."""

from __future__ import annotations
