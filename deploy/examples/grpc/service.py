"""A gRPC service that serves what an alias names: `python service.py`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from herdbook import AsyncLiveModel, loaders

sys.path.append(str(Path(__file__).parent))
messages, services = grpc.protos_and_services("inference.proto")

STOP_SECONDS = 10.0


class Inference(services.InferenceServicer):
    """Answers each request with one version from beginning to end."""

    def __init__(self, live: AsyncLiveModel[Any]) -> None:
        self._live = live

    async def Predict(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        """Predicts for a batch of rows."""
        lease = self._live.lease()
        async with lease as session:
            try:
                rows = np.array([row.values for row in request.rows], np.float32)
                inputs = {session.get_inputs()[0].name: rows}
                (answers,) = await asyncio.to_thread(session.run, None, inputs)
            except Exception as error:  # noqa: BLE001 - what ONNX Runtime raises has no base
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            return messages.PredictResponse(
                version=lease.version,
                predictions=[messages.Row(values=np.ravel(answer)) for answer in answers],
            )


async def serve(address: str, reference: str) -> None:
    """Serves from when a first model is loaded until SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = grpc.aio.server()
    async with AsyncLiveModel(reference, loader=loaders.onnx_session()) as live:
        services.add_InferenceServicer_to_server(Inference(live), server)
        server.add_insecure_port(address)
        await server.start()
        await stopped.wait()
        await server.stop(STOP_SECONDS)


if __name__ == "__main__":
    asyncio.run(
        serve(
            os.environ.get("LISTEN", "127.0.0.1:8001"),
            os.environ.get("HERDBOOK_REFERENCE", "fraud/tc@champion"),
        )
    )
