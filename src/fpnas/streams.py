"""Random streams: a generator for each purpose and moment, a pure function of the run's seed.

Nothing here keeps state between steps, so a resumed run needs no generator in its checkpoint: the stream of step 1,000
is the same whether or not the process saw the steps before it.
"""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, *keys: int | str) -> torch.Generator:
    """A CPU generator for `(seed, *keys)`: equal arguments give equal streams, different ones unrelated streams."""
    text = "/".join(str(key) for key in (seed, *keys))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little", signed=True))
