"""Aliases: set, roll back, delete, list, and the history of their moves."""

from __future__ import annotations

from contextlib import suppress

from herdbook_server.errors import RequestIdReused
from herdbook_server.ports.clock import Clock
from herdbook_server.ports.database import Database
from herdbook_server.ports.records import Records
from herdbook_server.ports.references import ByNumber
from herdbook_server.ports.values import JSON, Alias, AliasMove
from herdbook_server.registry import rules
from herdbook_server.registry.alias_moves import (
    AliasChange,
    check_expected,
    moved_alias,
    point_alias,
    remove_alias,
    roll_back_alias,
)
from herdbook_server.registry.callers import Caller
from herdbook_server.registry.lookup import existing_model, missing_alias, resolve
from herdbook_server.registry.pages import Listing, Page, cut, page_limit, token_refused
from herdbook_server.registry.requests import Request, retriable
from herdbook_server.registry.sizes import fitting, move_size_bytes
from herdbook_server.registry.writing import Write, writing

__all__ = ["AliasChange", "AliasRegistry"]


class AliasRegistry:
    """The aliases of the record. Every move is one transaction, one revision, one event."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def set(
        self,
        caller: Caller,
        model: str,
        alias: str,
        version: int,
        *,
        expected_version: int | None = None,
        reason: str = "",
        request_id: str | None = None,
    ) -> AliasChange:
        """Points an alias at a version, creating it if need be.

        Setting it to where it points succeeds and notes nothing. A retry with the same request id
        returns the first answer, even if the alias has moved since.

        Raises:
            AliasMoved: It does not point at the expected version; 0 expects that it does not exist.
            ModelNotFound, VersionNotFound: There is nothing to point at.
            AliasInvalid, NameInvalid, FieldInvalid, RequestIdReused: The request is wrong.
        """
        _check_names(model, alias, expected_version, reason)
        rules.check_number(version, field="version")
        request = retriable(
            caller,
            "SetAlias",
            request_id=request_id,
            asked=[model, alias, version, expected_version, reason],
        )
        async with writing(self._database, self._clock, caller=caller, reason=reason) as write:
            answer = await request.first_answer(write.records)
            if answer is not None:
                return await _answered(write.records, answer)
            await existing_model(write.records, model)
            await resolve(write.records, ByNumber(model, version))
            change = await point_alias(
                write, model, alias, version=version, expected_version=expected_version
            )
            await _remember(write.records, request, change, time_us=write.time_us)
        if not write.events:
            await self._remember_unchanged(request, change)
        return change

    async def rollback(
        self,
        caller: Caller,
        model: str,
        alias: str,
        *,
        expected_version: int | None = None,
        reason: str = "",
        request_id: str | None = None,
    ) -> AliasChange:
        """Points an alias at what it pointed at before; again, at what it pointed at before that.

        A retry with the same request id returns the first answer.

        Raises:
            AliasNotFound, ModelNotFound: There is nothing to roll back.
            AliasMoved: It does not point at the expected version.
            NoPreviousVersion: It pointed at nothing before.
            VersionDeleted: The version it pointed at before is deleted.
        """
        _check_names(model, alias, expected_version, reason)
        request = retriable(
            caller,
            "RollbackAlias",
            request_id=request_id,
            asked=[model, alias, expected_version, reason],
        )
        async with writing(self._database, self._clock, caller=caller, reason=reason) as write:
            answer = await request.first_answer(write.records)
            if answer is not None:
                return await _answered(write.records, answer)
            present = await _expected_alias(write, model, alias, expected_version)
            change = await roll_back_alias(write, present)
            await _remember(write.records, request, change, time_us=write.time_us)
            return change

    async def delete(
        self,
        caller: Caller,
        model: str,
        alias: str,
        *,
        expected_version: int | None = None,
        reason: str = "",
        request_id: str | None = None,
    ) -> int:
        """Deletes an alias and returns the version it pointed at; its history stays.

        A retry with the same request id returns the first answer.

        Raises:
            AliasNotFound, ModelNotFound: There is nothing to delete.
            AliasMoved: It does not point at the expected version.
        """
        _check_names(model, alias, expected_version, reason)
        request = retriable(
            caller,
            "DeleteAlias",
            request_id=request_id,
            asked=[model, alias, expected_version, reason],
        )
        async with writing(self._database, self._clock, caller=caller, reason=reason) as write:
            answer = await request.first_answer(write.records)
            if answer is not None:
                return (await _answered(write.records, answer)).previous_version
            present = await _expected_alias(write, model, alias, expected_version)
            change = await remove_alias(write, present)
            await _remember(write.records, request, change, time_us=write.time_us)
            return change.previous_version

    async def get(self, model: str, alias: str) -> Alias:
        """One alias. Raises ModelNotFound, AliasNotFound."""
        rules.check_name(model)
        rules.check_alias(alias)
        async with self._database.read() as records:
            return await _existing_alias(records, model, alias)

    async def list(self, model: str, *, page_size: int = 0, page_token: str = "") -> Page[Alias]:
        """A page of a model's aliases, by name. Raises ModelNotFound, PageTokenInvalid."""
        rules.check_name(model)
        listing = Listing("aliases", (model,))
        limit = page_limit(page_size)
        after = _last_alias(listing, page_token)
        async with self._database.read() as records:
            await existing_model(records, model)
            rows = await records.aliases.of_model(model, after=after, limit=limit + 1)
        items, last = cut(rows, limit)
        return Page(items, listing.token((last.alias,) if last else None))

    async def moves(
        self, model: str, alias: str | None, *, page_size: int = 0, page_token: str = ""
    ) -> Page[AliasMove]:
        """A page of the moves of one alias, or of all of a model, newest first.

        A deleted alias has its history, too. Raises ModelNotFound, PageTokenInvalid.
        """
        rules.check_name(model)
        if alias is not None:
            rules.check_alias(alias)
        listing = Listing("moves", (model, alias))
        limit = page_limit(page_size)
        before = _last_move(listing, page_token)
        async with self._database.read() as records:
            await existing_model(records, model)
            rows = await records.aliases.moves(model, alias, before=before, limit=limit + 1)
        items, last = cut(rows, min(limit, fitting(rows, move_size_bytes)[0]))
        return Page(items, listing.token((last.revision, last.alias) if last else None))

    async def _remember_unchanged(self, request: Request, change: AliasChange) -> None:
        """Remembers an answer that changed nothing, so that its retry changes nothing either."""
        if request.request_id is None:
            return
        # The same call may be answered by another server at the same time: either answer will do.
        with suppress(RequestIdReused):
            async with self._database.bookkeep() as records:
                await _remember(records, request, change, time_us=self._clock.now_us())


