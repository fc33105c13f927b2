from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as pb

import herdbook
from herdbook import AsyncClient, Client, errors
from herdbook.core import retrying
from herdbook.core.retrying import Backoff
from herdbook.transport.caller import Caller
from herdbook.v1.model_pb2 import ListModelsResponse, Model
from tests.support.fake_registry import FakeRegistry, Fault
from tests.support.ports import free_port
from tests.support.waiting import eventually

SOON = pb.RetryInfo(retry_delay=Duration(nanos=1_000_000))
AWAY = Fault(grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE", details=(SOON,))
DRAINING = Fault(grpc.StatusCode.UNAVAILABLE, "DRAINING", details=(SOON,))


def test_a_model_is_created_and_read(registry: FakeRegistry, client: Client) -> None:
    made = client.create_model("a/b", description="d", tags={"k": "v"})
    assert client.get_model("a/b") == made
    assert (made.name, made.description, made.tags) == ("a/b", "d", {"k": "v"})


async def test_a_model_is_created_and_read_in_an_event_loop(aclient: AsyncClient) -> None:
    made = await aclient.create_model("a/b", description="d", tags={"k": "v"})
    assert await aclient.get_model("a/b") == made


def test_a_list_pages_by_itself(registry: FakeRegistry, client: Client) -> None:
    for name in "abcde":
        client.create_model(name)
    models = client.list_models()
    assert registry.calls["ListModels"] == 0
    assert next(models).name == "a"
    assert registry.calls["ListModels"] == 1
    assert [model.name for model in models] == ["b", "c", "d", "e"]
    assert registry.calls["ListModels"] == 3


async def test_a_list_pages_by_itself_in_an_event_loop(
    registry: FakeRegistry, aclient: AsyncClient
) -> None:
    for name in "abcde":
        await aclient.create_model(name)
    assert [model.name async for model in aclient.list_models()] == list("abcde")
    assert registry.calls["ListModels"] == 3


def going_in_circles(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ListModelsResponse(models=[Model(name="a")], next_page_token="again")
    monkeypatch.setattr(registry, "list_models", lambda _: page)


def test_a_list_that_goes_in_circles_is_left(
    registry: FakeRegistry, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_in_circles(registry, monkeypatch)
    with pytest.raises(errors.ResponseInvalid):
        list(islice(client.list_models(), 100))
    assert registry.calls["ListModels"] == 2


async def test_a_list_that_goes_in_circles_is_left_in_an_event_loop(
    registry: FakeRegistry, aclient: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_in_circles(registry, monkeypatch)
    models = aclient.list_models()
    assert [(await anext(models)).name for _ in range(2)] == ["a", "a"]
    with pytest.raises(errors.ResponseInvalid):
        await anext(models)
    assert registry.calls["ListModels"] == 2


def test_a_call_is_repeated_while_the_server_is_away(
    registry: FakeRegistry, client: Client
) -> None:
    registry.fail("CreateModel", AWAY, DRAINING, AWAY)
    client.create_model("a")
    assert registry.calls["CreateModel"] == 4


def test_a_repetition_is_the_same_call(registry: FakeRegistry, client: Client) -> None:
    lost = Fault(grpc.StatusCode.UNAVAILABLE, effective=True, details=(SOON,))
    registry.fail("CreateModel", lost)
    assert client.create_model("a").name == "a"
    assert len(registry.request_ids) == 1


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two attempts at a server that never answered, four at one that has, and no waits."""
    monkeypatch.setattr(retrying, "IMPATIENCE", Backoff(0, 0, attempts=2))
    monkeypatch.setattr(retrying, "PATIENCE", Backoff(0, 0, attempts=4))


@pytest.mark.usefixtures("hurried")
def test_a_server_that_has_answered_is_asked_more_often(
    registry: FakeRegistry, client: Client
) -> None:
    registry.fail("CreateModel", *[AWAY] * 5)
    with pytest.raises(herdbook.Unavailable):
        client.create_model("a")
    with pytest.raises(herdbook.ModelNotFound):
        client.get_model("a")
    client.create_model("a")
    assert registry.calls["CreateModel"] == 2 + 4


@pytest.mark.usefixtures("hurried")
async def test_a_server_that_has_answered_is_asked_more_often_in_an_event_loop(
    registry: FakeRegistry, aclient: AsyncClient
) -> None:
    registry.fail("CreateModel", *[AWAY] * 5)
    with pytest.raises(herdbook.Unavailable):
        await aclient.create_model("a")
    assert [model async for model in aclient.list_models()] == []
    await aclient.create_model("a")
    assert registry.calls["CreateModel"] == 2 + 4


async def test_a_call_is_repeated_in_an_event_loop(
    registry: FakeRegistry, aclient: AsyncClient
) -> None:
    registry.fail("CreateModel", AWAY, DRAINING, AWAY)
    await aclient.create_model("a")
    assert registry.calls["CreateModel"] == 4


def test_a_missing_thing_is_not_asked_for_again(registry: FakeRegistry, client: Client) -> None:
    with pytest.raises(herdbook.ModelNotFound):
        client.get_model("nope")
    assert registry.calls["GetModel"] == 1


def test_what_may_have_taken_effect_is_not_done_again(
    registry: FakeRegistry, client: Client
) -> None:
    registry.fail("UpdateModel", AWAY)
    with pytest.raises(errors.DatabaseUnavailable):
        client.update_model("m", description="new", expect_revision=1)
    assert registry.calls["UpdateModel"] == 1
    registry.fail("UpdateModel", DRAINING)
    assert client.update_model("m", description="new", expect_revision=1).name == "m"


def test_a_bad_name_is_refused_before_anything_is_sent(
    registry: FakeRegistry, client: Client
) -> None:
    with pytest.raises(errors.NameInvalid):
        client.get_model("a b")
    assert not registry.calls


def test_an_error_says_everything_that_the_server_said(
    registry: FakeRegistry, client: Client
) -> None:
    fault = Fault(
        grpc.StatusCode.ABORTED,
        "ALIAS_MOVED",
        metadata={"current_version": "7"},
        details=(
            pb.ResourceInfo(resource_type="alias", resource_name="m@a"),
            pb.RequestInfo(request_id="req-1"),
            SOON,
        ),
    )
    registry.fail("SetAlias", fault)
    with pytest.raises(herdbook.AliasMoved) as caught:
        client.set_alias("m", "a", 3, expect=2)
    error = caught.value
    assert (error.reason, error.current_version) == ("ALIAS_MOVED", 7)
    assert (error.details.resource_type, error.details.resource_name) == ("alias", "m@a")
    assert error.details.request_id == "req-1"
    assert error.details.retry_after_seconds == pytest.approx(0.001)
    assert error.__cause__ is None


@pytest.mark.parametrize(
    "detail",
    [
        pb.BadRequest(field_violations=[{"field": "tags.a", "description": "too long"}]),
        pb.PreconditionFailure(violations=[{"subject": "tags.a", "description": "too long"}]),
    ],
)
def test_an_error_names_what_is_to_blame(
    registry: FakeRegistry, client: Client, detail: pb.BadRequest | pb.PreconditionFailure
) -> None:
    fault = Fault(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", details=(detail,))
    registry.fail("GetModel", fault)
    with pytest.raises(errors.FieldInvalid, match=r"tags\.a: too long") as caught:
        client.get_model("m")
    assert caught.value.details.violations[0].subject == "tags.a"


def test_a_reason_that_came_later_is_an_error_of_its_status(
    registry: FakeRegistry, client: Client
) -> None:
    registry.fail("GetModel", Fault(grpc.StatusCode.FAILED_PRECONDITION, "GATE_CLOSED"))
    with pytest.raises(errors.FailedPrecondition) as caught:
        client.get_model("m")
    assert type(caught.value) is errors.FailedPrecondition
    assert caught.value.reason == "GATE_CLOSED"


async def test_errors_are_the_same_in_an_event_loop(
    registry: FakeRegistry, aclient: AsyncClient
) -> None:
    registry.fail(
        "SetAlias",
        Fault(grpc.StatusCode.ABORTED, "ALIAS_MOVED", metadata={"current_version": "7"}),
    )
    with pytest.raises(herdbook.AliasMoved) as caught:
        await aclient.set_alias("m", "a", 3)
    assert caught.value.current_version == 7


def test_a_server_that_is_not_there_is_named() -> None:
    server = f"127.0.0.1:{free_port()}"
    with (
        Client(server, timeout_seconds=0.5) as client,
        pytest.raises(herdbook.Unavailable, match=f"server {server} cannot be reached"),
    ):
        client.get_model("m")


def test_no_answer_in_time_is_an_error(registry: FakeRegistry) -> None:
    with (
        registry.lock,
        Client(registry.server, timeout_seconds=0.2) as client,
        pytest.raises(errors.DeadlineExceeded),
    ):
        client.get_model("m")


def test_a_call_carries_token_actor_and_agent(registry: FakeRegistry) -> None:
    with Client(registry.server, token="secret") as client:
        client.create_model("a")
    assert registry.metadata["authorization"] == "Bearer secret"
    assert "@" in registry.metadata["herdbook-actor"]
    assert registry.metadata["user-agent"].startswith(f"herdbook-python/{herdbook.__version__}")


def test_server_and_token_come_from_the_environment(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERDBOOK_SERVER", registry.server)
    monkeypatch.setenv("HERDBOOK_TOKEN", "of-the-environment")
    with Client() as client:
        assert client.server == registry.server
        client.create_model("a")
    assert registry.metadata["authorization"] == "Bearer of-the-environment"
    monkeypatch.delenv("HERDBOOK_SERVER")
    assert Client().server == "localhost:7411"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("registry", "registry:7411"),
        ("10.0.0.7", "10.0.0.7:7411"),
        ("[::1]", "[::1]:7411"),
        ("registry:1", "registry:1"),
        ("unix:/run/herdbook", "unix:/run/herdbook"),
        ("dns:///registry:1", "dns:///registry:1"),
    ],
)
def test_a_server_without_a_port_is_asked_at_the_usual_one(given: str, meant: str) -> None:
    assert Client(given).server == meant


def test_a_token_goes_elsewhere_in_the_clear_only_if_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for server in ("registry:7411", "10.0.0.7"):
        with pytest.raises(errors.FieldInvalid, match="in the clear"):
            Client(server, token="secret")
    for server in ("localhost:1", "127.0.0.1:1", "[::1]:1", "unix:/run/herdbook"):
        Client(server, token="secret")
    Client("registry", token="secret", tls=False)
    Client("registry", token="secret", tls=True)
    monkeypatch.setenv("HERDBOOK_TOKEN", "secret")
    Client("registry", token="")
    monkeypatch.setenv("HERDBOOK_TLS", "0")
    Client("registry")


def test_bad_settings_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(errors.FieldInvalid, match="leaves no time"):
        Client(timeout_seconds=0)
    with pytest.raises(errors.FieldInvalid, match="HOST:PORT"):
        Client("https://registry.example.com")
    monkeypatch.setenv("HERDBOOK_TLS", "perhaps")
    with pytest.raises(errors.FieldInvalid, match="1 or 0"):
        Client()
    client = Client(tls=herdbook.TLS(ca=tmp_path / "none.pem"))
    with pytest.raises(errors.FieldInvalid, match=r"none\.pem cannot be read"):
        client.get_model("m")


def test_a_closed_client_says_so(client: Client) -> None:
    client.create_model("a")
    client.close()
    client.close()
    with pytest.raises(errors.ClientClosed):
        client.get_model("a")


async def test_a_closed_client_says_so_in_an_event_loop(aclient: AsyncClient) -> None:
    await aclient.create_model("a")
    await aclient.close()
    with pytest.raises(errors.ClientClosed):
        await aclient.get_model("a")


def test_closing_ends_a_call_under_way(registry: FakeRegistry) -> None:
    client = Client(registry.server, timeout_seconds=20)
    caught: list[Exception] = []

    def call() -> None:
        try:
            client.get_model("m")
        except errors.HerdbookError as error:
            caught.append(error)

    with registry.lock:
        thread = threading.Thread(target=call)
        thread.start()
        client.close()
        thread.join(10)
    assert [type(error) for error in caught] == [errors.ClientClosed]


def test_closing_ends_the_wait_for_another_attempt(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = threading.Event()
    wait = Caller.wait

    def noted(caller: Caller, seconds: float) -> bool:
        waits.set()
        return wait(caller, seconds)

    monkeypatch.setattr(Caller, "wait", noted)
    later = pb.RetryInfo(retry_delay=Duration(seconds=15))
    registry.fail("GetModel", Fault(grpc.StatusCode.UNAVAILABLE, "DRAINING", details=(later,)))
    client = Client(registry.server, timeout_seconds=20)
    with ThreadPoolExecutor() as pool:
        call = pool.submit(client.get_model, "m")
        assert waits.wait(10)
        client.close()
        with pytest.raises(errors.ClientClosed):
            call.result(10)


def test_one_client_serves_several_event_loops(registry: FakeRegistry) -> None:
    aclient = AsyncClient(registry.server)
    asyncio.run(_created(aclient, "a"))
    asyncio.run(_created(aclient, "b"))
    assert set(registry.models) == {"a", "b"}


async def _created(aclient: AsyncClient, name: str) -> None:
    await aclient.create_model(name)
    await aclient.close() if name == "b" else None


async def test_a_task_that_is_cancelled_stays_cancelled(
    registry: FakeRegistry, aclient: AsyncClient
) -> None:
    await aclient.create_model("a")
    with registry.lock:
        task = asyncio.create_task(aclient.get_model("a"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_client_says_that_it_was_used_before_a_fork(client: Client) -> None:
    client.create_model("a")
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe()

    def child() -> None:
        try:
            client.get_model("a")
        except errors.ForkedProcess as error:
            sender.send(error.reason)
        os._exit(0)

    process = context.Process(target=child)
    process.start()
    assert receiver.poll(20)
    assert receiver.recv() == "FORKED_PROCESS"
    process.join()
    assert client.get_model("a").name == "a"


USED_IN_A_CHILD = """
import asyncio, os, sys
from herdbook import AsyncClient, Client

client = Client(sys.argv[1], cache=False)
aclient = AsyncClient(sys.argv[1], cache=False)
if os.fork() == 0:
    print(client.get_model("a").name, asyncio.run(aclient.get_model("a")).name, flush=True)
    os._exit(0)
os.wait()
print(client.get_model("a").name)
"""


def test_clients_that_were_not_used_before_a_fork_work_on_both_sides(
    registry: FakeRegistry, client: Client
) -> None:
    client.create_model("a")
    ran = subprocess.run(
        [sys.executable, "-c", USED_IN_A_CHILD, registry.server],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout.split() == ["a", "a", "a"], ran.stderr


async def test_files_travel_from_an_event_loop(
    registry: FakeRegistry, aclient: AsyncClient, tmp_path: Path
) -> None:
    source = tmp_path / "model"
    source.mkdir()
    (source / "weights").write_bytes(b"w" * 3_000_000)
    version = await aclient.push("m", source, metrics={"rmse": 1.5}, alias="champion")
    pulled = await aclient.pull("m:1", tmp_path / "out")
    assert (version.number, pulled.version) == (1, 1)
    assert (tmp_path / "out" / "weights").read_bytes() == b"w" * 3_000_000
    async with await aclient.open_file("m:1", "weights") as remote:
        await remote.seek(2_999_990)
        assert await remote.read() == b"w" * 10
    comparison = await aclient.compare(["m:1", "m:1"])
    assert not comparison.differences
    assert (await aclient.resolve("m:1")).reference == "m:1"


async def test_a_push_that_is_cancelled_stops(
    registry: FakeRegistry, aclient: AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "weights").write_bytes(b"w" * 1000)
    with registry.lock:
        task = asyncio.create_task(aclient.push("m", tmp_path / "weights"))
        await eventually(lambda: _threads("herdbook-transfer"), "the push is under way")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not registry.versions["m"]
    assert not _threads("herdbook-transfer")


async def test_a_read_that_is_cancelled_ends_though_the_server_hangs(
    registry: FakeRegistry, aclient: AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "weights").write_bytes(b"w" * 1000)
    await aclient.push("m", tmp_path / "weights", capture=False)
    async with await aclient.open_file("m:1", "weights") as remote:
        before = registry.calls["DownloadChunks"]
        with registry.lock:
            reading = asyncio.create_task(remote.read())
            await eventually(lambda: remote._cancel._actions, "the read is under way")
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(reading, 10)
        assert registry.calls["DownloadChunks"] <= before + 1
        with pytest.raises(errors.Cancelled):
            await remote.read()


def _threads(prefix: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(prefix)]


def test_a_version_by_reference_is_described_like_a_pushed_one(
    registry: FakeRegistry, client: Client
) -> None:
    client.register_reference("m", "s3://bucket/model", params={"depth": 3}, author="ann")
    stored = registry.versions["m"][0].version
    assert dict(stored.params) == {"depth": "3"}
    assert stored.author == "ann"
    assert stored.environment.packages["grpcio"]
    client.register_reference("m", "s3://bucket/model", capture=False)
    bare = registry.versions["m"][1].version
    assert not bare.author
    assert not bare.HasField("environment")
    assert not bare.HasField("lineage")
