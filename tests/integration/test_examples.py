"""The examples in `deploy/examples`, run as their README says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from herdbook import Client
from tests.support.ports import free_port
from tests.support.processes import running
from tests.support.repeating import again_and_again
from tests.support.server import Engines, ServerProcess
from tests.support.waiting import wait_until

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
WORKERS = 8


class Barn:
    """A model of the test's own whose versions multiply by their numbers."""

    def __init__(self, client: Client, home: Path) -> None:
        self.client = client
        self.home = home
        self.model = f"examples/{uuid.uuid4().hex}"
        self.reference = f"{self.model}@champion"

    def push(self, factor: int) -> None:
        command = [sys.executable, EXAMPLES / "make_model.py", str(factor)]
        subprocess.run(command, check=True, cwd=self.home)
        self.client.push(self.model, self.home / "model", alias="champion", capture=False)

    def converged(self, count: int) -> bool:
        seen = self.client.get_convergence(self.reference)
        return seen.converged_count == seen.replica_count == count

    def environment(self, server: ServerProcess) -> dict[str, str]:
        return {
            **os.environ,
            "HERDBOOK_SERVER": server.address,
            "HERDBOOK_REFERENCE": self.reference,
            "HERDBOOK_CACHE_DIR": str(self.home / "cache"),
        }


@pytest.fixture
def server(embedded_engines: Engines, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of the test's own, whose log has each download."""
    with ServerProcess(embedded_engines, tmp_path) as started:
        yield started


@pytest.fixture
def barn(server: ServerProcess, tmp_path: Path) -> Iterator[Barn]:
    with Client(server.address, cache=False) as client:
        made = Barn(client, tmp_path)
        made.push(1)
        yield made


def ask(url: str, rows: list[list[float]]) -> Any:
    """Asks for predictions; None while nobody listens."""
    request = urllib.request.Request(
        url, json.dumps({"rows": rows}).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError:
        return None


def test_the_workers_of_the_fastapi_example_share_downloads_and_all_swap(
    barn: Barn, server: ServerProcess
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/predict"
    command = [sys.executable, "-m", "uvicorn", "--app-dir", EXAMPLES / "fastapi", "app:app"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(WORKERS)]
    log = barn.home / "uvicorn.log"
    with running(
        [*command, *options],
        ready=lambda: barn.converged(WORKERS),
        log=log,
        env=barn.environment(server),
    ):
        wait_until(lambda: ask(url, [[3, 4]]), "it answers")
        answers: list[Any] = []
        with again_and_again(lambda: answers.append(ask(url, [[3, 4]])), threads=2):
            barn.push(2)
            wait_until(lambda: barn.converged(WORKERS), "all workers serve version 2")
        assert ask(url, [[3, 4]]) == {"version": 2, "predictions": [[6, 8]]}
        for senseless in ([[3]], [[3], [3, 4]]):
            with pytest.raises(urllib.error.HTTPError, match="422"):
                ask(url, senseless)
    assert {answer["predictions"][0][0] / answer["version"] for answer in answers} == {3}
    assert server.read_log().count("ArtifactService/DownloadChunks") == 2


def test_the_grpc_example_predicts_with_the_version_that_the_alias_names(
    barn: Barn, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES / "grpc"))
    messages, services = grpc.protos_and_services("inference.proto")
    address = f"127.0.0.1:{free_port()}"
    rows = messages.PredictRequest(rows=[messages.Row(values=[3, 4])])
    with (
        running(
            [sys.executable, EXAMPLES / "grpc" / "service.py"],
            ready=lambda: barn.converged(1),
            log=barn.home / "service.log",
            env={**barn.environment(server), "LISTEN": address},
        ),
        grpc.insecure_channel(address) as channel,
    ):
        stub = services.InferenceStub(channel)
        answer = stub.Predict(rows, wait_for_ready=True, timeout=60)
        assert (answer.version, list(answer.predictions[0].values)) == (1, [3, 4])
        barn.push(2)
        wait_until(lambda: stub.Predict(rows, timeout=60).version == 2, "version 2 answers")
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(messages.PredictRequest(rows=[messages.Row(values=[3])]), timeout=60)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
