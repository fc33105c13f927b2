"""What has a model server take up a version: a command, a call, a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Final, Protocol

from herdbook.core.retrying import Backoff
from herdbook.errors import Cancelled, FieldInvalid, Unavailable
from herdbook.transport.jitter import jitter

_BETWEEN: Final = Backoff(first_seconds=0.5, longest_seconds=10.0)
_ENOUGH_BYTES: Final = 500
_LOOK_SECONDS: Final = 0.05


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for a refusal: what it leads to would be asked, and told nothing."""

    def redirect_request(self, *_: object) -> None:
        """Leads nowhere."""


_OPENER: Final = urllib.request.build_opener(_NoRedirects)


class HookFailed(Unavailable):
    """The model server was not made to take up the version."""


@dataclass(frozen=True, slots=True)
class News:
    """What a hook is told."""

    reference: str
    model: str
    version: int
    digest: str
    directory: str
    """The directory that is kept current."""
    path: str
    """Where the version lies."""

    def environment(self) -> dict[str, str]:
        """Returns it as variables for a command."""
        return {
            "HERDBOOK_REFERENCE": self.reference,
            "HERDBOOK_MODEL": self.model,
            "HERDBOOK_VERSION": str(self.version),
            "HERDBOOK_DIGEST": self.digest,
            "HERDBOOK_DIRECTORY": self.directory,
            "HERDBOOK_PATH": self.path,
        }

    def document(self) -> bytes:
        """Returns it as JSON for a call."""
        return json.dumps(
            {name.removeprefix("HERDBOOK_").lower(): v for name, v in self.environment().items()}
            | {"version": self.version}
        ).encode()


class Hook(Protocol):
    """One thing to do."""

    def run(self, news: News, *, timeout_seconds: float, ended: threading.Event) -> None:
        """Does it once.

        Raises:
            HookFailed: It did not work, or not in time.
        """


@dataclass(frozen=True, slots=True)
class Hooks:
    """What to do about each version, in order, and how patiently."""

    hooks: tuple[Hook, ...] = ()
    timeout_seconds: float = 60.0
    """How long one attempt of one hook may take."""
    attempts: int = 3
    """How often each is tried."""

    def run(self, news: News, *, ended: threading.Event) -> None:
        """Runs all of them.

        Raises:
            HookFailed: One failed at each attempt.
            Cancelled: `ended` was set meanwhile.
        """
        for hook in self.hooks:
            self._run(hook, news, ended)

    def _run(self, hook: Hook, news: News, ended: threading.Event) -> None:
        for attempt in range(1, self.attempts + 1):
            try:
                hook.run(news, timeout_seconds=self.timeout_seconds, ended=ended)
                return
            except HookFailed:
                if attempt == self.attempts:
                    raise
            if ended.wait(_BETWEEN.delay_seconds(attempt, jitter=jitter())):
                raise Cancelled("The sidecar ends.")


@dataclass(frozen=True, slots=True)
class Command:
    """Runs a program; what it writes goes to stderr, and the sidecar's own environment to it."""

    arguments: tuple[str, ...]

    def run(self, news: News, *, timeout_seconds: float, ended: threading.Event) -> None:
        """Runs it once; it is killed, with what it started, when it takes too long."""
        try:
            process = subprocess.Popen(  # noqa: S603 - it is what the operator asked for
                self.arguments,
                env=_environment(news),
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                start_new_session=True,
            )
        except OSError as error:
            raise HookFailed(f"{self.arguments[0]} could not be run: {error.strerror}.") from error
        try:
            code = self._wait(process, timeout_seconds, ended)
        finally:
            _kill_group(process)
        if code:
            raise HookFailed(f"{self.arguments[0]} ended with code {code}.")

    def _wait(
        self, process: subprocess.Popen[bytes], timeout_seconds: float, ended: threading.Event
    ) -> int:
        give_up_at = time.monotonic() + timeout_seconds
        while time.monotonic() < give_up_at:
            try:
                return process.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                if ended.is_set():
                    raise Cancelled("The sidecar ends.") from None
        raise HookFailed(f"{self.arguments[0]} did not end within {timeout_seconds:g} s.")


