"""A FastAPI service that serves what an alias names: `uvicorn app:app --workers 4`."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from herdbook import AsyncLiveModel, loaders

# What the live model fetches, serves and fails to load.
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")

# Made once for each worker, after the fork: making it starts nothing.
live = AsyncLiveModel(
    os.environ.get("HERDBOOK_REFERENCE", "fraud/tc@champion"), loader=loaders.onnx_session()
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Serves from when a first model is loaded, and ends the watch with the worker."""
    async with live:
        yield


app = FastAPI(lifespan=lifespan)


class Rows(BaseModel):
    """What to predict for."""

    rows: list[list[float]]


@app.post("/predict")
async def predict(asked: Rows) -> dict[str, Any]:
    """Answers with one version from beginning to end, however the alias moves."""
    lease = live.lease()
    async with lease as session:
        try:
            inputs = {session.get_inputs()[0].name: np.array(asked.rows, np.float32)}
            (answers,) = await run_in_threadpool(session.run, None, inputs)
        except Exception as error:  # what ONNX Runtime raises has no base
            raise HTTPException(422, str(error)) from error
        return {"version": lease.version, "predictions": answers.tolist()}


@app.get("/readyz")
def readyz(response: Response) -> dict[str, Any]:
    """Tells an orchestrator whether to send requests."""
    response.status_code = 200 if live.is_ready() else 503
    return {"version": live.version}
