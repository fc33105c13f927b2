"""What a user says of a live model, checked and made into what the engine needs."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar, get_args

from herdbook.cache import Cache
from herdbook.core.references import parse_reference
from herdbook.core.retrying import Backoff
from herdbook.core.values import Replica
from herdbook.errors import FieldInvalid
from herdbook.live.machine import LivePolicy, SwapMode
from herdbook.live.plan import Bridge, LivePlan
from herdbook.live.settings import LiveSettings
from herdbook.live.status import LiveStatus
from herdbook.transport.connection import TLS, Connection

ModelT = TypeVar("ModelT")

_DURATIONS = ("timeout_seconds", "load_timeout_seconds", "drain_timeout_seconds", "retry_seconds")
_MAX_RETRY_SECONDS = 900.0
_LONGEST_OFFLINE_SECONDS = 5.0


class LiveArguments(TypedDict, Generic[ModelT], total=False):
    """The types of a live model's arguments but its loader, which need not be given."""

    server: str | None
    cache_dir: str | os.PathLike[str] | None
    warmup: Callable[[ModelT], object] | None
    validate: Callable[[ModelT], object] | None
    close: Callable[[ModelT], object] | None
    on_change: Callable[[LiveStatus], object] | None
    swap: SwapMode
    timeout_seconds: float
    load_timeout_seconds: float
    drain_timeout_seconds: float
    retry_seconds: float
    cache_max_bytes: int | None
    replica_name: str | None
    token: str | None
    tls: TLS | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """The arguments of a live model."""

    reference: str
    loader: Callable[[Path], Any]
    server: str | None
    cache_dir: str | os.PathLike[str] | None
    warmup: Callable[[Any], Any] | None
    validate: Callable[[Any], Any] | None
    close: Callable[[Any], Any] | None
    on_change: Callable[[LiveStatus], Any] | None
    swap: SwapMode
    timeout_seconds: float
    load_timeout_seconds: float
    drain_timeout_seconds: float
    retry_seconds: float
    cache_max_bytes: int | None
    replica_name: str | None
    token: str | None
    tls: TLS | bool | None

    def __post_init__(self) -> None:
        """Refuses what makes no sense before anything starts."""
        parse_reference(self.reference)
        if self.swap not in get_args(SwapMode):
            raise FieldInvalid(f"swap is {self.swap!r}; it must be one of {get_args(SwapMode)}.")
        for name in _DURATIONS:
            if not getattr(self, name) >= 0:
                raise FieldInvalid(f"{name} is {getattr(self, name)!r}; it must be 0 or more.")
        self.connection()
        self.cache()

    def connection(self) -> Connection:
        """Returns how the registry is reached."""
        return Connection.configured(self.server, token=self.token, tls=self.tls)

    def cache(self) -> Cache:
        """Returns where versions are kept."""
        return Cache(self.cache_dir, max_bytes=self.cache_max_bytes)

    def settings(self) -> LiveSettings:
        """Returns what the engine is told; each time a new replica."""
        return LiveSettings(
            self.reference,
            self._replica(),
            self._policy(),
            load_timeout_seconds=self.load_timeout_seconds,
            drain_timeout_seconds=self.drain_timeout_seconds,
        )

    def plan(self, bridge: Bridge) -> LivePlan[Any]:
        """Returns the user's functions, each of which the bridge has adapted."""

        def adapted(function: Callable[..., Any] | None) -> Callable[..., Any] | None:
            return None if function is None else bridge.adapt(function)

        return LivePlan(
            loader=bridge.adapt(self.loader),
            warmup=adapted(self.warmup),
            validate=adapted(self.validate),
            close=adapted(self.close),
            on_change=adapted(self.on_change),
            interrupt=bridge.interrupt,
        )

    def _replica(self) -> Replica:
        name = self.replica_name or os.environ.get("HERDBOOK_REPLICA_NAME", "")
        return Replica(str(uuid.uuid4()), socket.gethostname()[:256], name[:256])

    def _policy(self) -> LivePolicy:
        return LivePolicy(
            self.swap,
            lasting=Backoff(self.retry_seconds, max(self.retry_seconds, _MAX_RETRY_SECONDS)),
            offline_after_seconds=min(_LONGEST_OFFLINE_SECONDS, self.timeout_seconds / 2),
        )
