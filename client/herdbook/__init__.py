"""Herdbook: a gRPC model registry whose light client hot-reloads models in serving processes."""

from __future__ import annotations
