"""What a client does with aliases."""

from __future__ import annotations

from collections.abc import Iterator

from herdbook.core.operations import aliases as operations
from herdbook.core.values import Alias, AliasMove
from herdbook.transport.caller import Caller
from herdbook.transport.request_ids import new_request_id


class AliasCalls:
    """Sets, rolls back, deletes and lists aliases."""

    _caller: Caller

    def set_alias(
        self,
        model: str,
        alias: str,
        version: int,
        *,
        expect: int | None = None,
        reason: str | None = None,
    ) -> Alias:
        """Points an alias at a version, atomically; creates the alias if it does not exist.

        Setting it to the version it points at already succeeds and records nothing.

        Args:
            model: The model's name.
            alias: The alias, such as `champion`.
            version: The version's number.
            expect: The version it must point at now, 0 if it must not exist; None for any.
            reason: Why, for the history.

        Returns:
            The alias, with the version it pointed at before.

        Raises:
            AliasInvalid: It is no alias.
            AliasMoved: It does not point at `expect`; `current_version` says where it points.
            NotFound: The model or the version does not exist.
        """
        return self._caller.call(
            operations.set_alias(
                model, alias, version, expect=expect, reason=reason, request_id=new_request_id()
            )
        )

    def rollback_alias(
        self, model: str, alias: str, *, expect: int | None = None, reason: str | None = None
    ) -> Alias:
        """Points an alias back at the version before its last move; again, at the one before that.

        Args:
            model: The model's name.
            alias: The alias.
            expect: The version it must point at now; None for any.
            reason: Why, for the history.

        Returns:
            The alias, with the version it pointed at before.

        Raises:
            AliasMoved: It does not point at `expect`.
            AliasNotFound: It does not exist.
            NoPreviousVersion: It has not pointed at another version.
            VersionDeleted: The version before is deleted.
        """
        return self._caller.call(
            operations.rollback_alias(
                model, alias, expect=expect, reason=reason, request_id=new_request_id()
            )
        )

    def delete_alias(
        self, model: str, alias: str, *, expect: int | None = None, reason: str | None = None
    ) -> int:
        """Deletes an alias; its history stays.

        Args:
            model: The model's name.
            alias: The alias.
            expect: The version it must point at now; None for any.
            reason: Why, for the history.

        Returns:
            The version it pointed at.

        Raises:
            AliasMoved: It does not point at `expect`.
            AliasNotFound: It does not exist.
        """
        return self._caller.call(
            operations.delete_alias(
                model, alias, expect=expect, reason=reason, request_id=new_request_id()
            )
        )

    def list_aliases(self, model: str, *, page_size: int = 0) -> Iterator[Alias]:
        """Lists the aliases of a model by name, page by page as they are consumed.

        Raises:
            ModelNotFound: The model does not exist.
        """
        return self._caller.items(operations.list_aliases(model, page_size=page_size))

    def alias_history(
        self, model: str, alias: str | None = None, *, page_size: int = 0
    ) -> Iterator[AliasMove]:
        """Lists the moves of an alias, newest first, also of a deleted one.

        Args:
            model: The model's name.
            alias: The alias; None for all aliases of the model.
            page_size: Moves a page, 1 to 1000; 0 leaves it to the server.

        Raises:
            ModelNotFound: The model does not exist.
        """
        return self._caller.items(operations.alias_history(model, alias, page_size=page_size))
