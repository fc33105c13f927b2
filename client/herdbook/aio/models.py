"""What an asyncio client does with models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from herdbook.core.operations import models as operations
from herdbook.core.operations import versions as version_operations
from herdbook.core.references import names_a_model
from herdbook.core.values import Model, Version
from herdbook.transport.aio_caller import AioCaller
from herdbook.transport.request_ids import new_request_id


class AsyncModelCalls:
    """Creates, describes, finds, deletes and restores models."""

    _caller: AioCaller

    async def create_model(
        self,
        name: str,
        *,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        reason: str | None = None,
    ) -> Model:
        """Creates an empty model; not needed before `push`, which creates a missing one.

        Raises:
            ModelExists: A model of this name exists, perhaps deleted.
            NameInvalid: The name is no model name.
        """
        return await self._caller.call(
            operations.create_model(
                name,
                description=description,
                tags=tags,
                reason=reason,
                request_id=new_request_id(),
            )
        )

    async def get_model(self, name: str, *, show_deleted: bool = False) -> Model:
        """Reads one model.

        Raises:
            ModelNotFound: It does not exist, or is deleted and `show_deleted` is not set.
        """
        return await self._caller.call(operations.get_model(name, show_deleted=show_deleted))

    def list_models(
        self,
        *,
        filter: str | None = None,
        order_by: str | None = None,
        show_deleted: bool = False,
        page_size: int = 0,
    ) -> AsyncIterator[Model]:
        """Finds models, page by page as they are consumed.

        Args:
            filter: Such as `tags.team = "fraud"`; None for all.
            order_by: Such as `updated_at desc, name`; None for the name.
            show_deleted: Also find deleted ones.
            page_size: Models a page, 1 to 1000; 0 leaves it to the server.

        Raises:
            FilterInvalid: The filter cannot be understood.
            OrderByInvalid: The sort keys cannot be understood.
        """
        return self._caller.items(
            operations.list_models(
                filter=filter, order_by=order_by, show_deleted=show_deleted, page_size=page_size
            )
        )

    async def update_model(
        self,
        name: str,
        *,
        description: str | None = None,
        expect_revision: int | None = None,
        reason: str | None = None,
    ) -> Model:
        """Changes what is given and leaves the rest.

        Args:
            name: Which model.
            description: What the model is for, in Markdown.
            expect_revision: The revision the model must still have; None for any.
            reason: Why, for the record.

        Raises:
            ModelNotFound: It does not exist.
            RevisionChanged: It was changed since `expect_revision`.
        """
        return await self._caller.call(
            operations.update_model(
                name, description=description, expect_revision=expect_revision, reason=reason
            )
        )

    async def delete_model(
        self, name: str, *, force: bool = False, reason: str | None = None
    ) -> Model:
        """Marks a model deleted; deleting a deleted one succeeds.

        Args:
            name: Which model.
            force: Delete it even if aliases point at its versions or live replicas serve them.
            reason: Why, for the record.

        Raises:
            ModelInUse: Something uses it, and `force` is not set.
            ModelNotFound: It does not exist.
        """
        return await self._caller.call(operations.delete_model(name, force=force, reason=reason))

    async def restore_model(self, name: str, *, reason: str | None = None) -> Model:
        """Undoes `delete_model`; versions, aliases and history are as they were.

        Raises:
            ModelNotFound: It never existed.
        """
        return await self._caller.call(operations.restore_model(name, reason=reason))

    async def set_tag(
        self, target: str, key: str, value: str, *, reason: str | None = None
    ) -> Model | Version:
        """Sets one tag; the others stay as they are.

        Args:
            target: A bare model name for the model itself, any other reference for a version.
            key: Letters, digits, `_`, `.`, `/` and `-`, starting with a letter or `_`.
            value: 4 KiB at most.
            reason: Why, for the record.

        Returns:
            What was tagged, as it is now.

        Raises:
            NotFound: The target does not exist.
        """
        if names_a_model(target):
            return await self._caller.call(
                operations.update_model_tags(
                    target, set_tags={key: value}, delete_tags=(), reason=reason
                )
            )
        return await self._caller.call(
            version_operations.update_version_tags(
                target, set_tags={key: value}, delete_tags=(), reason=reason
            )
        )

    async def delete_tag(
        self, target: str, key: str, *, reason: str | None = None
    ) -> Model | Version:
        """Deletes one tag; succeeds if there is none of this key.

        Args:
            target: A bare model name for the model itself, any other reference for a version.
            key: The tag's key.
            reason: Why, for the record.

        Returns:
            What was tagged, as it is now.

        Raises:
            NotFound: The target does not exist.
        """
        if names_a_model(target):
            return await self._caller.call(
                operations.update_model_tags(target, set_tags={}, delete_tags=[key], reason=reason)
            )
        return await self._caller.call(
            version_operations.update_version_tags(
                target, set_tags={}, delete_tags=[key], reason=reason
            )
        )
