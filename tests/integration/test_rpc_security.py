"""A server that asks who calls answers nobody else, and records who it was."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from herdbook.v1 import (
    alias_pb2,
    alias_pb2_grpc,
    artifact_pb2,
    artifact_pb2_grpc,
    event_pb2,
    event_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
    version_pb2,
)
from tests.support.certificates import Authority, Certificate
from tests.support.ports import LOOPBACK, free_port
from tests.support.server import Engines, ServerProcess
from tests.support.stubs import Stubs, refusal
from tests.support.waiting import wait_until

UNAUTHENTICATED = (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("alice milk\n")
    return path


@pytest.fixture
def guarded(
    embedded_engines: Engines, tmp_path: Path, tokens_file: Path
) -> Iterator[ServerProcess]:
    """A server that asks for tokens."""
    with ServerProcess(embedded_engines, tmp_path, tokens_file=str(tokens_file)) as server:
        yield server


def actor(channel: grpc.Channel, token: str | None = None) -> str:
    """Who the server takes the caller for."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    stub = server_pb2_grpc.ServerServiceStub(channel)
    return stub.GetServerInfo(server_pb2.GetServerInfoRequest(), metadata=metadata).actor


def test_a_call_is_answered_with_a_token_and_refused_without(guarded: ServerProcess) -> None:
    with grpc.insecure_channel(guarded.address) as channel:
        assert actor(channel, "milk") == "alice"
        for token in (None, "water"):
            with pytest.raises(grpc.RpcError) as caught:
                actor(channel, token)
            assert refusal(caught.value) == UNAUTHENTICATED


def test_streams_are_refused_without_a_token_as_well(guarded: ServerProcess) -> None:
    with grpc.insecure_channel(guarded.address) as channel:
        artifacts = artifact_pb2_grpc.ArtifactServiceStub(channel)
        aliases = alias_pb2_grpc.AliasServiceStub(channel)
        calls = [
            lambda: artifacts.UploadChunks(iter([artifact_pb2.UploadChunksRequest(model="m")])),
            lambda: list(artifacts.ReadFile(artifact_pb2.ReadFileRequest(reference="m"))),
            lambda: list(aliases.WatchAliases(alias_pb2.WatchAliasesRequest(references=["m"]))),
        ]
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert refusal(caught.value) == UNAUTHENTICATED


def test_health_is_answered_without_a_token(guarded: ServerProcess) -> None:
    with grpc.insecure_channel(guarded.address) as channel:
        response = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_a_write_records_whose_token_it_came_with(guarded: ServerProcess) -> None:
    metadata = [("authorization", "Bearer milk"), ("herdbook-actor", "mallory")]
    with Stubs(guarded.address) as stubs:
        request = artifact_pb2.WriteFileRequest(model="m", path="f", data=b"moo")
        file = stubs.artifacts.WriteFile(iter([request]), metadata=metadata).file
        assert file.path == "f"
        stubs.channel.unary_unary("/herdbook.v1.ModelService/CreateModel")(
            b"\x0a\x03\x0a\x01m", metadata=metadata
        )
        events = event_pb2_grpc.EventServiceStub(stubs.channel)
        listed = events.ListEvents(event_pb2.ListEventsRequest(), metadata=metadata).events
    assert [event.actor for event in listed] == ["alice"]


def test_tokens_change_without_a_restart(guarded: ServerProcess, tokens_file: Path) -> None:
    tokens_file.write_text("bob hay\n")
    guarded.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "tokens reloaded" in guarded.read_log(), "the server has the new tokens")
    with grpc.insecure_channel(guarded.address) as channel:
        assert actor(channel, "hay") == "bob"
        with pytest.raises(grpc.RpcError) as caught:
            actor(channel, "milk")
        assert refusal(caught.value) == UNAUTHENTICATED
        tokens_file.write_text("nonsense\n")
        guarded.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "tokens not reloaded" in guarded.read_log(), "the server refuses them")
        assert actor(channel, "hay") == "bob"


