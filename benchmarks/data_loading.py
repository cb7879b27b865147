"""How long a data set takes to load, and whether threads or processes should decode it.

    python benchmarks/data_loading.py ../shared/data/cifar10 [--image-size S] [--workers 0 1 2 4]

First decoding alone, of the first 8,000 encoded images of a folder: in this thread, by threads, and by processes that
send pixels back. Then `fpnas.data.load` as a whole, with as many threads. Seconds of wall time, and of all cores
together; the latter hardly depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

import fpnas
from fpnas.data.decode import decode
from fpnas.data.readers import class_folder, parquet
from fpnas.data.request import Encoded, Request

CHUNK = 32
MOST = 8_000


def decode_chunk(chunk: list[Any]) -> list[Any]:
    return [decode(content, 3) for content in chunk]


def encoded_images(folder: Path) -> list[Any]:
    source = (parquet if parquet.recognises(folder) else class_folder).read(Request(folder)).train
    assert isinstance(source, Encoded)
    return [item.content for item in source.items(torch.arange(min(MOST, len(source.labels))))]


def timed(what: str, work: Callable[[], object]) -> None:
    def cores() -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    wall, before = time.perf_counter(), cores()
    work()
    print(f"{what:24} {time.perf_counter() - wall:8.2f} s wall {cores() - before:8.2f} s of cores", flush=True)


def by(pool: Callable[..., Executor], workers: int, chunks: list[list[Any]]) -> None:
    with pool(workers) as executor:
        for _ in executor.map(decode_chunk, chunks):
            pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2, 4])
    options = parser.parse_args()
    contents = encoded_images(options.data)
    chunks = [contents[start : start + CHUNK] for start in range(0, len(contents), CHUNK)]
    print(f"{len(contents)} images of {options.data.name}, torch {torch.__version__}")
    timed("decode, this thread", lambda: [decode_chunk(chunk) for chunk in chunks])
    for workers in filter(None, options.workers):
        timed(f"decode, {workers} threads", lambda workers=workers: by(ThreadPoolExecutor, workers, chunks))
        timed(f"decode, {workers} processes", lambda workers=workers: by(ProcessPoolExecutor, workers, chunks))
    for workers in options.workers:
        timed(
            f"load, {workers} workers",
            lambda workers=workers: fpnas.data.load(options.data, options.image_size, workers=workers),
        )


if __name__ == "__main__":
    main()
