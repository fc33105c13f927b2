"""Conditions become SQL that engines can parse, and that means what Python does."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook_server.ports.queries import All, AnyOf, Comparison, Field, Not
from herdbook_server.storage.sql.conditions import Conditions, Parameters, compare
from herdbook_server.storage.sql.fields import VERSIONS
from herdbook_server.storage.sql.sqlite import bind
from tests.contract.search_oracle import OPERATORS

if TYPE_CHECKING:
    from herdbook_server.ports.queries import Condition

NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**70), 2**70, float("inf"), float("-inf")]),
    st.floats(-3, 3),
    st.sampled_from([1e300, -1e300, 0.5, -0.5]),
)


@given(
    st.one_of(st.integers(-3, 3), st.sampled_from([2**63 - 1, -(2**63) + 1])),
    st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
    NUMBERS,
)
def test_integers_compare_with_any_number(stored: int, operator: Any, value: float) -> None:
    parameters = Parameters()
    text = compare(parameters, "n", "integer", Comparison(Field("n"), operator, value))
    connection = sqlite3.connect(":memory:")
    row = connection.execute(
        f"SELECT {text} FROM (SELECT CAST({stored} AS INTEGER) AS n)",  # noqa: S608 - its own
        bind(parameters.values),
    ).fetchone()
    connection.close()
    assert bool(row[0]) == OPERATORS[operator](stored, value)


def nested(depth: int, *, left: bool) -> Condition:
    """Return a condition whose branches alternate between AND and OR."""
    leaf = Comparison(Field("metrics", "rmse"), "<", 1.0)
    condition: Condition = leaf
    for level in range(depth):
        parts = (condition, leaf) if left else (leaf, condition)
        condition = Not(All(parts)) if level % 2 else AnyOf(parts)
    return condition


@pytest.mark.parametrize("left", [True, False])
def test_deep_conditions_fit_the_stack_of_the_parser(left: bool) -> None:  # noqa: FBT001
    parameters = Parameters()
    text = Conditions(VERSIONS, parameters, "v.id").write(nested(60, left=left))
    assert "NOT ((" not in text
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE version_metrics (version_id, key, value)")
    connection.execute(
        f"SELECT 1 FROM (SELECT 1 AS id) v WHERE {text}",  # noqa: S608 - its own
        bind(parameters.values),
    ).fetchall()
    connection.close()


def test_wide_conditions_fit_the_depth_of_expressions() -> None:
    parts = tuple(Comparison(Field("number"), "=", number) for number in range(3000))
    parameters = Parameters()
    text = Conditions(VERSIONS, parameters, "v.id").write(AnyOf(parts))
    connection = sqlite3.connect(":memory:")
    query = f"SELECT 1 FROM (SELECT 2999 AS number) v WHERE {text}"  # noqa: S608 - the test's own
    assert connection.execute(query, bind(parameters.values)).fetchall() == [(1,)]
    connection.close()
