"""Replicas of one reference, as tasks: `python -m tests.faults.fleet_members TARGET COUNT FAILING`.

Each watches by itself and reports that it serves what the reference names. The first FAILING of
them report of every version but the first why they do not.
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid

from herdbook import ReferenceState
from herdbook.core.operations.fleet import report_replica
from herdbook.core.values import Bookmark, Replica, ReplicaReport, ReplicaState, Resolution
from herdbook.core.watching import Watch
from herdbook.errors import HerdbookError
from herdbook.transport.aio_caller import AioCaller
from herdbook.transport.aio_watcher import follow
from herdbook.transport.connection import Connection

REFERENCE = "fraud/tc@champion"
REPORT_RETRY_SECONDS = 1.0


class Member:
    """One replica."""

    def __init__(self, caller: AioCaller, number: int, *, fails: bool) -> None:
        self._caller = caller
        self._replica = Replica(str(uuid.uuid4()), "loopback", f"member-{os.getpid()}-{number}")
        self._fails = fails
        self._serving: Resolution | None = None
        self._said: ReplicaReport | None = None

    async def run(self) -> None:
        """Follow the reference for ever; say it again after each break."""
        async for update in follow(self._caller, Watch.of(REFERENCE, replica=self._replica)):
            match update:
                case ReferenceState(resolution=Resolution() as resolution):
                    self._said = self._report(resolution)
                    await self._say()
                case Bookmark(initial_done=True):
                    await self._say()

    def _report(self, resolution: Resolution) -> ReplicaReport:
        failed = self._fails and self._serving is not None
        if not failed:
            self._serving = resolution
        return ReplicaReport(
            self._replica,
            REFERENCE,
            ReplicaState.FAILED if failed else ReplicaState.SERVING,
            version=resolution.version,
            serving_version=self._serving.version if self._serving else None,
            failure=f"{self._replica.name} has no such layer" if failed else "",
        )

    async def _say(self) -> None:
        while self._said is not None:
            try:
                await self._caller.call(report_replica(self._said))
                return
            except HerdbookError:
                await self._caller.wait(REPORT_RETRY_SECONDS)


async def main(target: str, count: int, failing: int) -> None:
    """Run so many replicas until the process is ended."""
    caller = AioCaller(Connection.configured(target))
    members = [Member(caller, number, fails=number < failing) for number in range(count)]
    await asyncio.gather(*(member.run() for member in members))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
