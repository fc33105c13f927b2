"""What an asyncio client does with the files of versions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from herdbook.aio.reading import AsyncRemoteFile
from herdbook.aio.threads import in_thread
from herdbook.core.operations import artifacts as operations
from herdbook.core.values import (
    Capture,
    CopyReport,
    Environment,
    GarbageReport,
    Json,
    Lineage,
    PulledVersion,
    Signature,
    TransferProgress,
    VerificationProgress,
    VerificationReport,
    Version,
    VersionManifest,
)
from herdbook.core.verification import Tally
from herdbook.provenance import described
from herdbook.transfer import CancelToken, Transfers
from herdbook.transport.aio_caller import AioCaller


class AsyncArtifactCalls:
    """Pushes, pulls and reads the files of versions."""

    _caller: AioCaller
    _transfers: Transfers

    async def push(
        self,
        model: str,
        path: str | Path,
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
        progress: Callable[[TransferProgress], None] | None = None,
    ) -> Version:
        """Makes the next version of a model from a file or a directory.

        Sends only the bytes that the model does not have yet. The version appears whole, in one
        transaction, or not at all; run it again after a break, and what has arrived is not sent
        again. Creates the model if it does not exist. Symbolic links are followed.

        Args:
            model: The model's name.
            path: The file or the directory.
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
            progress: Called now and then, from threads of the transfer, never two at once.

        Returns:
            The version as stored; its `transfer` tells the bytes that were moved and saved.

        Raises:
            LabelExists: Another version of the model has the label.
            ModelDeleted: The model is deleted.
            PathInvalid: A file's name cannot be stored.
            SourceChanged: A file changed while it was pushed.
            SourceInvalid: There is no file in the directory, or something that is no file.
            SourceNotFound: There is nothing at the path.
            Unavailable: The server stayed away for longer than retries last.
        """

        def work(cancel: CancelToken) -> Version:
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
            return self._transfers.push(
                version,
                Path(path),
                aliases=[alias] if isinstance(alias, str) else alias or (),
                reason=reason,
                progress=progress,
                cancel=cancel,
            )

        return await in_thread(work)

    async def pull(
        self,
        reference: str,
        destination: str | Path,
        *,
        overwrite: bool = False,
        progress: Callable[[TransferProgress], None] | None = None,
    ) -> PulledVersion:
        """Puts the files of a version into a local directory.

        Fetches only the chunks that the local cache does not have, verifies every one, and makes
        the directory appear whole or not at all. A destination that holds exactly this version is
        verified and kept.

        Args:
            reference: Which version; resolved once, when the pull starts.
            destination: The directory, or a link to one; it may exist if it is empty.
            overwrite: Replace what the directory holds, when the new files are complete.
            progress: Called now and then, from threads of the transfer, never two at once.

        Raises:
            ChecksumMismatch: The server sent wrong bytes, again and again.
            DestinationExists: The destination holds something else, and `overwrite` is not set.
            DestinationUnusable: The destination cannot be made; or it is a file or a mount point,
                holds the working directory or the cache, or lies in the cache.
            LocalDiskFull: This machine has no space left.
            NoManifest: The registry does not hold the files of this version.
            NotFound: The reference names nothing.
            PathInvalid: The server names a file that must not be written.
            Unavailable: The server stayed away for longer than retries last.
        """
        return await in_thread(
            lambda cancel: self._transfers.pull(
                reference, Path(destination), overwrite=overwrite, progress=progress, cancel=cancel
            )
        )

    async def open_file(self, reference: str, path: str) -> AsyncRemoteFile:
        """Opens one file of a version for reading; seekable, and read ahead as it is consumed.

        Every chunk is verified before a byte of it is returned. The version is resolved once.

        Args:
            reference: Which version.
            path: The file's path below the version's root.

        Raises:
            FileNotFound: The version has no such file.
            NoManifest: The registry does not hold the files of this version.
            NotFound: The reference names nothing.
        """
        return await in_thread(
            lambda cancel: AsyncRemoteFile(
                self._transfers.open_file(reference, path, cancel=cancel), cancel
            )
        )

    async def get_manifest(self, reference: str) -> VersionManifest:
        """Reads the list of a version's files, and checks its digest.

        Raises:
            NoManifest: The registry does not hold the files of this version.
            NotFound: The reference names nothing.
            ResponseInvalid: The list does not have the digest that the server gave.
        """
        return await in_thread(
            lambda cancel: self._transfers.get_manifest(reference, cancel=cancel)
        )

    async def verify(
        self,
        reference: str | None = None,
        *,
        progress: Callable[[VerificationProgress], None] | None = None,
    ) -> VerificationReport:
        """Has the registry read and hash what it holds of a version, or of all versions.

        What is lost counts as missing from then on: pushing the same files again heals it.

        Args:
            reference: Which version; None for all.
            progress: Called after each part, of about a second.

        Raises:
            NoManifest: The registry does not hold the files of this version.
            NotFound: The reference names nothing.
            StoreUnavailable: The registry cannot reach its bytes.
        """
        tally = Tally(progress)
        async for part in self._caller.items(operations.verify_chunks(reference)):
            tally.add(part)
        return tally.report

    async def verify_copy(self, reference: str, path: str | Path) -> CopyReport:
        """Compares a local directory with a version, byte by byte.

        Raises:
            NoManifest: The registry does not hold the files of this version.
            NotFound: The reference names nothing.
            SourceInvalid: Something in the directory cannot be read, or leads back to it.
            SourceNotFound: There is no directory at the path.
        """
        return await in_thread(
            lambda cancel: self._transfers.verify_copy(reference, Path(path), cancel=cancel)
        )

    async def collect_garbage(
        self, *, apply: bool = False, grace_seconds: float | None = None
    ) -> GarbageReport:
        """Finds chunks that no version lists, and deletes them if `apply` is set.

        Versions that were deleted longer ago than the server keeps them lose their files before.

        Args:
            apply: Delete what is found; otherwise only report it.
            grace_seconds: Spare what was touched more recently; None for the server's setting.
        """
        return await self._caller.call(
            operations.collect_garbage(apply=apply, grace_seconds=grace_seconds)
        )
