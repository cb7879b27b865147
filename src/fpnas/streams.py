"""Random streams: a generator for each purpose and moment, a pure function of the run's seed.

Nothing here keeps state between steps, so a resumed run needs no generator in its checkpoint: the stream of step 1,000
is the same whether or not the process saw the steps before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager

import torch


def generator(seed: int, *keys: int | str) -> torch.Generator:
    """A CPU generator for `(seed, *keys)`: equal arguments give equal streams, different ones unrelated streams."""
    text = "/".join(str(key) for key in (seed, *keys))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little", signed=True))


@contextmanager
def as_global(stream: torch.Generator, device: str = "cpu") -> Generator[None]:
    """Within it, torch's global random state is that of `stream`, for layers and libraries that draw from nothing else.

    Afterwards the global state is what it was, and `stream` has moved on by what was drawn. On "cuda" the GPU's state
    is lent too, seeded by a draw from `stream`.
    """
    on_gpu = torch.device(device).type == "cuda"
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if on_gpu else []):
        if on_gpu:
            seed = int(torch.randint(2**62, (), generator=stream))
            torch.cuda.set_rng_state(torch.Generator(device).manual_seed(seed).get_state())
        torch.set_rng_state(stream.get_state())
        yield
        stream.set_state(torch.get_rng_state())
