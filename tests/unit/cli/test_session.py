"""What all commands have in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from herdbook import errors
from herdbook.cli.session import Settings, open_client, tls_of
from herdbook.core.values import Model
from herdbook.transport.connection import TLS
from tests.unit.cli.conftest import CommandLine


def test_shared_options_stand_after_the_command(herdbook: CommandLine) -> None:
    arguments = ["models", "--server", "a:1", "--token", "t", "--call-timeout", "5s", "--json"]
    result = herdbook(*arguments, list_models=[])
    assert result.exit_code == 0
    [settings] = herdbook.settings
    assert (settings.server, settings.token, settings.call_timeout) == ("a:1", "t", 5.0)
    assert json.loads(result.stdout) == []


def test_shared_options_stand_before_the_command_too(herdbook: CommandLine) -> None:
    herdbook("--server", "a:1", "--no-tls", "models", "--server", "b:2", list_models=[])
    [settings] = herdbook.settings
    assert (settings.server, settings.tls) == ("b:2", False)


def test_settings_do_not_show_the_token() -> None:
    assert "secret" not in repr(Settings(server="a:1", token="secret"))


def test_a_token_is_never_printed(herdbook: CommandLine) -> None:
    result = herdbook("models", "--token", "secret", list_models=errors.Unauthenticated())
    assert result.exit_code == 5
    assert "secret" not in result.output


def test_files_for_tls_imply_tls() -> None:
    assert tls_of(Settings(tls_ca=Path("ca.pem"))) == TLS(ca=Path("ca.pem"))
    assert tls_of(Settings(tls=True)) is True
    assert tls_of(Settings()) is None


def test_files_for_tls_contradict_a_connection_in_the_clear(
    herdbook: CommandLine, monkeypatch: Any
) -> None:
    monkeypatch.setattr("herdbook.cli.session.open_client", open_client)
    result = herdbook("models", "--no-tls", "--tls-ca", "ca.pem")
    assert result.exit_code == 2
    assert "contradicts" in result.stderr


def test_an_error_is_a_sentence_with_its_reason_and_a_hint(herdbook: CommandLine) -> None:
    result = herdbook(
        "show", "fraud/tc@champion", get_version=errors.ModelNotFound("No such model.")
    )
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "Error: No such model. [MODEL_NOT_FOUND]" in result.stderr
    assert "Hint: `herdbook models`" in result.stderr


def test_a_name_that_was_perhaps_meant_is_the_hint(herdbook: CommandLine) -> None:
    details = errors.ErrorDetails(resource_type="model", resource_name="fruad/tc")
    unknown = errors.ModelNotFound("There is no model fruad/tc.", details=details)
    models = [Model("spam/tc"), Model("fraud/tc"), Model("churn")]
    result = herdbook("show", "fruad/tc@champion", get_version=unknown, list_models=models)
    assert result.exit_code == 3
    assert "Hint: did you mean fraud/tc?" in result.stderr
    away = {"get_version": unknown, "list_models": errors.Unavailable("Away.")}
    assert "Hint: `herdbook models`" in herdbook("show", "fruad/tc@champion", **away).stderr


def test_an_error_is_a_document_for_programs(herdbook: CommandLine) -> None:
    details = errors.ErrorDetails(
        metadata={"current_version": "6"},
        resource_type="alias",
        resource_name="a@b",
        request_id="r1",
    )
    moved = errors.AliasMoved("It points at version 6.", details=details)
    result = herdbook("alias", "set", "m@champion", "7", "--json", set_alias=moved)
    assert result.exit_code == 4
    assert result.stdout == ""
    error = json.loads(result.stderr)["error"]
    assert error["reason"] == "ALIAS_MOVED"
    assert error["status"] == "ABORTED"
    assert error["message"] == "It points at version 6."
    assert error["metadata"] == {"current_version": "6"}
    assert error["exit_code"] == 4
    assert error["request_id"] == "r1"


def test_an_unreachable_server_is_named(herdbook: CommandLine) -> None:
    result = herdbook("models", list_models=errors.Unavailable("It cannot be reached."))
    assert result.exit_code == 6
    assert "registry.test:7411" in result.stderr
    assert "herdbook serve" in result.stderr


def test_a_list_that_fails_at_once_writes_nothing(herdbook: CommandLine) -> None:
    result = herdbook("models", "--json", list_models=errors.FilterInvalid("No filter."))
    assert (result.exit_code, result.stdout) == (7, "")


def test_an_interrupt_has_its_own_code(herdbook: CommandLine) -> None:
    assert herdbook("models", list_models=KeyboardInterrupt()).exit_code == 130


def test_an_interrupted_transfer_says_what_the_next_one_does(herdbook: CommandLine) -> None:
    result = herdbook("pull", "m@champion", "model", pull=KeyboardInterrupt())
    assert result.exit_code == 130
    assert "moves only what is missing" in result.stderr


def test_a_closed_pipe_ends_quietly(herdbook: CommandLine) -> None:
    result = herdbook("models", "--json", list_models=BrokenPipeError())
    assert result.exit_code == 141
    assert result.output == ""


def test_what_servers_say_does_not_steer_the_terminal(herdbook: CommandLine) -> None:
    model = Model("m", description="\x1b[2Jgone [bold]x[/bold]")
    shown = herdbook("models", list_models=[model])
    assert "\x1b" not in shown.stdout
    assert "[bold]x[/bold]" in shown.stdout


@pytest.mark.parametrize(
    "command", [["--help"], ["push", "--help"], ["alias", "set", "-h"], ["serve", "-h"]]
)
def test_help_needs_no_server(herdbook: CommandLine, command: list[str]) -> None:
    result = herdbook(*command)
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert herdbook.settings == []


def test_an_unknown_command_is_a_usage_error(herdbook: CommandLine) -> None:
    assert herdbook("puhs").exit_code == 2
