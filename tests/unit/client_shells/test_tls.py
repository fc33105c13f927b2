from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from herdbook import TLS, AsyncClient, Client, FieldInvalid, Unavailable
from tests.support.fake_registry import FakeRegistry


@dataclass(frozen=True)
class Files:
    """A certificate that vouches for itself, and its key."""

    cert: Path
    key: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    home = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "herdbook")])
    now = dt.datetime.now(dt.UTC)
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (home / "cert.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    (home / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return Files(home / "cert.pem", home / "key.pem")


def credentials(files: Files, *, mutual: bool = False) -> grpc.ServerCredentials:
    cert = files.cert.read_bytes()
    return grpc.ssl_server_credentials(
        [(files.key.read_bytes(), cert)],
        root_certificates=cert if mutual else None,
        require_client_auth=mutual,
    )


def test_a_server_is_trusted_by_its_authority(files: Files) -> None:
    with FakeRegistry(credentials(files)) as registry:
        with Client(registry.server, tls=TLS(ca=files.cert), token="secret") as client:
            client.create_model("a")
        assert registry.metadata["authorization"] == "Bearer secret"


async def test_a_server_is_trusted_by_its_authority_in_an_event_loop(files: Files) -> None:
    with FakeRegistry(credentials(files)) as registry:
        async with AsyncClient(registry.server, tls=TLS(ca=files.cert)) as client:
            await client.create_model("a")
        assert "a" in registry.models


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
def test_a_file_that_holds_something_else_is_named(files: Files, tmp_path: Path, name: str) -> None:
    other = tmp_path / "tokens.txt"
    other.write_text("alice secret")
    sound = {"ca": files.cert, "cert": files.cert, "key": files.key}
    with (
        pytest.raises(FieldInvalid, match=r"tokens\.txt holds no"),
        Client("localhost:1", tls=TLS(**sound | {name: other})) as client,
    ):
        client.create_model("a")


def refused(registry: FakeRegistry, *, tls: TLS | bool) -> bool:
    with Client(registry.server, tls=tls, timeout_seconds=1) as client:
        try:
            client.create_model("refused")
        except Unavailable:
            return True
    return False


def test_a_server_that_nobody_vouches_for_is_not_talked_to(files: Files) -> None:
    with FakeRegistry(credentials(files)) as registry:
        assert refused(registry, tls=True)
        assert not registry.calls


def test_a_client_proves_who_it_is(files: Files) -> None:
    own = TLS(ca=files.cert, cert=files.cert, key=files.key)
    with FakeRegistry(credentials(files, mutual=True)) as registry:
        with Client(registry.server, tls=own) as client:
            client.create_model("a")
        assert refused(registry, tls=TLS(ca=files.cert))
        assert set(registry.models) == {"a"}


def test_files_are_found_in_the_environment(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERDBOOK_TLS_CA", str(files.cert))
    with FakeRegistry(credentials(files)) as registry, Client(registry.server) as client:
        client.create_model("a")


def test_what_this_machine_trusts_is_trusted(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files.cert))
    monkeypatch.delenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", raising=False)
    with FakeRegistry(credentials(files)) as registry:
        with Client(registry.server, tls=True) as client:
            client.create_model("a")
        assert "a" in registry.models


def test_half_a_proof_is_refused(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FieldInvalid, match="go together"):
        TLS(cert=files.cert)
    monkeypatch.setenv("HERDBOOK_CLIENT_KEY", str(files.key))
    with pytest.raises(FieldInvalid, match="go together"):
        Client()
