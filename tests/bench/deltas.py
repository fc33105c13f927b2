"""How much the next version of a model costs, of which a tenth is new."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measuring import Comparison, Fact, Row
from tests.bench.options import MIB, Options
from tests.bench.servers import Server, full_server, new_directory, new_path
from tests.bench.transfers import Transfer, run_transfer

TITLE = "the next version, a tenth of its tensors changed and one added in front, against the first"
MODEL = "herd/delta"
TENSORS = 40
CHANGED_EVERY = 10
ADDED_BYTES = 1000
MOVED_AIM = 0.12
TIME_AIM = 0.2

Tensors = Mapping[str, bytes]
Write = Callable[[Path, Tensors], None]


async def run(options: Options) -> list[Row]:
    """Push and pull a first version and a next one, of each format."""
    rows: list[Row] = []
    for name, file, write in FORMATS:
        # Every round begins anew: a server that knows nothing, a cache that holds nothing.
        rounds = [measure(options, file, write) for _ in range(options.transfer_rounds)]
        for kind in ("push", "pull"):
            rows += compare(f"{name}: {kind}", [each[kind] for each in rounds])
        renamed = statistics.median(each["renamed"].delta.moved_bytes for each in rounds)
        rows.append(Fact(f"{name}: renamed, push, moved", renamed / MIB, "MiB"))
    return rows


@dataclass(frozen=True, slots=True)
class Pair:
    """The transfers of a first version and of one like it."""

    whole: Transfer
    delta: Transfer


def measure(options: Options, file: str, write: Write) -> dict[str, Pair]:
    """Push and pull two versions, and push the second under another name."""
    home = new_directory(options.home, "delta")
    first, second = files(home, file, write, options.transfer_bytes)
    cache = new_path(home, "cache")
    with full_server(home) as server:
        transfers: dict[str, list[Transfer]] = {"push": [], "pull": []}
        for directory in (first, second):
            transfers["push"].append(transfer("push", server, directory, cache=cache))
            pulled = new_path(home, "pulled")
            transfers["pull"].append(transfer("pull_and_cache", server, pulled, cache=cache))
        (second / file).rename(second / f"renamed-{file}")
        renamed = transfer("push", server, second, cache=cache)
    shutil.rmtree(home)
    pairs = {kind: Pair(*both) for kind, both in transfers.items()}
    return {**pairs, "renamed": Pair(transfers["push"][0], renamed)}


def transfer(kind: str, server: Server, directory: Path, *, cache: Path) -> Transfer:
    """Run one transfer with the cache that all of a round share."""
    return run_transfer(kind, server.address, MODEL, directory, cache=cache)


def compare(name: str, pairs: list[Pair]) -> Iterator[Comparison]:
    """Compare bytes and seconds."""
    yield of_whole(f"{name}, moved", pairs, lambda each: each.moved_bytes / MIB, aim=MOVED_AIM)
    yield of_whole(f"{name}, seconds", pairs, lambda each: each.seconds, unit="s", aim=TIME_AIM)


def of_whole(
    name: str,
    pairs: list[Pair],
    figure: Callable[[Transfer], float],
    *,
    unit: str = "MiB",
    aim: float,
) -> Comparison:
    """Compare one figure of the next version with that of the first."""
    return Comparison(
        name,
        unit,
        subject=tuple(figure(pair.delta) for pair in pairs),
        baseline=tuple(figure(pair.whole) for pair in pairs),
        baseline_name="first version",
        better="lower",
        aim=aim,
    )


def files(home: Path, name: str, write: Write, size_bytes: int) -> tuple[Path, Path]:
    """Write both versions, each into a directory of its own."""
    directories = new_directory(home, "first"), new_directory(home, "second")
    # Of a size that no multiple of chunks has, as tensors are.
    tensor_bytes = size_bytes // TENSORS - 777
    tensors = {f"layer-{number}": os.urandom(tensor_bytes) for number in range(TENSORS)}
    write(directories[0] / name, tensors)
    changed = {key: os.urandom(tensor_bytes) for key in list(tensors)[::CHANGED_EVERY]}
    write(directories[1] / name, {"added": os.urandom(ADDED_BYTES), **tensors, **changed})
    return directories


def write_safetensors(path: Path, tensors: Tensors) -> None:
    """Write tensors as https://huggingface.co/docs/safetensors/index#format says."""
    header: dict[str, object] = {}
    end = 0
    for name, data in tensors.items():
        offsets = [end, end + len(data)]
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": offsets}
        end = offsets[1]
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        file.writelines(tensors.values())


def write_checkpoint(path: Path, tensors: Tensors) -> None:
    """Write tensors as torch.save lays them out: a zip archive of members stored as they are."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", json.dumps(list(tensors)))
        for number, data in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{number}", data)


FORMATS: tuple[tuple[str, str, Write], ...] = (
    ("safetensors", "model.safetensors", write_safetensors),
    ("checkpoint", "model.pt", write_checkpoint),
)
