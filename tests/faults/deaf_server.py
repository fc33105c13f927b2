"""`herdbook serve` that hears no NOTIFY: `python -m tests.faults.deaf_server serve …`."""

from __future__ import annotations

from herdbook_server.cli import main
from herdbook_server.storage.sql.listener import Listener


def hear_nothing(*_: object) -> None:
    """Drop a notification."""


if __name__ == "__main__":
    Listener._on_notification = hear_nothing  # type: ignore[assignment,method-assign]
    main()
