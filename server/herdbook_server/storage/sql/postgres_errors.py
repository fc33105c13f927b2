"""What asyncpg raises, in words of our own."""

from __future__ import annotations

from typing import Final

import asyncpg

from herdbook_server.errors import DatabaseUnavailable, FieldInvalid
from herdbook_server.storage.sql.connection import OUT_OF_SCHEMA, Dangling, Duplicate

DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    UnicodeEncodeError,
)
"""All that the driver may raise, apart from mistakes in its use."""

GONE: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,
    ConnectionError,
)
"""Errors that say that the connection is gone."""

UNAVAILABLE: Final = (
    *GONE,
    OSError,
    TimeoutError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
    asyncpg.PostgresIOError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)

OUT_OF_BOUNDS: Final = (asyncpg.DataError, asyncpg.ProgramLimitExceededError, UnicodeEncodeError)

WITHOUT_SCHEMA: Final = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)


def is_gone(error: Exception) -> bool:
    """Tell whether an error says that the connection is gone, so that another one may do."""
    return isinstance(error, GONE) or (
        isinstance(error, asyncpg.InterfaceError)
        and any(word in str(error) for word in ("closed", "closing", "released back"))
    )


def is_misfit(error: Exception) -> bool:
    """Tell whether the driver could not encode a parameter."""
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)


def translate(error: Exception) -> Exception:
    """Return what an error of the driver means to us; itself, if it means a bug."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return Duplicate(error.constraint_name or "")
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        return Dangling(error.constraint_name or "")
    if isinstance(error, OUT_OF_BOUNDS) or is_misfit(error):
        return FieldInvalid("A value cannot be stored.")
    if isinstance(error, WITHOUT_SCHEMA):
        return DatabaseUnavailable(OUT_OF_SCHEMA)
    if is_gone(error) or isinstance(error, UNAVAILABLE):
        return DatabaseUnavailable("The database does not answer.")
    return error
