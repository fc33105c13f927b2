from __future__ import annotations

import logging
import re

import pytest

from herdbook.cli.logs import logged


def test_a_log_line_has_a_time_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("herdbook.live")
    error = ValueError("torn\nin two")
    with logged():
        log.info("%s serves.", "fraud/tc:1")
        log.warning("It failed: %s\x1b[2J", error, exc_info=error)
        log.debug("for nobody")
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(
        rf"{time} INFO fraud/tc:1 serves\.\n{time} WARNING It failed: torn in two�\[2J\n",
        capsys.readouterr().err,
    )


def test_nothing_is_logged_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("herdbook")
    before = logger.level, list(logger.handlers)
    with logged():
        pass
    logger.getChild("live").info("quiet")
    assert capsys.readouterr().err == ""
    assert (logger.level, logger.handlers) == before
