"""A registry in memory, over real gRPC, that fails on demand: for tests of the client alone."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from types import TracebackType
from typing import Any, Self, TypeAlias

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from herdbook.core import wire
from herdbook.core.manifests import digest_of
from herdbook.core.values import Manifest
from herdbook.v1 import (
    alias_pb2,
    alias_pb2_grpc,
    artifact_pb2,
    artifact_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    version_pb2,
    version_pb2_grpc,
)

Answers: TypeAlias = Callable[[Any, grpc.ServicerContext], Iterator[Any]]
"""What a server-streaming method answers instead."""

_CODES = {code.name: code for code in grpc.StatusCode}


@dataclass(frozen=True)
class Fault:
    """How a call fails."""

    code: grpc.StatusCode
    reason: str = ""
    after_messages: int = 0
    """How many messages of a stream pass before it."""
    details: tuple[Message, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    effective: bool = False
    """The call takes effect before it fails."""

    def status(self) -> grpc.Status:
        status = Status(code=self.code.value[0], message=f"Scripted: {self.reason or self.code}.")
        info = error_details_pb2.ErrorInfo(
            reason=self.reason, domain="herdbook", metadata=self.metadata
        )
        for message in (*([info] if self.reason else []), *self.details):
            packed = AnyMessage()
            packed.Pack(message)
            status.details.append(packed)
        made: grpc.Status = rpc_status.to_status(status)
        return made


@dataclass
class StoredVersion:
    """A version and its files."""

    version: version_pb2.Version
    files: list[Any]


class FakeRegistry:
    """Models, versions, aliases and chunks in dictionaries; `server` is where it listens."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self._credentials = credentials
        self.lock = threading.RLock()
        self.calls: dict[str, int] = defaultdict(int)
        self.metadata: dict[str, str] = {}
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.chunks: dict[bytes, bytes] = {}
        self.received: list[bytes] = []
        self.sent: list[bytes] = []
        self.versions: dict[str, list[StoredVersion]] = defaultdict(list)
        self.models: dict[str, model_pb2.Model] = {}
        self.request_ids: dict[str, int] = {}
        self.updates: queue.Queue[alias_pb2.WatchAliasesResponse | None] = queue.Queue()
        self.watch_requests: list[alias_pb2.WatchAliasesRequest] = []
        self.watching = 0
        """Watches that are open."""
        self.answers: dict[str, Answers] = {}
        self.corrupt: deque[bytes] = deque()
        self.verifying: list[bool] = []
        """Whether each download asked for chunks to be verified before they are sent."""
        self._port = 0
        self._server: grpc.Server | None = None

    @property
    def server(self) -> str:
        return f"127.0.0.1:{self._port}"

    def fail(self, method: str, *faults: Fault) -> None:
        """Makes the next calls of a method fail, one after the other."""
        self.faults[method].extend(faults)

    def start(self) -> None:
        server = grpc.server(
            ThreadPoolExecutor(16), interceptors=[_Faults(self)], options=[("grpc.so_reuseport", 0)]
        )
        model_pb2_grpc.add_ModelServiceServicer_to_server(_Models(self), server)
        version_pb2_grpc.add_VersionServiceServicer_to_server(_Versions(self), server)
        alias_pb2_grpc.add_AliasServiceServicer_to_server(_Aliases(self), server)
        artifact_pb2_grpc.add_ArtifactServiceServicer_to_server(_Artifacts(self), server)
        self._port = self._listen(server)
        server.start()
        self._server = server

    def _listen(self, server: grpc.Server) -> int:
        address = f"127.0.0.1:{self._port}"
        if self._credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, self._credentials)

    def stop(self) -> None:
        """Stops listening and breaks every call; `start` listens on the same port again."""
        self.updates.put(None)
        if self._server is not None:
            self._server.stop(0).wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def tell(self, *updates: alias_pb2.ReferenceState | alias_pb2.Bookmark) -> None:
        """Sends updates to whoever watches."""
        for update in updates:
            if isinstance(update, alias_pb2.Bookmark):
                self.updates.put(alias_pb2.WatchAliasesResponse(bookmark=update))
            else:
                self.updates.put(alias_pb2.WatchAliasesResponse(state=update))

    def list_models(self, request: model_pb2.ListModelsRequest) -> model_pb2.ListModelsResponse:
        names = sorted(self.models)
        start = int(request.page_token or 0)
        end = start + (request.page_size or 2)
        return model_pb2.ListModelsResponse(
            models=[self.models[name] for name in names[start:end]],
            next_page_token=str(end) if end < len(names) else "",
        )

    def find(self, reference: str) -> StoredVersion | None:
        model, _, number = reference.partition(":")
        found = self.versions.get(model, [])
        index = int(number or 0) - 1
        return found[index] if -1 <= index < len(found) and found else None


