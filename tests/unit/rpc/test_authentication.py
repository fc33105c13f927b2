"""Who calls is known by token or certificate, and only taken on trust where nobody asks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from herdbook_server.errors import Unauthenticated
from herdbook_server.rpc.authentication import Authentication, Tokens, TokensInvalid
from herdbook_server.rpc.calls import Call


class Context:
    """What authentication asks of a call's context."""

    def __init__(self, auth: Mapping[str, list[bytes]]) -> None:
        self._auth = auth

    def peer(self) -> str:
        return "ipv6:%5B::1%5D:50312"

    def auth_context(self) -> Mapping[str, list[bytes]]:
        return self._auth


def call(
    method: str = "/herdbook.v1.ModelService/GetModel",
    *,
    auth: Mapping[str, list[bytes]] | None = None,
    **metadata: str,
) -> Call:
    keys = {key.replace("_", "-"): value for key, value in metadata.items()}
    return Call(method, Context(auth or {}), keys, "id")


async def actor(authentication: Authentication, made: Call) -> str:
    async with authentication.around(made):
        return made.actor


def tokens(path: Path, text: str) -> Tokens:
    path.write_text(text, encoding="utf-8")
    return Tokens.read(path)


@pytest.fixture
def with_tokens(tmp_path: Path) -> Authentication:
    hashed = hashlib.sha256(b"hay").hexdigest()
    lines = f"# who may\nalice milk\n\nbob sha256:{hashed}\n"
    return Authentication(tokens(tmp_path / "tokens", lines), client_certificates=False)


@pytest.mark.parametrize(("token", "name"), [("milk", "alice"), ("hay", "bob")])
async def test_a_token_tells_who_calls(with_tokens, token: str, name: str) -> None:
    assert await actor(with_tokens, call(authorization=f"Bearer {token}")) == name


@pytest.mark.parametrize(
    "header", ["Bearer straw", "Bearer ", "Basic milk", "milk", "Bearer sha256:", "Bearer MILK"]
)
async def test_an_unknown_token_is_refused(with_tokens, header: str) -> None:
    with pytest.raises(Unauthenticated):
        await actor(with_tokens, call(authorization=header))


async def test_a_call_without_token_is_refused_whoever_it_says_it_is(with_tokens) -> None:
    with pytest.raises(Unauthenticated):
        await actor(with_tokens, call(herdbook_actor="alice"))


async def test_health_is_answered_to_everybody(with_tokens) -> None:
    assert await actor(with_tokens, call("/grpc.health.v1.Health/Check")) == "anonymous"


async def test_a_method_that_only_looks_like_health_is_not_open(with_tokens) -> None:
    with pytest.raises(Unauthenticated):
        await actor(with_tokens, call("/herdbook.v1.Health/grpc.health.v1.Health/Check"))


async def test_without_authentication_callers_are_marked_as_anonymous() -> None:
    nobody = Authentication(None, client_certificates=False)
    assert await actor(nobody, call(herdbook_actor="alice@barn")) == "anonymous:alice@barn"
    assert await actor(nobody, call(herdbook_actor="J%C3%B6rg")) == "anonymous:Jörg"
    assert await actor(nobody, call(herdbook_actor="%00%0A")) == "anonymous:[::1]"
    assert await actor(nobody, call()) == "anonymous:[::1]"
    assert len(await actor(nobody, call(herdbook_actor="x" * 9999))) < 256


async def test_a_client_certificate_tells_who_calls() -> None:
    certificates = Authentication(None, client_certificates=True)
    made = call(auth={"x509_common_name": [b"barn.example"]}, herdbook_actor="alice")
    assert await actor(certificates, made) == "barn.example"
    with pytest.raises(Unauthenticated):
        await actor(certificates, call(herdbook_actor="alice"))


@pytest.mark.parametrize(
    "line", ["alice", "alice milk hay", "alice sha256:abc", "anonymous:alice milk"]
)
def test_a_tokens_file_with_a_bad_line_is_refused_by_its_number(tmp_path: Path, line: str) -> None:
    with pytest.raises(TokensInvalid, match="line 2"):
        tokens(tmp_path / "tokens", f"bob hay\n{line}\n")


def test_a_tokens_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokensInvalid, match="cannot be read"):
        Tokens.read(tmp_path / "none")
