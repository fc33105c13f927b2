"""The benchmarks run; what they say at this size means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.catalogue import BENCHMARKS
from tests.bench.measuring import Comparison
from tests.bench.options import MIB, Options

ELSEWHERE = {"fanout", "go", "wheel", "peers"}
"""The wheel and the Go program, which `make interop` builds, have tests of their own; for its
peers a benchmark installs a gigabyte of them."""


@pytest.mark.parametrize("name", sorted(BENCHMARKS.keys() - ELSEWHERE))
async def test_a_benchmark_compares_with_a_baseline(name: str, tmp_path: Path) -> None:
    options = Options(
        home=tmp_path,
        rounds=1,
        seconds=0.5,
        transfer_bytes=5 * MIB,
        transfer_rounds=1,
        moves=2,
        versions=200,
        engines=("sqlite",),
    )
    rows = await BENCHMARKS[name].run(options)
    ratios = [row.ratio.median for row in rows if isinstance(row, Comparison)]
    assert ratios
    assert all(ratio != 0 for ratio in ratios)
