"""What glibc's malloc does with the memory that a step frees: left to itself, most of it goes back to the kernel.

It gives back what is free at the heap's end beyond twice the largest block so far, and a step frees many blocks; the
next step gets them again page by page, each of them zeroed. Kept, they are there at once (ours; what it saves and
takes: benchmarks/results/process_settings_*).
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

# From malloc.h. Thresholds in bytes: above the first memory is mapped, and unmapped when freed; above the second what
# is free at the heap's end goes back.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
MAPPED_ABOVE = 32 << 20  # the most that glibc takes
KEPT = 512 << 20

_BY_USER = ("GLIBC_TUNABLES", "MALLOC_")


@cache
def keep_memory() -> bool:
    """Has malloc keep freed memory for the next step, once a process; whether it does.

    Left alone where the environment sets malloc (GLIBC_TUNABLES or MALLOC_*), and where malloc isn't glibc's.
    """
    if any(name.startswith(_BY_USER) for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    return mallopt is not None and all(
        mallopt(name, value) == 1 for name, value in ((_MMAP_THRESHOLD, MAPPED_ABOVE), (_TRIM_THRESHOLD, KEPT))
    )
