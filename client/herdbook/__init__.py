"""Herdbook: a gRPC model registry whose light client hot-reloads models in serving processes.

`Client` and `AsyncClient` talk to a registry; `LiveModel` and `AsyncLiveModel` keep a model of a
serving process up to date. Names are loaded when they are first used, so that importing the package
is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from herdbook.aio import AsyncClient
    from herdbook.client import Client
    from herdbook.core.values import (
        Alias,
        AliasMove,
        Capture,
        Code,
        Comparison,
        Convergence,
        Dataset,
        Environment,
        Event,
        EventKind,
        Lineage,
        Model,
        PulledVersion,
        ReferenceState,
        Replica,
        ReplicaReport,
        ReplicaState,
        Resolution,
        Signature,
        Stage,
        StageChange,
        TensorSpec,
        TransferProgress,
        TransferReport,
        Version,
    )
    from herdbook.errors import (
        AliasMoved,
        AliasNotFound,
        HerdbookError,
        ModelNotFound,
        NotFound,
        Unavailable,
        VersionNotFound,
    )
    from herdbook.transport.connection import TLS

__all__ = [
    "TLS",
    "Alias",
    "AliasMove",
    "AliasMoved",
    "AliasNotFound",
    "AsyncClient",
    "Capture",
    "Client",
    "Code",
    "Comparison",
    "Convergence",
    "Dataset",
    "Environment",
    "Event",
    "EventKind",
    "HerdbookError",
    "Lineage",
    "Model",
    "ModelNotFound",
    "NotFound",
    "PulledVersion",
    "ReferenceState",
    "Replica",
    "ReplicaReport",
    "ReplicaState",
    "Resolution",
    "Signature",
    "Stage",
    "StageChange",
    "TensorSpec",
    "TransferProgress",
    "TransferReport",
    "Unavailable",
    "Version",
    "VersionNotFound",
    "__version__",
]

_MODULES = {
    "AsyncClient": "herdbook.aio",
    "AsyncLiveModel": "herdbook.live",
    "Client": "herdbook.client",
    "LiveModel": "herdbook.live",
    "TLS": "herdbook.transport.connection",
}
_MODULES_OF_MANY = ("herdbook.core.values", "herdbook.errors")


def __getattr__(name: str) -> Any:
    """Loads a public name, or any error of the tree, when it is first used."""
    if name == "__version__":
        from importlib import metadata

        value: Any = metadata.version("herdbook")
    elif name in _MODULES:
        value = getattr(import_module(_MODULES[name]), name)
    else:
        value = _from_many(name)
    globals()[name] = value
    return value


def _from_many(name: str) -> Any:
    if not name.startswith("_"):
        for module in map(import_module, _MODULES_OF_MANY):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'herdbook' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
