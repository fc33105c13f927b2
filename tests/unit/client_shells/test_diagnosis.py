"""A server of which only some addresses answer, and refuse: what the client says of it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from herdbook import TLS, AsyncClient, Client, EncryptionMismatch, Unavailable
from herdbook.errors import ErrorDetails
from herdbook.transport.connection import Connection
from herdbook.transport.diagnosis import explained
from tests.support.certificates import Authority, Certificate
from tests.support.fake_registry import FakeRegistry


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("trusted"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("strange"))


def credentials(made: Certificate, *, callers: Authority | None = None) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(made.key.read_bytes(), made.certificate.read_bytes())],
        root_certificates=callers.certificate.read_bytes() if callers else None,
        require_client_auth=callers is not None,
    )


def at_localhost(registry: FakeRegistry) -> str:
    """Names the server by a name that has another address, too, where nothing listens."""
    return registry.server.replace("127.0.0.1", "localhost")


def told(registry: FakeRegistry, tls: TLS | None) -> str:
    error = explained(Unavailable("Refused."), Connection(at_localhost(registry), tls=tls))
    return str(error) if isinstance(error, EncryptionMismatch) else ""


@pytest.fixture
def plain() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def encrypted(authority: Authority) -> Iterator[FakeRegistry]:
    with FakeRegistry(credentials(authority.issue("server"))) as registry:
        yield registry


def test_a_server_in_the_clear_is_told_from_one_that_is_away(
    plain: FakeRegistry, authority: Authority
) -> None:
    assert "127.0.0.1, but it does not speak TLS" in told(plain, TLS(ca=authority.certificate))


def test_a_server_that_encrypts_is_told_from_one_that_is_away(encrypted: FakeRegistry) -> None:
    assert "127.0.0.1, but it speaks TLS" in told(encrypted, None)


def test_an_authority_that_is_not_trusted_is_to_blame(
    encrypted: FakeRegistry, stranger: Authority
) -> None:
    assert "its certificate is not trusted" in told(encrypted, TLS(ca=stranger.certificate))


def test_a_certificate_for_another_name_is_to_blame(authority: Authority) -> None:
    with FakeRegistry(credentials(authority.issue("elsewhere"))) as registry:
        assert "not for the name localhost" in told(registry, TLS(ca=authority.certificate))


def test_a_server_that_hangs_up_may_want_a_certificate_or_be_back_in_a_moment(
    authority: Authority,
) -> None:
    server = credentials(authority.issue("server"), callers=authority)
    own = authority.issue("caller")
    with FakeRegistry(server) as registry:
        connection = Connection(at_localhost(registry), tls=TLS(ca=authority.certificate))
        error = explained(Unavailable("Refused."), connection)
        assert "this client's certificate" in str(error)
        assert type(error) is Unavailable
        proof = TLS(ca=authority.certificate, cert=own.certificate, key=own.key)
        assert told(registry, proof) == ""


def test_sides_that_agree_are_not_to_blame(
    plain: FakeRegistry, encrypted: FakeRegistry, authority: Authority
) -> None:
    assert told(plain, None) == ""
    assert told(encrypted, TLS(ca=authority.certificate)) == ""


@pytest.mark.parametrize("target", ["unix:/nowhere", "dns:///localhost:1", "localhost", "x..y:1"])
def test_what_cannot_be_looked_into_is_left_as_it_is(target: str) -> None:
    error = Unavailable("Away.")
    assert explained(error, Connection(target)) is error


def test_a_refusal_of_the_server_itself_is_left_as_it_is(encrypted: FakeRegistry) -> None:
    error = Unavailable("Later.", details=ErrorDetails(reason="SOME_LATER_REASON"))
    assert explained(error, Connection(at_localhost(encrypted))) is error


def test_nothing_that_listens_is_nobody_to_blame() -> None:
    error = Unavailable("Away.")
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        assert explained(error, Connection(f"localhost:{bound.getsockname()[1]}")) is error


FIRST_CALLS: dict[str, Callable[[Client, Path], object]] = {
    "call": lambda client, _: client.create_model("m"),
    "list": lambda client, _: list(client.list_models()),
    "watch": lambda client, _: next(iter(client.watch("m@a"))),
    "pull": lambda client, home: client.pull("m:1", home / "pulled"),
    "push": lambda client, home: client.push("m", home),
}


@pytest.mark.parametrize("call", FIRST_CALLS.values(), ids=FIRST_CALLS.keys())
def test_every_first_call_says_it(
    encrypted: FakeRegistry, tmp_path: Path, call: Callable[[Client, Path], object]
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    with (
        Client(at_localhost(encrypted)) as client,
        pytest.raises(EncryptionMismatch, match=r"127\.0\.0\.1, but it speaks TLS"),
    ):
        call(client, tmp_path)


async def test_a_first_call_says_it_in_an_event_loop(encrypted: FakeRegistry) -> None:
    async with AsyncClient(at_localhost(encrypted)) as client:
        with pytest.raises(EncryptionMismatch):
            await client.create_model("m")
        states: AsyncIterator[object] = client.watch("m@a")
        with pytest.raises(EncryptionMismatch):
            await anext(states)
