"""Settings that would surprise are refused, in a sentence that says what to do."""

from __future__ import annotations

import inspect
import logging
import os
from pathlib import Path

import pytest

from herdbook_server import cli, supervision
from herdbook_server.logs import JsonFormatter, TextFormatter
from herdbook_server.settings import (
    Settings,
    SettingsInvalid,
    flag,
    is_loopback,
    read_settings,
    split_address,
)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LISTEN", "DATA", "DATABASE", "ARTIFACTS", "INSECURE"):
        monkeypatch.delenv(f"HERDBOOK_{name}", raising=False)


def test_the_defaults_serve_this_machine_alone_from_one_directory() -> None:
    settings = read_settings()
    assert is_loopback(settings.listen)
    assert settings.embedded_database
    assert settings.embedded_artifacts


def test_every_setting_is_a_flag() -> None:
    assert set(inspect.signature(cli.serve).parameters) == set(Settings.model_fields)


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERDBOOK_LISTEN", "127.0.0.1:1111")
    monkeypatch.setenv("HERDBOOK_DATA", "barn")
    settings = read_settings(listen="127.0.0.1:2222", data=None)
    assert settings.listen == "127.0.0.1:2222"
    assert settings.data == Path("barn")


@pytest.mark.parametrize("listen", ["0.0.0.0:7411", "[::]:7411", "192.0.2.1:7411", "barn:7411"])
def test_a_public_address_needs_tls_and_authentication_or_a_word(listen: str) -> None:
    with pytest.raises(SettingsInvalid, match="insecure"):
        read_settings(listen=listen)
    with pytest.raises(SettingsInvalid, match="insecure"):
        read_settings(listen=listen, tokens_file="tokens")
    with pytest.raises(SettingsInvalid, match="insecure"):
        read_settings(listen=listen, tls_cert="cert", tls_key="key")
    read_settings(listen=listen, tls_cert="cert", tls_key="key", tokens_file="tokens")
    read_settings(listen=listen, tls_cert="cert", tls_key="key", tls_client_ca="ca")
    read_settings(listen=listen, insecure=True)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.8.8.8:1", "[::1]:7411", "localhost:7411"])
def test_a_loopback_address_needs_nothing(listen: str) -> None:
    assert read_settings(listen=listen).listen == listen


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen", "7411"),
        ("listen", "127.0.0.1:70000"),
        ("listen", "127.0.0.1:seven"),
        ("database", "mysql://barn"),
        ("database", "herdbook.db"),
        ("artifacts", "barn"),
        ("artifacts", "gs://bucket"),
        ("max_message_bytes", "1024"),
        ("max_watches", "0"),
        ("log_format", "xml"),
        ("drain_seconds", "-1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"^{flag(name)}: "):
        read_settings(**{name: value})


def test_a_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="belong together"):
        read_settings(tls_cert="cert")
    with pytest.raises(SettingsInvalid, match="needs --tls-cert"):
        read_settings(tls_client_ca="ca")


def test_an_ipv6_address_is_split_without_its_brackets() -> None:
    assert split_address("[::1]:7411") == ("::1", 7411)


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_an_event_is_one_line_whatever_its_fields_hold(formatter: logging.Formatter) -> None:
    record = logging.LogRecord("herdbook_server", logging.INFO, "", 0, "moo %s", ("7\n8",), None)
    record.fields = {"actor": 'a "b"\nINFO forged', "empty": "", "size_bytes": 0}
    record.request_id = "cow-7"
    line = formatter.format(record)
    assert "\n" not in line
    assert "moo 7" in line
    assert "8" in line
    assert "cow-7" in line
    assert "empty" not in line
    assert "size_bytes" in line


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_workers_name_their_process_in_what_they_log(
    formatter: logging.Formatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = logging.LogRecord("herdbook_server", logging.INFO, "", 0, "moo", (), None)
    assert "process" not in formatter.format(record)
    monkeypatch.setenv(supervision.LIFELINE, "3")
    assert str(os.getpid()) in formatter.format(record).partition("process")[2]


@pytest.mark.parametrize("first", [7409, 7411, 65534])
def test_workers_take_no_metrics_port_that_is_taken_or_does_not_exist(first: int) -> None:
    with pytest.raises(SettingsInvalid, match=f"{first} to {first + 2}"):
        read_settings(
            workers=3, database="postgresql://x/y", prometheus_listen=f"127.0.0.1:{first}"
        )


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost", "[::]"])  # noqa: S104 - as text
def test_metrics_take_no_port_that_may_be_that_of_calls(host: str) -> None:
    with pytest.raises(SettingsInvalid, match="not be that of --listen"):
        read_settings(workers=3, database="postgresql://x/y", prometheus_listen=f"{host}:7411")


def test_metrics_may_have_the_port_of_calls_at_another_address() -> None:
    read_settings(workers=3, database="postgresql://x/y", prometheus_listen="127.0.0.2:7411")
