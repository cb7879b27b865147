"""Freed memory is kept for the next step, unless the environment says how malloc is to be."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from fpnas import allocator

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
PROGRAM = """
import ctypes, resource, runpy, sys
keep_memory = runpy.run_path(sys.argv[1])["keep_memory"]
print(keep_memory(), keep_memory())
size, count = 16 << 20, 12
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffers = [ctypes.create_string_buffer(size) for _ in range(count)]
    for buffer in buffers:
        ctypes.memset(buffer, 1, size)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(min(faults() for _ in range(3)) < count * size / 4096 / 4)
"""
"""Twelve buffers of 16 MiB are taken and freed over and over, as by steps: kept, their pages are there at once."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc is left alone")
@pytest.mark.parametrize(
    ("settings", "kept"),
    [({}, True), ({"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"}, False), ({"MALLOC_ARENA_MAX": "8"}, False)],
)
def test_freed_memory_is_kept(settings: dict[str, str], kept: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, allocator.__file__],
        env={**CLEAN, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(kept)] * 3
