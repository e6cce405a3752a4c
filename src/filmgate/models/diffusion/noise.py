"""Noise for diffusion models: a function of seed, purpose and absolute frame index."""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt


def draw_noise(
    seed: int, purpose: str, index: int, shape: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """Return standard normal values, float32, drawn on the CPU: reproducible in any order.

    `index` is the absolute index of the frame. Philox keyed by a hash (Salmon et al., SC 2011), so
    noise of neighbouring frames, purposes and seeds is independent.
    """
    key = blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=16).digest()
    stream = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    return stream.standard_normal(shape, dtype=np.float32)
