from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from herdbook.errors import Cancelled, FieldInvalid
from herdbook.sidecar import Call, Command, HookFailed, Hooks, News, Signal, hooks, parse_signal
from tests.support.waiting import wait_until

NEWS = News("fraud/tc@champion", "fraud/tc", 7, "sha256:12", "/models/tc", "/models/tc/.herdbook/7")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_BETWEEN", hooks.Backoff(0.001, 0.001))


def run(*done: hooks.Hook, timeout_seconds: float = 20.0, attempts: int = 1) -> None:
    Hooks(done, timeout_seconds=timeout_seconds, attempts=attempts).run(
        NEWS, ended=threading.Event()
    )


def python(code: str, *arguments: str) -> Command:
    return Command((sys.executable, "-c", code, *arguments))


def test_a_command_is_told_what_has_changed(tmp_path: Path) -> None:
    told = tmp_path / "told"
    code = (
        "import json, os, sys; open(sys.argv[1], 'w').write(json.dumps("
        "{k: v for k, v in os.environ.items() if k.startswith('HERDBOOK_')}))"
    )
    run(python(code, str(told)))
    assert NEWS.environment().items() <= json.loads(told.read_text()).items()
    assert NEWS.environment()["HERDBOOK_VERSION"] == "7"


def test_a_command_that_fails_is_told_with_its_code() -> None:
    with pytest.raises(HookFailed, match="ended with code 3"):
        run(python("raise SystemExit(3)"))


def test_a_command_that_is_not_there_has_failed() -> None:
    with pytest.raises(HookFailed, match="/no/such could not be run: No such file"):
        run(Command(("/no/such",)))


def test_a_command_that_takes_too_long_is_killed_with_what_it_started(tmp_path: Path) -> None:
    started = tmp_path / "started"
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open(sys.argv[1] + '.new', 'w').write(str(child.pid))\n"
        "os.rename(sys.argv[1] + '.new', sys.argv[1])\n"
        "time.sleep(600)"
    )
    with pytest.raises(HookFailed, match="did not end within 3 s"):
        run(python(code, str(started)), timeout_seconds=3)
    child = int(started.read_text())

    def ended() -> bool:
        status = Path(f"/proc/{child}/stat")
        return not status.exists() or status.read_text().split()[2] == "Z"

    wait_until(ended, "what it started has ended")


def test_a_command_does_not_hold_up_the_end() -> None:
    ended = threading.Event()
    threading.Timer(0.2, ended.set).start()
    with pytest.raises(Cancelled):
        Hooks((python("import time; time.sleep(600)"),)).run(NEWS, ended=ended)


def test_what_fails_is_tried_again_and_the_next_one_waits_for_it(tmp_path: Path) -> None:
    count = tmp_path / "count"
    code = (
        "import sys; f = open(sys.argv[1], 'a+'); f.write('x'); f.seek(0); "
        "sys.exit(len(f.read()) < 3)"
    )
    second = tmp_path / "second"
    run(
        python(code, str(count)),
        python("import sys; open(sys.argv[1], 'w')", str(second)),
        attempts=3,
    )
    assert count.read_text() == "xxx"
    assert second.exists()


def test_after_one_that_fails_for_good_nothing_more_is_done(tmp_path: Path) -> None:
    second = tmp_path / "second"
    with pytest.raises(HookFailed):
        run(
            python("raise SystemExit(1)"), python("open(sys.argv[1], 'w')", str(second)), attempts=2
        )
    assert not second.exists()


@contextmanager
def answering(status: int, said: str = "") -> Iterator[tuple[str, list[dict[str, object]]]]:
    heard: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            if status == HTTPStatus.FOUND:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/load", heard
        server.shutdown()
        thread.join()


def test_a_call_posts_what_has_changed() -> None:
    with answering(204) as (url, heard):
        run(Call(url))
    assert heard == [
        {
            "reference": "fraud/tc@champion",
            "model": "fraud/tc",
            "version": 7,
            "digest": "sha256:12",
            "directory": "/models/tc",
            "path": "/models/tc/.herdbook/7",
        }
    ]


def test_a_call_that_is_refused_has_failed_with_what_was_said() -> None:
    with (
        answering(400, "no such layer") as (url, _),
        pytest.raises(HookFailed, match="answered 400 Bad Request: no such layer"),
    ):
        run(Call(url))


def test_a_call_that_is_sent_elsewhere_has_failed() -> None:
    with (
        answering(HTTPStatus.FOUND) as (url, heard),
        pytest.raises(HookFailed, match="answered 302 Found"),
    ):
        run(Call(url))
    assert len(heard) == 1


def test_a_call_that_nobody_answers_has_failed() -> None:
    with answering(200) as (url, _):
        pass
    with pytest.raises(HookFailed, match="could not be called"):
        run(Call(url))


@pytest.fixture
def silent() -> Iterator[str]:
    """An address that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/load"


def test_a_call_that_takes_too_long_has_failed(silent: str) -> None:
    with pytest.raises(HookFailed, match="did not answer within"):
        run(Call(silent), timeout_seconds=0.1)


def test_a_call_is_given_up_when_the_sidecar_ends(silent: str) -> None:
    ended = threading.Event()
    ended.set()
    with pytest.raises(Cancelled):
        Hooks((Call(silent),), timeout_seconds=1000).run(NEWS, ended=ended)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "localhost:8000", ""])
def test_only_addresses_on_the_web_are_called(url: str) -> None:
    with pytest.raises(FieldInvalid, match="no URL"):
        Call(url)


def test_a_signal_reaches_the_process_in_the_file(tmp_path: Path) -> None:
    heard = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.set())
    try:
        (tmp_path / "pid").write_text(f"{os.getpid()}\n")
        run(Signal(signal.SIGUSR1, tmp_path / "pid"))
        assert heard.wait(20)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("pid", ["", "-1", "0", "none", "9" * 30, str(2**22 + 1)])
def test_a_process_that_is_not_there_is_a_failure(tmp_path: Path, pid: str) -> None:
    (tmp_path / "pid").write_text(pid)
    with pytest.raises(HookFailed, match="SIGUSR1 could not be sent"):
        run(Signal(signal.SIGUSR1, tmp_path / "pid"))


@pytest.mark.parametrize("text", ["HUP", "SIGHUP", "hup", "1"])
def test_signals_are_read_by_name_and_number(text: str) -> None:
    assert parse_signal(text) is signal.SIGHUP


@pytest.mark.parametrize("text", ["", "NOPE", "999"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(FieldInvalid, match="no signal"):
        parse_signal(text)
