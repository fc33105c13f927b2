"""What SQLite raises, in words of our own."""

from __future__ import annotations

import sqlite3
from typing import Final

from herdbook_server.errors import DatabaseUnavailable, FieldInvalid
from herdbook_server.storage.sql.connection import OUT_OF_SCHEMA, Dangling, Duplicate

INDEXES: Final = {"versions.model, versions.label": "versions_label"}
"""Unique indexes by their columns, which is how SQLite names them; others are primary keys."""

UNAVAILABLE: Final = {
    sqlite3.SQLITE_BUSY: "The database is locked by another process.",
    sqlite3.SQLITE_LOCKED: "The database is locked by another process.",
    sqlite3.SQLITE_FULL: "The database's disk is full.",
    sqlite3.SQLITE_IOERR: "The database's disk cannot be read or written.",
    sqlite3.SQLITE_READONLY: "The database is read-only.",
    sqlite3.SQLITE_CANTOPEN: "The database's file cannot be opened.",
    sqlite3.SQLITE_CORRUPT: "The database's file is damaged.",
    sqlite3.SQLITE_NOTADB: "The database's file is not a database.",
    sqlite3.SQLITE_NOMEM: "The database is out of memory.",
    sqlite3.SQLITE_INTERRUPT: "The database was interrupted.",
}


def translate(error: Exception) -> Exception:
    """Return what an error of the driver means to us; itself, if it means a bug."""
    if isinstance(error, OverflowError | UnicodeEncodeError | sqlite3.DataError):
        return FieldInvalid("A value cannot be stored.")
    if isinstance(error, ValueError) or "closed database" in str(error):
        return DatabaseUnavailable("The database is closed.")
    if "no such table" in str(error) or "no such column" in str(error):
        return DatabaseUnavailable(OUT_OF_SCHEMA)
    return translate_code(error, getattr(error, "sqlite_errorcode", None))


def translate_code(error: Exception, code: int | None) -> Exception:
    """Return what an error with a result code means to us; itself, if it means a bug."""
    if code in {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}:
        return Duplicate(index_of(str(error)))
    if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        return Dangling(str(error))
    if code is not None and code & 0xFF in UNAVAILABLE:
        return DatabaseUnavailable(UNAVAILABLE[code & 0xFF])
    return error


def index_of(message: str) -> str:
    """Return the name of the index in `UNIQUE constraint failed: table.column, …`."""
    columns = message.partition(": ")[2]
    return INDEXES.get(columns, f"{columns.partition('.')[0]}_pkey")
