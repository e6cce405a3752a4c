"""Chance belongs to the frame, never to the process: noise = f(seed, purpose, absolute frame)."""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt


def noise(seed: int, purpose: str, index: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Standard normal numbers, float32, drawn on the CPU; the same wherever and whenever asked.

    `index` is the frame's absolute number. Philox keyed by a hash (Salmon et al., SC 2011), so
    neighbouring frames, purposes and seeds have nothing to do with each other.
    """
    key = blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=16).digest()
    stream = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    return stream.standard_normal(shape, dtype=np.float32)
