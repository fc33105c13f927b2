"""The command line over a client that answers as told."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
from typer.testing import CliRunner

from herdbook.cli.app import build
from herdbook.client import Client


@dataclass
class FakeClient:
    """Answers as told, and takes only arguments that the real client takes."""

    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    server: str = "registry.test:7411"
    closed: bool = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        signature = inspect.signature(getattr(Client, name))

        def call(*args: Any, **kwargs: Any) -> Any:
            arguments = dict(signature.bind(self, *args, **kwargs).arguments)
            del arguments["self"]
            self.calls.append((name, arguments))
            answer = self.answers[name]
            if isinstance(answer, BaseException):
                raise answer
            return answer(**arguments) if callable(answer) else answer

        return call

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.closed = True

    def arguments(self, name: str) -> dict[str, Any]:
        """Returns what the only call of this name was given."""
        [arguments] = [arguments for called, arguments in self.calls if called == name]
        return arguments


@dataclass
class CommandLine:
    """Runs commands in this process."""

    client: FakeClient
    settings: list[Any] = field(default_factory=list)

    def __call__(self, *arguments: str, **answers: Any) -> Any:
        self.client.answers.update(answers)
        return CliRunner().invoke(build(), arguments)


@pytest.fixture
def herdbook(monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """The command line; keyword arguments are the client's answers."""
    line = CommandLine(FakeClient())

    def open_client(settings: Any) -> FakeClient:
        line.settings.append(settings)
        return line.client

    for variable in ("HERDBOOK_SERVER", "HERDBOOK_TOKEN", "EDITOR", "VISUAL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("herdbook.cli.session.open_client", open_client)
    yield line
    assert line.client.closed or not line.settings
