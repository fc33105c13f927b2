"""The machine that figures were taken on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """What a reader must know of the machine."""

    processor: str
    cores: int
    """Shared by clients, servers and databases."""
    load: float
    """Processes that were running or waiting in the minute before."""
    system: str
    python: str
    grpcio: str
    protobuf: str

    @classmethod
    def here(cls) -> Machine:
        """Describe this one."""
        return cls(
            processor=processor(),
            cores=len(os.sched_getaffinity(0)),
            load=round(os.getloadavg()[0], 2),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            grpcio=version("grpcio"),
            protobuf=version("protobuf"),
        )

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores shared by clients, servers and databases, "
            f"load {self.load} before; {self.system}, Python {self.python}, "
            f"grpcio {self.grpcio}, protobuf {self.protobuf}"
        )


def processor() -> str:
    """Return the name of the processor, where Linux tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def peak_memory_bytes(pid: int) -> int:
    """Return the most memory that a process ever had resident."""
    return _status_bytes(pid, "VmHWM:")


def resident_memory_bytes(pid: int) -> int:
    """Return the memory that a process has resident."""
    return _status_bytes(pid, "VmRSS:")


def _status_bytes(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise LookupError(f"process {pid} does not tell {key}")


def processor_seconds(pid: int) -> float:
    """Return the time that processors have spent on a process, in steps of a clock tick."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
