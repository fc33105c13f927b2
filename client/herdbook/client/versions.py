"""What a client does with the records of versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from herdbook.core.compare import compare_versions
from herdbook.core.operations import versions as operations
from herdbook.core.values import (
    Capture,
    Comparison,
    Environment,
    Json,
    Lineage,
    Resolution,
    Signature,
    Stage,
    StageChange,
    Version,
)
from herdbook.provenance import described
from herdbook.transport.caller import Caller
from herdbook.transport.request_ids import new_request_id


class VersionCalls:
    """Registers, reads, finds and describes versions, and moves them through stages."""

    _caller: Caller

    def register_reference(
        self,
        model: str,
        source_uri: str,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
        label: str | None = None,
        author: str | None = None,
        signature: Signature | None = None,
        input_example: Json = None,
        framework: str = "",
        format: str = "",
        lineage: Lineage | None = None,
        environment: Environment | None = None,
        alias: str | Sequence[str] | None = None,
        capture: Capture | bool = True,
        reason: str | None = None,
    ) -> Version:
        """Makes the next version of a model from files that lie elsewhere, in one transaction.

        The registry records the URI and holds no bytes. Creates the model if it does not exist.
        The other arguments are those of `push`.

        Args:
            model: The model's name.
            source_uri: An absolute URI without credentials, such as `s3://bucket/model`.
            metrics: Measured figures.
            params: Training parameters; written as text.
            tags: Labels for search.
            description: What this version is, in Markdown.
            label: A semantic version, unique in the model.
            author: Who made it; None for whoever runs this process.
            signature: What goes in and comes out of the model.
            input_example: An input that the model accepts.
            framework: The library that made it, such as `scikit-learn`.
            format: The format of its files, such as `joblib`.
            lineage: Where it came from; its code is found out unless given.
            environment: What it was made with; found out unless given.
            alias: An alias or several to point at the version in the same transaction.
            capture: What to find out by itself; False for nothing.
            reason: Why, for the record.

        Raises:
            LabelExists: Another version of the model has the label.
            ModelDeleted: The model is deleted.
        """
        version = described(
            model,
            metrics=metrics,
            params=params,
            tags=tags,
            description=description,
            label=label,
            author=author,
            signature=signature,
            input_example=input_example,
            framework=framework,
            format=format,
            lineage=lineage,
            environment=environment,
            capture=Capture.switched(capture),
        )
        return self._caller.call(
            operations.register_version(
                version,
                source_uri=source_uri,
                aliases=[alias] if isinstance(alias, str) else alias or (),
                reason=reason,
                request_id=new_request_id(),
            )
        )

    def get_version(self, reference: str, *, show_deleted: bool = False) -> Version:
        """Reads one version.

        Args:
            reference: Such as `team/task@champion`, `team/task:7`, `team/task:2.1.0`, `team/task`.
            show_deleted: Also answer if it is deleted; for references by number or label.

        Raises:
            NotFound: The reference names nothing.
            ReferenceInvalid: It is no reference.
        """
        return self._caller.call(operations.get_version(reference, show_deleted=show_deleted))

    def list_versions(
        self,
        model: str | None = None,
        *,
        filter: str | None = None,
        order_by: str | None = None,
        show_deleted: bool = False,
        page_size: int = 0,
    ) -> Iterator[Version]:
        """Finds versions, page by page as they are consumed; none is lost while others are added.

        Args:
            model: Of which model; None for all.
            filter: Such as `metrics.rmse < 7 AND stage = "staging"`; None for all.
            order_by: Such as `metrics.rmse asc, number desc`; None for the newest first.
            show_deleted: Also find deleted ones.
            page_size: Versions a page, 1 to 1000; 0 leaves it to the server.

        Raises:
            FilterInvalid: The filter cannot be understood.
            OrderByInvalid: The sort keys cannot be understood.
        """
        return self._caller.items(
            operations.list_versions(
                model,
                filter=filter,
                order_by=order_by,
                show_deleted=show_deleted,
                page_size=page_size,
            )
        )

    def update_version(
        self,
        reference: str,
        *,
        description: str | None = None,
        label: str | None = None,
        expect_revision: int | None = None,
        reason: str | None = None,
    ) -> Version:
        """Changes what is given and leaves the rest.

        Args:
            reference: Which version, by number or label.
            description: What this version is, in Markdown.
            label: A semantic version, unique in the model; once set it stays.
            expect_revision: The revision the version must still have; None for any.
            reason: Why, for the record.

        Raises:
            LabelExists: Another version of the model has the label.
            LabelImmutable: The version has another label.
            RevisionChanged: It was changed since `expect_revision`.
            VersionNotFound: It does not exist.
        """
        return self._caller.call(
            operations.update_version(
                reference,
                description=description,
                label=label,
                expect_revision=expect_revision,
                reason=reason,
            )
        )

    def delete_version(
        self, reference: str, *, force: bool = False, reason: str | None = None
    ) -> Version:
        """Marks a version deleted; deleting a deleted one succeeds. Its number is never used again.

        Args:
            reference: Which version, by number or label.
            force: Delete it even if aliases point at it, and them too, or live replicas serve it.
            reason: Why, for the record.

        Raises:
            VersionInUse: Something uses it, and `force` is not set.
            VersionNotFound: It does not exist.
        """
        return self._caller.call(operations.delete_version(reference, force=force, reason=reason))

    def restore_version(self, reference: str, *, reason: str | None = None) -> Version:
        """Undoes `delete_version`; aliases that were deleted with it stay deleted.

        Raises:
            VersionNotFound: It never existed.
            VersionPurged: It was deleted so long ago that its files are gone.
        """
        return self._caller.call(operations.restore_version(reference, reason=reason))

    def set_stage(
        self,
        reference: str,
        stage: Stage | str,
        *,
        archive_existing: bool = False,
        reason: str | None = None,
    ) -> StageChange:
        """Moves a version to a stage.

        Args:
            reference: Which version.
            stage: `none`, `staging`, `production` or `archived`.
            archive_existing: Archive the versions now in that stage, in the same transaction, so
                that readers never see none or two.
            reason: Why, for the record.

        Raises:
            VersionNotFound: It does not exist.
        """
        return self._caller.call(
            operations.set_stage(reference, stage, archive_existing=archive_existing, reason=reason)
        )

    def resolve(self, reference: str) -> Resolution:
        """Tells which version a reference names now: the cheap call for hot paths.

        Raises:
            NotFound: The reference names nothing.
            ReferenceInvalid: It is no reference.
        """
        return self._caller.call(operations.resolve(reference))

    def compare(self, references: Sequence[str]) -> Comparison:
        """Reads several versions and puts their fields side by side.

        Raises:
            NotFound: A reference names nothing.
        """
        return compare_versions([self.get_version(reference) for reference in references])
