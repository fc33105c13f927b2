from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

import herdbook
from herdbook import errors

IMPORT = "import sys, herdbook; print(*sorted(name.partition('.')[0] for name in sys.modules))"


@pytest.mark.parametrize("name", herdbook.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(herdbook, name) is not None


def test_every_error_is_a_public_name() -> None:
    assert {error.__name__ for error in errors.BY_REASON.values()} <= set(herdbook.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        _ = herdbook.Nope


def test_importing_the_package_loads_no_grpc() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, check=True, text=True
    ).stdout.split()
    assert "herdbook" in loaded
    assert not {"grpc", "google", "asyncio"} & set(loaded)


def test_public_classes_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(herdbook.VersionNotFound)) is herdbook.VersionNotFound  # noqa: S301
