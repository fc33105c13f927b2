"""The two clients are one: same names, same arguments, same words."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from herdbook import AsyncClient, Client

DELIVERED = {
    *("create_model", "get_model", "list_models", "update_model", "delete_model", "restore_model"),
    *("push", "register_reference", "get_version", "list_versions", "update_version"),
    *("delete_version", "restore_version", "set_stage", "set_tag", "delete_tag", "set_alias"),
    *("rollback_alias", "delete_alias", "list_aliases", "alias_history", "resolve", "pull"),
    *("open_file", "get_manifest", "compare", "watch", "list_events", "get_convergence"),
    *("list_replicas", "report_replica", "get_server_info", "collect_garbage", "close", "server"),
    *("verify", "verify_copy"),
}


def public(kind: type) -> list[str]:
    return sorted(name for name in dir(kind) if not name.startswith("_"))


def methods() -> list[str]:
    return [name for name in public(Client) if callable(getattr(Client, name))]


def returned(method: Callable[..., Any]) -> str:
    return str(inspect.signature(method).return_annotation)


def test_both_clients_have_what_was_promised() -> None:
    assert public(Client) == public(AsyncClient) == sorted(DELIVERED)


@pytest.mark.parametrize("name", [*methods(), "__init__"])
def test_a_method_has_the_same_arguments_in_both(name: str) -> None:
    one, other = (inspect.signature(getattr(kind, name)) for kind in (Client, AsyncClient))
    assert list(one.parameters.values()) == list(other.parameters.values())


@pytest.mark.parametrize("name", [*methods(), "__init__", "server"])
def test_a_method_has_the_same_words_in_both(name: str) -> None:
    words = inspect.getdoc(getattr(Client, name))
    assert words
    assert words == inspect.getdoc(getattr(AsyncClient, name))


@pytest.mark.parametrize("name", methods())
def test_a_method_gives_the_same_in_both(name: str) -> None:
    one, other = returned(getattr(Client, name)), returned(getattr(AsyncClient, name))
    twins = {"io.BufferedReader": "AsyncRemoteFile"}
    assert twins.get(one, re.sub(r"^Iterator", "AsyncIterator", one)) == other


@pytest.mark.parametrize("name", methods())
def test_what_is_awaited_gives_one_thing_and_what_is_iterated_gives_many(name: str) -> None:
    many = returned(getattr(Client, name)).startswith("Iterator")
    assert inspect.iscoroutinefunction(getattr(AsyncClient, name)) == (not many)
