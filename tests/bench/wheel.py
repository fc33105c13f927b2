"""What the client alone brings along."""

from __future__ import annotations

from tests.bench.importing import compare_imports
from tests.bench.measuring import Fact, Row
from tests.bench.options import MIB, Options
from tests.support.light_install import LightInstall

TITLE = "the wheel without extras: what comes along, how large, how long it takes to import"


async def run(options: Options) -> list[Row]:
    """Build and install the wheel, then look at what is there."""
    install = LightInstall.make(options.home)
    installed = sorted(install.distributions().items())
    sizes = [
        Fact(f"{name} {each.version}", each.size_bytes / MIB, "MiB") for name, each in installed
    ]
    total = sum(each.size_bytes for _, each in installed)
    return [
        Fact("the wheel itself", install.wheel.stat().st_size / MIB, "MiB"),
        *sizes,
        Fact("installed, in all", total / MIB, "MiB"),
        *compare_imports(str(install.python), options),
    ]
