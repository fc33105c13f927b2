"""Benchmarks: each figure is set against a baseline that the same run measures."""

from __future__ import annotations

import os

# gRPC reports every process that is started beside its threads.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
