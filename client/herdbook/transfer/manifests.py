"""Reads manifests from a server that is not trusted."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from herdbook.core import wire
from herdbook.core.manifests import MAX_CHUNKS, MAX_FILES, digest_of, manifest_of
from herdbook.core.operations.artifacts import GET_MANIFEST
from herdbook.core.references import MAX_VERSION, Reference, Selector, parse_reference
from herdbook.core.values import File, VersionManifest
from herdbook.errors import HerdbookError, ResponseInvalid
from herdbook.transfer.cancellation import CancelToken
from herdbook.transfer.persistence import Persistence
from herdbook.transport.caller import Caller
from herdbook.v1 import artifact_pb2 as pb


def get_manifest(caller: Caller, reference: str, *, cancel: CancelToken) -> VersionManifest:
    """Reads the manifest of a version and checks its rules, its digest and whose it is.

    Raises:
        ResponseInvalid: It is the manifest of a version that the reference cannot name.
    """
    asked = parse_reference(reference)
    attempts = Persistence(cancel, caller.contact).attempts()
    while True:
        try:
            manifest = _read(caller, reference, cancel)
        except HerdbookError as error:
            attempts.failed(caller.explained(error))
        else:
            attempts.progressed()
            _check_named(manifest, asked)
            return manifest


def _check_named(manifest: VersionManifest, asked: Reference) -> None:
    """Checks that the reference may name the version that the manifest is said to be of."""
    numbered = asked.selector is Selector.NUMBER
    if (
        manifest.model != asked.model
        or not 1 <= manifest.version <= MAX_VERSION
        or (numbered and manifest.version != int(asked.value))
    ):
        raise ResponseInvalid(f"The server sent the manifest of something else than {asked}.")


def _read(caller: Caller, reference: str, cancel: CancelToken) -> VersionManifest:
    first: pb.GetManifestResponse | None = None
    files: list[File] = []
    chunk_count = 0
    for message in _messages(caller, reference, cancel):
        first = first or message
        files += map(wire.file, message.files)
        chunk_count += sum(len(file.chunks) for file in message.files)
        if len(files) > MAX_FILES or chunk_count > MAX_CHUNKS:
            raise ResponseInvalid(f"The server's manifest of {reference} does not end.")
    if first is None:
        raise ResponseInvalid(f"The server sent no manifest of {reference}.")
    manifest = manifest_of(files)
    if digest_of(manifest) != first.digest:
        raise ResponseInvalid(f"The manifest of {reference} does not have its digest.")
    return VersionManifest(first.model, first.version, first.digest, manifest, direct=first.direct)


def _messages(
    caller: Caller, reference: str, cancel: CancelToken
) -> Iterator[pb.GetManifestResponse]:
    request = pb.GetManifestRequest(reference=reference).SerializeToString()
    with caller.translated():
        call = caller.download(
            GET_MANIFEST, request, timeout_seconds=caller.connection.timeout_seconds
        )
        try:
            with cancel.breaks_off(call.cancel):
                yield from map(_decoded, call)
        finally:
            call.cancel()


def _decoded(data: bytes) -> pb.GetManifestResponse:
    try:
        return pb.GetManifestResponse.FromString(data)
    except DecodeError as error:
        raise ResponseInvalid("The server's manifest cannot be read.") from error
