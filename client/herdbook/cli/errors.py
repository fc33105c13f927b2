"""Errors as the command tells them: what to try next, and the JSON form."""

from __future__ import annotations

from typing import Any, Final

from herdbook import errors
from herdbook.cli.exits import exit_code_of
from herdbook.errors import HerdbookError

_HINTS: tuple[tuple[type[HerdbookError], str], ...] = (
    (errors.Unauthenticated, "give a token with --token or HERDBOOK_TOKEN"),
    (errors.DeadlineExceeded, "--call-timeout gives it more time"),
    (errors.AliasMoved, "look where it points now with `herdbook alias ls MODEL`, decide again"),
    (errors.RevisionChanged, "somebody changed it: look with `herdbook show`, decide again"),
    (errors.ModelInUse, "that is --force"),
    (errors.VersionInUse, "that is --force; it deletes the aliases that point at it, too"),
    (errors.ModelDeleted, "`herdbook restore` brings it back"),
    (errors.VersionDeleted, "`herdbook restore` brings it back"),
    (errors.VersionPurged, "`herdbook show --deleted` tells what is still known of it"),
    (errors.FilterInvalid, "filters look like: metrics.rmse < 7 AND tags.team = 'fraud'"),
    (errors.OrderByInvalid, "sort keys look like: metrics.rmse asc, number desc"),
    (errors.ReferenceInvalid, "references look like team/task@champion, team/task:7, team/task"),
    (errors.ModelNotFound, "`herdbook models` lists what there is, with --deleted what there was"),
    (errors.AliasNotFound, "`herdbook alias ls MODEL` lists what there is"),
    (errors.VersionNotFound, "`herdbook versions` lists what there is, with --deleted what was"),
    (errors.NoManifest, "`herdbook show` tells where its files lie"),
    (errors.DestinationExists, "--overwrite replaces what is there"),
    (errors.ChunkLost, "push the same files again; `herdbook verify --all` names what is lost"),
    (errors.SourceChanged, "push again when nothing writes to it"),
)

_TRANSIENT: Final = (
    errors.DatabaseUnavailable,
    errors.Draining,
    errors.Overloaded,
    errors.StoreUnavailable,
)


def hint_of(error: BaseException, *, server: str | None = None) -> str:
    """Tells what a person might try next; empty if nothing comes to mind."""
    if isinstance(error, _TRANSIENT):
        return "try again in a moment"
    if isinstance(error, errors.EncryptionMismatch):
        return (
            "--tls and --no-tls say whether to encrypt, --tls-ca whom to trust, "
            "--tls-cert with --tls-key who calls"
        )
    if isinstance(error, errors.Unavailable) and error.reason != "HOOK_FAILED":
        where = f" at {server}" if server else ""
        return (
            f"is a server running{where}, and does it speak TLS as asked (--tls, --tls-ca)? "
            "`herdbook serve` starts one, --server or HERDBOOK_SERVER says where"
        )
    return next((hint for kind, hint in _HINTS if isinstance(error, kind)), "")


def error_document(error: BaseException, hint: str) -> dict[str, Any]:
    """Returns the JSON form of an error."""
    document: dict[str, Any] = {
        "reason": type(error).__name__,
        "message": str(error),
        "exit_code": int(exit_code_of(error)),
    }
    if isinstance(error, HerdbookError):
        document |= _details(error)
    if hint:
        document["hint"] = hint
    return {"error": document}


def _details(error: HerdbookError) -> dict[str, Any]:
    details = error.details
    return {
        "reason": error.reason,
        "status": error.status,
        "message": error.message,
        "metadata": dict(details.metadata),
        "violations": [
            {"subject": v.subject, "description": v.description, "type": v.type}
            for v in details.violations
        ],
        "resource_type": details.resource_type,
        "resource_name": details.resource_name,
        "retry_after_seconds": details.retry_after_seconds,
        "request_id": details.request_id,
    }
