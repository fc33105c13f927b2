"""The layer that tells who calls."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from herdbook_server.errors import Unauthenticated
from herdbook_server.rpc.calls import Call

ACTOR_KEY = "herdbook-actor"
AUTHORIZATION_KEY = "authorization"
ANONYMOUS = "anonymous"

_OPEN_TO_ALL = ("/grpc.health.v1.Health/",)
_ACTOR_MAX_CHARACTERS = 200
_HASHED = re.compile(r"sha256:([0-9a-f]{64})")


class TokensInvalid(Exception):
    """A tokens file cannot be used; the sentence says where and why."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Which bearer token is whose, by the SHA-256 of the token."""

    actors: Mapping[bytes, str]

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """Read a file of lines `ACTOR TOKEN` or `ACTOR sha256:HEX`; `#` starts a comment line.

        Raises:
            TokensInvalid: The file cannot be read, or a line has another form.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise TokensInvalid(f"The tokens file {path} cannot be read: {error}") from error
        entries = [
            _entry(line, where=f"{path}, line {number}")
            for number, line in enumerate(lines, start=1)
            if line.strip() and not line.lstrip().startswith("#")
        ]
        return cls(dict(entries))

    def actor(self, token: str) -> str | None:
        """Return whose token this is."""
        return self.actors.get(hashlib.sha256(token.encode()).digest())


class Authentication:
    """Finds out who calls: by bearer token, else by client certificate.

    Where neither is asked for, callers are taken for who they say they are, and marked as
    anonymous. Health is answered to everybody.
    """

    def __init__(self, tokens: Tokens | None, *, client_certificates: bool) -> None:
        self.tokens = tokens
        """May be replaced while the server runs."""
        self._client_certificates = client_certificates

    @property
    def required(self) -> bool:
        """Whether callers must prove who they are."""
        return self.tokens is not None or self._client_certificates

    def around(self, call: Call) -> AbstractAsyncContextManager[None]:
        """Refuse the call unless it is known who calls."""
        if call.method.startswith(_OPEN_TO_ALL):
            call.actor = ANONYMOUS
        else:
            call.actor = self._identify(call)
            call.check_caller = partial(self._identify_again, call, self.tokens)
        return nullcontext()

    def _identify(self, call: Call) -> str:
        if not self.required:
            return f"{ANONYMOUS}:{_claimed(call)}"
        actor = self._by_token(call)
        if actor is None and self._client_certificates:
            actor = _by_certificate(call)
        if actor is None:
            raise Unauthenticated("The call brought no credentials: send a bearer token.")
        return actor

    def _identify_again(self, call: Call, tokens: Tokens | None) -> None:
        """Refuse a call whose token was taken back, or given to another, since it began."""
        if self.tokens is not tokens and self._identify(call) != call.actor:
            raise Unauthenticated("The bearer token is somebody else's now.")

    def _by_token(self, call: Call) -> str | None:
        header = call.metadata.get(AUTHORIZATION_KEY)
        if self.tokens is None or header is None:
            return None
        scheme, _, token = header.partition(" ")
        actor = self.tokens.actor(token.strip()) if scheme.lower() == "bearer" else None
        if actor is None:
            raise Unauthenticated("The bearer token is not known here.")
        return actor


def _entry(line: str, *, where: str) -> tuple[bytes, str]:
    words = line.split()
    if len(words) != 2:  # noqa: PLR2004 - the form that the message spells out
        raise TokensInvalid(f"{where}: expected `ACTOR TOKEN` or `ACTOR sha256:HEX`.")
    actor, token = words
    if actor.startswith(ANONYMOUS):
        raise TokensInvalid(f"{where}: an actor's name does not start with `{ANONYMOUS}`.")
    if token.startswith("sha256:"):
        hashed = _HASHED.fullmatch(token)
        if hashed is None:
            raise TokensInvalid(f"{where}: `sha256:` is followed by 64 lower-case hex digits.")
        return bytes.fromhex(hashed[1]), actor
    return hashlib.sha256(token.encode()).digest(), actor


def _claimed(call: Call) -> str:
    """Return who the caller says it is, or else where it calls from."""
    claimed = unquote(call.metadata.get(ACTOR_KEY, ""), errors="replace")
    printable = "".join(character for character in claimed if character.isprintable()).strip()
    return printable[:_ACTOR_MAX_CHARACTERS] or _host(call.context.peer())


def _host(peer: str) -> str:
    """Return the address in what gRPC calls a peer, such as `ipv4:127.0.0.1:50312`."""
    address = unquote(peer).partition(":")[2]
    return address.rpartition(":")[0] or peer


def _by_certificate(call: Call) -> str | None:
    """Return the subject of the client's certificate, which TLS has verified."""
    verified = call.context.auth_context()
    for key in ("x509_subject_alternative_name", "x509_common_name"):
        for name in verified.get(key, ()):
            return name.decode("utf-8", "replace")[:_ACTOR_MAX_CHARACTERS]
    return None
