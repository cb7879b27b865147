"""Memory of this process, as Linux counts it. Needs nothing but the standard library."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

MIB = 2**20


def resident() -> float:
    """MiB that the process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def forget_peak() -> None:
    """The kernel's record of the peak starts anew, where it lets us."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """MiB that the process held at most, since `forget_peak`."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
