from __future__ import annotations

import inspect

import pytest

from herdbook.live import AsyncLiveModel, LiveModel
from herdbook.live.options import LiveArguments

NAMES = sorted(
    {name for name in [*vars(LiveModel), *vars(AsyncLiveModel)] if not name.startswith("_")}
)


def parameters(function: object) -> list[inspect.Parameter]:
    assert callable(function)
    return list(inspect.signature(function).parameters.values())


@pytest.mark.parametrize("name", ["__init__", *NAMES])
def test_both_live_models_have_the_same_methods_arguments_and_words(name: str) -> None:
    threads, asyncio = getattr(LiveModel, name), getattr(AsyncLiveModel, name)
    assert parameters(threads) == parameters(asyncio)
    assert inspect.getdoc(threads) == inspect.getdoc(asyncio)


def test_there_is_something_to_compare() -> None:
    assert NAMES == ["close", "lease", "pin", "start"]


def test_the_typed_arguments_are_all_arguments() -> None:
    named = {each.name for each in parameters(LiveModel.__init__)}
    assert named - {"self", "reference", "loader"} == set(LiveArguments.__annotations__)
