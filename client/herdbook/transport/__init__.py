"""The only place of the client that knows grpc: channels, calls, failures."""

from __future__ import annotations
