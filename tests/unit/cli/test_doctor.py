"""What the doctor finds."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from herdbook import errors
from herdbook.cli.doctor import (
    Finding,
    check_cache,
    check_clock,
    check_encryption,
    check_versions,
    contact_of,
    installed,
    size_of,
)
from herdbook.core.values import ServerInfo
from tests.unit.cli.conftest import CommandLine


def info(*, ahead: timedelta = timedelta()) -> ServerInfo:
    return ServerInfo(
        software_version=installed("herdbook"),
        database="sqlite",
        chunk_store="local",
        revision=12,
        time=datetime.now(UTC) + ahead,
        actor="ana@laptop",
        max_chunk_bytes=2 << 20,
    )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HERDBOOK_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_all_well(herdbook: CommandLine, cache: Path) -> None:
    herdbook.client.server = "localhost:7411"
    result = herdbook("doctor", "--json", get_server_info=info)
    document = json.loads(result.stdout)
    assert result.exit_code == 0, document
    found = {check["name"]: check for check in document["checks"]}
    assert document["healthy"] is True
    assert {check["finding"] for check in found.values()} == {"ok"}
    assert "ana@laptop" in found["actor"]["detail"]
    assert "sqlite and local chunks, revision 12" in found["stores"]["detail"]
    assert str(cache) in found["cache"]["detail"]
    assert "grpcio" in found["client"]["detail"]
    assert not cache.exists()


def test_a_server_that_is_away_is_found_wrong_and_the_rest_is_looked_at(
    herdbook: CommandLine,
) -> None:
    result = herdbook("doctor", "--json", get_server_info=errors.Unavailable("Away."))
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert document["healthy"] is False
    assert [(c["name"], c["finding"]) for c in document["checks"]] == [
        ("client", "ok"),
        ("server", "failed"),
        ("cache", "ok"),
    ]


def test_a_connection_that_fails_for_want_of_tls_is_told_as_that(herdbook: CommandLine) -> None:
    mismatch = errors.EncryptionMismatch("It speaks TLS, and this client does not.")
    result = herdbook("doctor", get_server_info=mismatch)
    assert result.exit_code == 1
    assert "It speaks TLS" in result.stdout
    assert "--tls-ca" in result.stdout
    assert "is a server running" not in result.stdout


def test_people_read_one_line_a_check(herdbook: CommandLine) -> None:
    shown = herdbook("doctor", get_server_info=errors.Unauthenticated("No token.")).stdout
    assert "failed  server" in shown
    assert "--token" in shown


def test_the_distance_of_the_clocks_is_measured(herdbook: CommandLine) -> None:
    contact = contact_of(lambda: info(ahead=timedelta(seconds=10)))
    assert contact.skew_seconds == pytest.approx(10, abs=1)


def test_the_way_of_the_answer_is_not_taken_for_a_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    told_at = datetime.now(UTC)
    ticks = iter(range(0, 1000, 4))
    monkeypatch.setattr("herdbook.cli.doctor.time.monotonic", lambda: next(ticks))

    def slow_answer() -> ServerInfo:
        return replace(info(), time=told_at + timedelta(seconds=2))

    contact = contact_of(slow_answer)
    assert contact.latency_seconds == 4
    assert contact.skew_seconds == pytest.approx(0, abs=1)


@pytest.mark.parametrize(
    ("skew_seconds", "finding"),
    [(0.1, Finding.OK), (-1.9, Finding.OK), (3, Finding.WARNING), (-61, Finding.FAILED)],
)
def test_clocks_that_disagree_are_told(skew_seconds: float, finding: Finding) -> None:
    assert check_clock(skew_seconds).finding is finding


def test_a_connection_in_the_clear_is_fine_on_this_machine_only() -> None:
    assert check_encryption("localhost:7411", encrypted=False).finding is Finding.OK
    assert check_encryption("registry:7411", encrypted=False).finding is Finding.WARNING
    assert check_encryption("registry:7411", encrypted=True).finding is Finding.OK


def test_client_and_server_of_one_release_go_together() -> None:
    assert check_versions("1.2.3", "1.2.9").finding is Finding.OK
    assert check_versions("1.2.3", "1.3.0").finding is Finding.WARNING


def test_a_cache_that_cannot_be_a_directory_is_found_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    check = check_cache(tmp_path / "file" / "cache")
    assert check.finding is Finding.FAILED
    assert "HERDBOOK_CACHE_DIR" in check.hint


def test_files_with_several_names_count_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1000)
    os.link(tmp_path / "a", tmp_path / "b")
    assert size_of(tmp_path) == 1000
