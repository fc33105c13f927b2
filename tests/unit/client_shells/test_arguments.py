"""Arguments that no message can carry are refused before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from herdbook import Client, Lineage, Signature, TensorSpec
from herdbook.errors import FieldInvalid

NOWHERE = "localhost:1"
HUGE = 2**70
NOT_TEXT = "a\udcff"


def registers(client: Client, **arguments: object) -> object:
    return client.register_reference("m", "s3://b/x", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.set_alias("m", "c", 2**40),
        lambda client: next(client.list_versions("m", page_size=2**40)),
        lambda client: client.create_model("m", description=NOT_TEXT),
        lambda client: client.set_tag("m", "k", NOT_TEXT),
        lambda client: client.update_model("m", description="", expect_revision=HUGE),
        lambda client: client.collect_garbage(grace_seconds=math.inf),
        lambda client: registers(client, author=NOT_TEXT),
        lambda client: registers(client, metrics={"a": 10**400}),
        lambda client: registers(client, lineage=Lineage(training_seconds=math.nan)),
        lambda client: registers(client, lineage=Lineage(training_seconds=1e30)),
        lambda client: registers(
            client, signature=Signature(inputs=(TensorSpec("x", "f", (HUGE,)),))
        ),
        lambda client: client.push("m", Path(__file__), description=NOT_TEXT),
    ],
)
def test_what_cannot_be_sent_is_refused(call: Callable[[Client], object]) -> None:
    with Client(NOWHERE, timeout_seconds=1) as client, pytest.raises(FieldInvalid):
        call(client)
