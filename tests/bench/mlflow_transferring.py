"""One transfer by MLflow's client in a process of its own, run by the Python that has MLflow.

`python -m tests.bench.mlflow_transferring KIND TRACKING_URI RUN DIRECTORY` prints how long it took,
without the start of the process, and the process's peak of memory. The kind `run` makes a run and
prints its id.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from tests.bench.machine import peak_memory_bytes


def make_run(uri: str) -> str:
    """Make what artifacts belong to, and return its id."""
    return str(MlflowClient(uri).create_run("0").info.run_id)


def push(uri: str, run: str, directory: str) -> None:
    """Upload a directory."""
    MlflowClient(uri).log_artifacts(run, directory, "model")


def pull(uri: str, run: str, directory: str) -> None:
    """Download it."""
    Path(directory).mkdir()
    download_artifacts(run_id=run, artifact_path="model", dst_path=directory, tracking_uri=uri)


def main(kind: str, uri: str, *arguments: str) -> None:
    """Transfer, and print figures."""
    if kind == "run":
        print(make_run(uri))
        return
    transfer = {"push": push, "pull": pull}[kind]
    began = time.perf_counter()
    transfer(uri, *arguments)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "peak_memory_bytes": peak_memory_bytes(os.getpid())}))


if __name__ == "__main__":
    main(*sys.argv[1:])
