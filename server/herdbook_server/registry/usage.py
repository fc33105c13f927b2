"""What stands in the way of a deletion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from herdbook_server.errors import UnmetCondition
from herdbook_server.ports.records import Records
from herdbook_server.ports.references import ByAlias
from herdbook_server.ports.values import Alias, ReplicaReport

USES_LISTED_MAX = 100
"""Aliases, and replicas, that one refusal lists."""


async def uses_of_model(records: Records, model: str, *, now_us: int) -> list[UnmetCondition]:
    """Aliases of a model, and live replicas that serve any of its versions."""
    aliases = await records.aliases.of_model(model, limit=USES_LISTED_MAX)
    replicas = await records.replicas.serving(model, None, now_us=now_us)
    return _conditions(aliases, replicas)


async def uses_of_version(
    records: Records, model: str, number: int, *, now_us: int
) -> list[UnmetCondition]:
    """Aliases that point at a version, and live replicas that serve it."""
    aliases = await records.aliases.of_version(model, number)
    replicas = await records.replicas.serving(model, number, now_us=now_us)
    return _conditions(aliases[:USES_LISTED_MAX], replicas)


def summary(uses: Sequence[UnmetCondition]) -> str:
    """The uses in a few words."""
    first = f"{uses[0].type} {uses[0].subject} {uses[0].description}"
    return first if len(uses) == 1 else f"{first}, and {len(uses) - 1} more"


def _conditions(
    aliases: Iterable[Alias], replicas: Iterable[ReplicaReport]
) -> list[UnmetCondition]:
    pointing = [
        UnmetCondition(
            "alias", str(ByAlias(alias.model, alias.alias)), f"points at version {alias.version}"
        )
        for alias in aliases
    ]
    serving = [
        UnmetCondition(
            "replica",
            report.name or report.replica_id,
            f"serves version {report.serving_version} as {report.reference}",
        )
        for report in replicas
    ]
    return pointing + serving
