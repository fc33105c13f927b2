"""A real S3 endpoint for tests, and a fresh bucket for each test that asks.

The endpoint is the one `HERDBOOK_TEST_S3_ENDPOINT` names (with credentials and region the AWS way),
else versitygw from PATH or `.tools/bin`, else moto's server.
`HERDBOOK_TEST_S3_SERVER` overrides which server is started: `versitygw` or `moto`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from tests.support.ports import LOOPBACK, accepts_connections, free_port
from tests.support.processes import running

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

TOOLS = Path(__file__).resolve().parents[2] / ".tools" / "bin"


@dataclass(frozen=True, slots=True)
class S3Endpoint:
    """Where an S3 server is and what it takes to use it."""

    endpoint_url: str
    access_key_id: str = "herdbook-access"
    secret_access_key: str = "herdbook-secret"
    region: str = "us-east-1"

    def client(self) -> S3Client:
        """Return a boto3 client, to set up and to inspect without the code under test."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name=self.region,
        )

    def environment(self) -> dict[str, str]:
        """Return the variables that make AWS libraries, and so our server, use this endpoint."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[S3Endpoint]:
    """An S3 endpoint that lasts as long as the test session."""
    given = os.environ.get("HERDBOOK_TEST_S3_ENDPOINT")
    if given:
        yield endpoint_from_environment(given)
        return
    with running_s3() as endpoint:
        yield endpoint


@pytest.fixture
def s3_bucket(s3_endpoint: S3Endpoint) -> Iterator[str]:
    """The name of an empty bucket, removed with everything in it when the test ends."""
    name = f"herdbook-test-{uuid.uuid4().hex}"
    s3_endpoint.client().create_bucket(Bucket=name)
    yield name
    remove_bucket(s3_endpoint.client(), name)


def remove_bucket(client: S3Client, name: str) -> None:
    """Delete the bucket and its objects; a bucket that a test deleted already is fine."""
    with contextlib.suppress(client.exceptions.NoSuchBucket):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            for item in page.get("Contents", ()):
                client.delete_object(Bucket=name, Key=item["Key"])
        client.delete_bucket(Bucket=name)


def endpoint_from_environment(endpoint_url: str) -> S3Endpoint:
    """Return the endpoint that the AWS variables describe."""
    return S3Endpoint(
        endpoint_url,
        access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region=os.environ.get("AWS_REGION", "us-east-1"),
    )


@contextlib.contextmanager
def running_s3() -> Iterator[S3Endpoint]:
    """Run an S3 server of one's own until the block ends.

    Raises:
        LookupError: versitygw is asked for and not installed.
    """
    port = free_port()
    endpoint = S3Endpoint(f"http://{LOOPBACK}:{port}")
    with tempfile.TemporaryDirectory(prefix="herdbook-s3-") as name:
        home = Path(name)
        command = server_command(home, port)
        env = os.environ | server_environment(endpoint)
        ready = lambda: accepts_connections(port)  # noqa: E731 - a sentence in the call below
        with running(command, ready=ready, log=home / "server.log", env=env):
            yield endpoint


def server_command(home: Path, port: int) -> list[str | Path]:
    """Return what starts the chosen S3 server."""
    choice = os.environ.get("HERDBOOK_TEST_S3_SERVER", "")
    if choice not in {"", "moto", "versitygw"}:
        raise LookupError(f"no S3 server is called {choice}")
    gateway = None if choice == "moto" else find_versitygw()
    if gateway:
        return versitygw_command(gateway, home, port)
    if choice == "versitygw":
        raise LookupError("versitygw is neither on PATH nor in .tools/bin")
    return [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)]


def verifies_signatures() -> bool:
    """Tell whether the server that the tests use verifies what is signed; moto's does not."""
    if os.environ.get("HERDBOOK_TEST_S3_ENDPOINT"):
        return True
    return os.environ.get("HERDBOOK_TEST_S3_SERVER") != "moto" and find_versitygw() is not None


def find_versitygw() -> str | None:
    """Return the path of versitygw, if it is installed."""
    return shutil.which("versitygw") or shutil.which("versitygw", path=str(TOOLS))


def versitygw_command(gateway: str, home: Path, port: int) -> list[str | Path]:
    """Return what starts versitygw on a directory.

    Metadata goes beside the objects, as not every file system has extended attributes.
    """
    objects, metadata = home / "objects", home / "metadata"
    objects.mkdir()
    metadata.mkdir()
    address = f"{LOOPBACK}:{port}"
    return [gateway, "--quiet", "--port", address, "posix", "--sidecar", metadata, objects]


def server_environment(endpoint: S3Endpoint) -> dict[str, str]:
    """Return the variables from which versitygw takes its root account."""
    return {
        "ROOT_ACCESS_KEY": endpoint.access_key_id,
        "ROOT_SECRET_KEY": endpoint.secret_access_key,
        "VGW_REGION": endpoint.region,
    }