class _Faults(grpc.ServerInterceptor):
    """Counts calls and lets scripted ones fail."""

    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry

    def intercept_service(
        self, continuation: Callable[..., Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        method = handler_call_details.method.rpartition("/")[2]
        handler = continuation(handler_call_details)
        with self._registry.lock:
            self._registry.calls[method] += 1
            self._registry.metadata = dict(handler_call_details.invocation_metadata)
            scripted = self._registry.faults[method]
            fault = scripted.popleft() if scripted else None
            answers = self._registry.answers.get(method)
        if answers is not None:
            return grpc.unary_stream_rpc_method_handler(
                answers, handler.request_deserializer, handler.response_serializer
            )
        return handler if fault is None else _failing(handler, fault)


def _failing(handler: Any, fault: Fault) -> Any:
    def unary(request: Any, context: grpc.ServicerContext) -> Any:
        if fault.effective:
            handler.unary_unary(request, context)
        context.abort_with_status(fault.status())

    def stream_in(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        passed = (next(requests) for _ in range(fault.after_messages))
        handler.stream_unary(passed, context)
        context.abort_with_status(fault.status())

    def stream_out(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        answers = handler.unary_stream(request, context)
        for _ in range(fault.after_messages):
            yield next(answers)
        context.abort_with_status(fault.status())

    made = {
        (False, False): grpc.unary_unary_rpc_method_handler(unary),
        (True, False): grpc.stream_unary_rpc_method_handler(stream_in),
        (False, True): grpc.unary_stream_rpc_method_handler(stream_out),
    }[handler.request_streaming, handler.response_streaming]
    return made._replace(
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def _missing(context: grpc.ServicerContext, reason: str) -> Any:
    context.abort_with_status(Fault(grpc.StatusCode.NOT_FOUND, reason).status())


class _Models(model_pb2_grpc.ModelServiceServicer):
    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry

    def CreateModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.request_id not in self._registry.request_ids:
            if request.model.name in self._registry.models:
                context.abort_with_status(
                    Fault(grpc.StatusCode.ALREADY_EXISTS, "MODEL_EXISTS").status()
                )
            self._registry.request_ids[request.request_id] = 1
            self._registry.models[request.model.name] = request.model
        return model_pb2.CreateModelResponse(model=request.model)

    def GetModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = self._registry.models.get(request.model)
        if model is None:
            _missing(context, "MODEL_NOT_FOUND")
        return model_pb2.GetModelResponse(model=model)

    def UpdateModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        return model_pb2.UpdateModelResponse(model=request.model)

    def ListModels(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._registry.list_models(request)


class _Versions(version_pb2_grpc.VersionServiceServicer):
    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry

    def RegisterVersion(self, request: Any, context: Any) -> Any:  # noqa: N802
        with self._registry.lock:
            stored = self._registry.versions[request.version.model]
            number = self._registry.request_ids.get(request.request_id)
            if number is None:
                self._check_chunks(request, context)
                stored.append(_stored(request, number=len(stored) + 1))
                number = self._registry.request_ids[request.request_id] = len(stored)
            return version_pb2.RegisterVersionResponse(version=stored[number - 1].version)

    def _check_chunks(self, request: Any, context: Any) -> None:
        listed = {chunk.sha256 for file in request.manifest.files for chunk in file.chunks}
        if not listed <= self._registry.chunks.keys():
            fault = Fault(grpc.StatusCode.FAILED_PRECONDITION, "CHUNKS_MISSING")
            context.abort_with_status(fault.status())

    def GetVersion(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = self._registry.find(request.reference)
        if found is None:
            _missing(context, "VERSION_NOT_FOUND")
            raise AssertionError
        return version_pb2.GetVersionResponse(version=found.version)

    def ResolveReference(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = self._registry.find(request.reference)
        if found is None:
            _missing(context, "VERSION_NOT_FOUND")
            raise AssertionError
        return version_pb2.ResolveReferenceResponse(
            resolution=version_pb2.Resolution(
                model=found.version.model, version=found.version.number
            )
        )


def _stored(request: Any, *, number: int) -> StoredVersion:
    files = sorted(request.manifest.files, key=lambda file: file.path.encode())
    manifest = Manifest(tuple(map(wire.file, files)))
    version = version_pb2.Version()
    version.CopyFrom(request.version)
    version.number = number
    version.digest = digest_of(manifest)
    version.size_bytes = manifest.size_bytes
    version.file_count = len(files)
    return StoredVersion(version, files)


class _Aliases(alias_pb2_grpc.AliasServiceServicer):
    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry

    def SetAlias(self, request: Any, context: Any) -> Any:  # noqa: N802
        return alias_pb2.SetAliasResponse(
            alias=alias_pb2.Alias(
                model=request.model, alias=request.alias, version=request.version
            ),
            previous_version=request.expected_version,
        )

    def DeleteAlias(self, request: Any, context: Any) -> Any:  # noqa: N802
        return alias_pb2.DeleteAliasResponse(previous_version=3)

    def WatchAliases(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        self._registry.watch_requests.append(request)
        with self._registry.lock:
            self._registry.watching += 1
        try:
            yield from self._updates(context)
        finally:
            with self._registry.lock:
                self._registry.watching -= 1

    def _updates(self, context: Any) -> Iterator[Any]:
        while context.is_active():
            try:
                update = self._registry.updates.get(timeout=0.05)
            except queue.Empty:
                continue
            if update is None:
                return
            yield update


class _Artifacts(artifact_pb2_grpc.ArtifactServiceServicer):
    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry

    def FindMissingChunks(self, request: Any, context: Any) -> Any:  # noqa: N802
        return artifact_pb2.FindMissingChunksResponse(
            missing_sha256=[d for d in request.sha256 if d not in self._registry.chunks]
        )

    def UploadChunks(self, requests: Any, context: Any) -> Any:  # noqa: N802
        count = 0
        for request in requests:
            for chunk in request.chunks:
                if sha256(chunk.data).digest() != chunk.sha256:
                    fault = Fault(grpc.StatusCode.INVALID_ARGUMENT, "CHUNK_MISMATCH")
                    context.abort_with_status(fault.status())
                with self._registry.lock:
                    self._registry.chunks[chunk.sha256] = chunk.data
                    self._registry.received.append(chunk.sha256)
                count += 1
        return artifact_pb2.UploadChunksResponse(chunk_count=count)

    def GetManifest(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        found = self._registry.find(request.reference)
        if found is None:
            _missing(context, "VERSION_NOT_FOUND")
            raise AssertionError
        yield artifact_pb2.GetManifestResponse(
            model=found.version.model, version=found.version.number, digest=found.version.digest
        )
        for file in found.files:
            yield artifact_pb2.GetManifestResponse(files=[file])

    def DownloadChunks(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        self._registry.verifying.append(request.verify)
        for digest in request.sha256:
            data = self._registry.chunks.get(digest)
            if data is None:
                fault = Fault(grpc.StatusCode.DATA_LOSS, "CHUNK_LOST")
                context.abort_with_status(fault.status())
                raise AssertionError
            with self._registry.lock:
                if self._registry.corrupt:
                    data = self._registry.corrupt.popleft()
                self._registry.sent.append(digest)
            yield artifact_pb2.DownloadChunksResponse(
                chunks=[artifact_pb2.Chunk(sha256=digest, data=data)]
            )
