"""What the command says where an extra is not installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import pytest

from herdbook.cli import main
from tests.unit.cli.conftest import CommandLine

HEAVY = ("typer", "rich", "grpc", "numpy", "sklearn", "joblib", "herdbook_server")


def hide(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> None:
    found = importlib.util.find_spec

    def find_spec(name: str, *arguments: Any) -> Any:
        return None if name in hidden else found(name, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def imported_by(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in ended.stdout.split()}


def test_without_the_extra_the_command_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hide(monkeypatch, "typer")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said == "The herdbook command needs typer: pip install 'herdbook[cli]'\n"


@pytest.mark.parametrize("command", ["serve", "migrate"])
def test_without_the_server_its_commands_say_how_to_install_it(
    herdbook: CommandLine, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    hide(monkeypatch, "aiosqlite")
    result = herdbook(command)
    assert result.exit_code == 1
    assert result.output == "The server is not installed: pip install 'herdbook[server]'\n"


def test_without_its_libraries_the_demo_says_how_to_install_them(
    herdbook: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "sklearn")
    result = herdbook("demo")
    assert result.exit_code == 1
    assert result.output == "The demo needs more: pip install 'herdbook[demo]'\n"


def test_the_entry_point_imports_nothing_that_an_extra_brings() -> None:
    assert imported_by("import herdbook.cli").isdisjoint(HEAVY)


def test_building_the_command_line_leaves_grpc_and_the_heavy_libraries_alone() -> None:
    imported = imported_by("import herdbook.cli.app; herdbook.cli.app.build()")
    assert imported.isdisjoint({"grpc", "google", "numpy", "sklearn", "joblib"})
