"""A gRPC service that serves what an alias names: `python service.py`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
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
    """Serves from when a first model is loaded until it is cancelled."""
    async with AsyncLiveModel(reference, loader=loaders.onnx_session()) as live:
        # By default a second service would share the port in silence.
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        services.add_InferenceServicer_to_server(Inference(live), server)
        server.add_insecure_port(address)
        await server.start()
        try:
            await asyncio.Event().wait()
        finally:
            await server.stop(STOP_SECONDS)


async def main() -> None:
    """Serves until SIGTERM, which also ends the wait for a first model."""
    address = os.environ.get("LISTEN", "127.0.0.1:8001")
    reference = os.environ.get("HERDBOOK_REFERENCE", "fraud/tc@champion")
    serving = asyncio.create_task(serve(address, reference))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    # What the live model fetches, serves and fails to load.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(main())
