"""Lets `python -m herdbook.cli` stand for `herdbook`."""

from __future__ import annotations

from herdbook.cli import main

main()
