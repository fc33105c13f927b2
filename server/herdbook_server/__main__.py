"""Lets `python -m herdbook_server serve` stand for `herdbook serve`."""

from __future__ import annotations

from herdbook_server.cli import main

main()