def _check_names(model: str, alias: str, expected_version: int | None, reason: str) -> None:
    rules.check_name(model)
    rules.check_alias(alias)
    rules.check_expected_version(expected_version)
    rules.check_reason(reason)


async def _existing_alias(records: Records, model: str, alias: str) -> Alias:
    await existing_model(records, model)
    present = await records.aliases.get(model, alias)
    if present is None:
        raise await missing_alias(records, model, alias)
    return present


async def _expected_alias(
    write: Write, model: str, alias: str, expected_version: int | None
) -> Alias:
    present = await _existing_alias(write.records, model, alias)
    check_expected(model, alias, present, expected_version)
    return present


async def _remember(
    records: Records, request: Request, change: AliasChange, *, time_us: int
) -> None:
    answer = {
        "model": change.alias.model,
        "alias": change.alias.alias,
        "revision": change.alias.revision,
        "previous_version": change.previous_version,
    }
    await request.remember(records, answer, time_us=time_us)


async def _answered(records: Records, answer: JSON) -> AliasChange:
    """The first answer, from the move that made it: the alias may have moved since."""
    move = await records.aliases.get_move(answer["model"], answer["alias"], answer["revision"])
    if move is None:
        raise LookupError(f"The history lacks the move that revision {answer['revision']} made.")
    return AliasChange(moved_alias(move), answer["previous_version"])


def _last_alias(listing: Listing, page_token: str) -> str:
    match listing.position(page_token):
        case None:
            return ""
        case (str(alias),):
            return alias
        case _:
            raise token_refused()


def _last_move(listing: Listing, page_token: str) -> tuple[int, str] | None:
    match listing.position(page_token):
        case None:
            return None
        case (int(revision), str(alias)):
            return revision, alias
        case _:
            raise token_refused()