@dataclass(frozen=True, slots=True)
class Call:
    """Posts a JSON document to a URL; an answer from 200 to 299 is success."""

    url: str

    def __post_init__(self) -> None:
        """Refuses what is no address on the web.

        Raises:
            FieldInvalid: It is none.
        """
        if not self.url.startswith(("http://", "https://")):
            raise FieldInvalid(f"{self.url!r} is no URL that begins with http:// or https://.")

    def run(self, news: News, *, timeout_seconds: float, ended: threading.Event) -> None:
        """Calls once; a call that takes too long is left to itself."""
        called: Future[None] = Future()
        threading.Thread(
            target=_settle,
            args=(called, lambda: self._call(news, timeout_seconds)),
            name="herdbook-hook",
            daemon=True,
        ).start()
        give_up_at = time.monotonic() + timeout_seconds
        while time.monotonic() < give_up_at:
            wait((called,), _LOOK_SECONDS)
            if called.done():
                return called.result()
            if ended.is_set():
                raise Cancelled("The sidecar ends.")
        raise HookFailed(f"{self.url} did not answer within {timeout_seconds:g} s.")

    def _call(self, news: News, timeout_seconds: float) -> None:
        request = urllib.request.Request(  # noqa: S310 - only http and https come here
            self.url,
            data=news.document(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        try:
            # A moment longer: who waits tells of what takes too long.
            with _OPENER.open(request, timeout=timeout_seconds + 1):
                return
        except urllib.error.HTTPError as error:
            with error:
                answer = f"{self.url} answered {error.code} {error.reason}"
                raise HookFailed(f"{answer}: {_text_of(error)}".removesuffix(": ")) from error
        except (OSError, HTTPException, ValueError) as error:
            reason = str(getattr(error, "reason", error)) or repr(error)
            raise HookFailed(f"{self.url} could not be called: {reason}.") from error


@dataclass(frozen=True, slots=True)
class Signal:
    """Sends a signal to the process whose number a file holds."""

    number: signal.Signals
    pid_file: Path

    def run(self, news: News, *, timeout_seconds: float, ended: threading.Event) -> None:
        """Sends it once."""
        del news, timeout_seconds, ended
        try:
            os.kill(_process_in(self.pid_file), self.number)
        except (OSError, ValueError, OverflowError) as error:
            raise HookFailed(
                f"{self.number.name} could not be sent to the process in {self.pid_file}: {error}."
            ) from error


def _settle(called: Future[None], call: Callable[[], None]) -> None:
    try:
        call()
        called.set_result(None)
    except BaseException as error:  # noqa: BLE001 - who waits raises it
        called.set_exception(error)


def parse_signal(text: str) -> signal.Signals:
    """Reads `HUP`, `SIGHUP` or `1`.

    Raises:
        FieldInvalid: There is no such signal.
    """
    try:
        if text.isdecimal():
            return signal.Signals(int(text))
        name = text.upper()
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
    except (KeyError, ValueError):
        raise FieldInvalid(f"{text!r} is no signal such as HUP or SIGUSR1.") from None


def _process_in(pid_file: Path) -> int:
    pid = int(pid_file.read_text())
    if pid <= 0:
        # Such numbers name groups of processes.
        raise ValueError(f"{pid} is no process")
    return pid


def _text_of(error: urllib.error.HTTPError) -> str:
    """Returns what a refusal says, as far as it can be read."""
    with suppress(OSError, HTTPException):
        return error.read(_ENOUGH_BYTES).decode(errors="replace").strip()
    return ""


def _environment(news: News) -> Mapping[str, str]:
    return {**os.environ, **news.environment()}


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Ends the process, and what it has started, unless it has ended by itself."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
