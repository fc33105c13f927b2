"""The wheel without extras is enough for a client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.light_install import LightInstall
from tests.support.server import Engines, ServerProcess

LIGHT = {
    "googleapis-common-protos",
    "grpcio",
    "grpcio-status",
    "herdbook",
    "protobuf",
    "typing-extensions",
}

IMPORT = """
import herdbook
herdbook.Client, herdbook.AsyncClient, herdbook.LiveModel
print(herdbook.__file__)
"""

USE = """
import sys, pathlib, herdbook
address, home = sys.argv[1], pathlib.Path(sys.argv[2])
(home / "model.bin").write_bytes(b"moo")
with herdbook.Client(address, cache=False) as client:
    version = client.push("dairy/yield", home / "model.bin", alias="champion")
    pulled = client.pull("dairy/yield@champion", home / "pulled")
    print(version.number, pulled.version, (pulled.path / "model.bin").read_text())
"""


@pytest.fixture(scope="module")
def light_install(tmp_path_factory: pytest.TempPathFactory) -> LightInstall:
    return LightInstall.make(tmp_path_factory.mktemp("light"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    engines = Engines("sqlite+local", {"data": str(tmp_path / "data")}, {})
    with ServerProcess(engines, tmp_path) as process:
        yield process.address


def test_nothing_but_grpc_and_protobuf_comes_along(light_install: LightInstall) -> None:
    assert set(light_install.distributions()) == LIGHT


def test_the_client_imports_from_the_wheel(light_install: LightInstall) -> None:
    imported_from = Path(light_install.run("-c", IMPORT).strip())
    assert imported_from.is_relative_to(light_install.python.parents[1])


def test_the_client_pushes_to_a_server_and_pulls(
    light_install: LightInstall, server: str, tmp_path: Path
) -> None:
    assert light_install.run("-c", USE, server, str(tmp_path)) == "1 1 moo\n"
