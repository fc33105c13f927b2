"""Fixtures that every test may ask for, and what the suite runs under."""

from __future__ import annotations

import signal

from hypothesis import settings

pytest_plugins = ["tests.support.postgres", "tests.support.s3"]

# A busy machine is no failure.
settings.register_profile("herdbook", deadline=None)
settings.load_profile("herdbook")

# A shell makes what it runs in its background deaf to interrupts, and children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