def test_a_watch_ends_when_its_token_is_taken_back(
    guarded: ServerProcess, tokens_file: Path
) -> None:
    tokens_file.write_text("alice milk\nbob hay\n")
    reload_tokens(guarded)
    with Stubs(guarded.address) as stubs:
        request = alias_pb2.WatchAliasesRequest(references=["m"])
        watches = {
            token: alias_pb2_grpc.AliasServiceStub(stubs.channel).WatchAliases(
                request, metadata=[("authorization", f"Bearer {token}")], timeout=60
            )
            for token in ("milk", "hay")
        }
        for watch in watches.values():
            assert next(watch).HasField("state")
            assert next(watch).bookmark.initial_done
        tokens_file.write_text("bob hay\n")
        reload_tokens(guarded)
        version = version_pb2.Version(model="m")
        stubs.versions.RegisterVersion(
            version_pb2.RegisterVersionRequest(version=version, source_uri="s3://barn/m"),
            metadata=[("authorization", "Bearer hay")],
        )
        assert next(watches["hay"]).state.resolution.version == 1
        with pytest.raises(grpc.RpcError) as caught:
            next(watches["milk"])
        assert refusal(caught.value) == UNAUTHENTICATED


def reload_tokens(server: ServerProcess) -> None:
    """Make the server read its tokens again, and wait until it has."""
    before = server.read_log().count("tokens reloaded")
    server.process.send_signal(signal.SIGHUP)
    wait_until(
        lambda: server.read_log().count("tokens reloaded") > before, "the server has the new tokens"
    )


def test_no_token_reaches_the_log(guarded: ServerProcess) -> None:
    with grpc.insecure_channel(guarded.address) as channel:
        actor(channel, "milk")
        with pytest.raises(grpc.RpcError):
            actor(channel, "swordfish")
    guarded.terminate()
    assert "swordfish" not in guarded.read_log()
    assert "milk" not in guarded.read_log()


def channel_by_tls(
    server: ServerProcess, authority: Authority, client: Certificate | None
) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(
        authority.certificate.read_bytes(),
        client and client.key.read_bytes(),
        client and client.certificate.read_bytes(),
    )
    return grpc.secure_channel(server.address, credentials)


def test_a_client_certificate_says_who_calls(embedded_engines: Engines, tmp_path: Path) -> None:
    authority, strangers = Authority(tmp_path), Authority(tmp_path, "strangers")
    own = authority.issue("server")
    settings = {
        "tls_cert": str(own.certificate),
        "tls_key": str(own.key),
        "tls_client_ca": str(authority.certificate),
    }
    with ServerProcess(embedded_engines, tmp_path, **settings) as server:
        with channel_by_tls(server, authority, authority.issue("barn.example")) as channel:
            assert actor(channel) == "barn.example"
        for stranger in (None, strangers.issue("stranger")):
            with channel_by_tls(server, authority, stranger) as channel:
                with pytest.raises(grpc.RpcError) as caught:
                    actor(channel)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_public_address_is_served_with_tls_and_tokens(
    embedded_engines: Engines, tmp_path: Path, tokens_file: Path
) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("server")
    port = free_port()
    server = ServerProcess(
        embedded_engines,
        tmp_path,
        listen=f"0.0.0.0:{port}",
        tls_cert=str(own.certificate),
        tls_key=str(own.key),
        tokens_file=str(tokens_file),
    )
    server.address = f"{LOOPBACK}:{port}"
    with server, channel_by_tls(server, authority, None) as channel:
        assert actor(channel, "milk") == "alice"
        with pytest.raises(grpc.RpcError) as caught:
            actor(channel)
        assert refusal(caught.value) == UNAUTHENTICATED


@pytest.mark.parametrize("broken", ["tls_cert", "tls_key", "tls_client_ca", "no pair"])
def test_a_key_or_certificate_that_cannot_be_used_is_named_at_start(
    embedded_engines: Engines, tmp_path: Path, broken: str
) -> None:
    authority = Authority(tmp_path)
    own, other = authority.issue("server"), authority.issue("other")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("moo\n")
    settings = {
        "tls_cert": str(own.certificate),
        "tls_key": str(own.key),
        "tls_client_ca": str(authority.certificate),
    }
    settings |= {"tls_key": str(other.key)} if broken == "no pair" else {broken: str(garbage)}
    server = ServerProcess(embedded_engines, tmp_path, **settings)
    server.launch()
    assert server.process.wait(60) == 1
    assert settings["tls_key" if broken == "no pair" else broken] in server.read_log()
    assert "cannot be used" in server.read_log()
