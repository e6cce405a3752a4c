"""A test chart: bars, ramps, saturated edges, a zone plate, skin, sky and foliage colours."""

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 640, 360
_PATCHES = ((0.76, 0.57, 0.49), (0.45, 0.31, 0.24), (0.35, 0.48, 0.61), (0.34, 0.42, 0.26),
            (0.52, 0.50, 0.69), (0.40, 0.74, 0.66), (0.84, 0.49, 0.17), (0.73, 0.33, 0.38),
            )  # fmt: skip


def draw_chart() -> npt.NDArray[np.float32]:
    """Return RGB (3, 360, 640) in [0, 1]."""
    image = np.full((3, HEIGHT, WIDTH), 0.5, np.float32)
    bars = np.array([[n >> 1 & 1, n >> 2 & 1, n & 1] for n in range(7, -1, -1)])
    across = np.arange(WIDTH)
    image[:, :90] = (0.75 * bars[across // 80].T)[:, None]
    # ramps of grey, red, green and blue, 15 rows each
    for n, weights in enumerate(((1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1))):
        ramp = across / (WIDTH - 1) * np.array(weights)[:, None]
        image[:, 90 + 15 * n : 105 + 15 * n] = ramp[:, None]
    # ever closer edges between saturated colours, which subsampled chroma cannot hold
    for n, (one, other) in enumerate((((1, 0, 0), (0, 0, 1)), ((0, 1, 0), (1, 0, 1)))):
        widths = np.maximum(1, 16 - across // 40)
        stripes = (np.cumsum(1 / widths) % 2 < 1)[None]
        colours = np.where(stripes, np.array(one)[:, None], np.array(other)[:, None])
        image[:, 150 + 20 * n : 170 + 20 * n] = colours[:, None]
    y, x = np.mgrid[:170, :320]
    zone = 0.5 + 0.5 * np.cos(((x - 160) ** 2 + (y - 85) ** 2) * np.pi / 330)
    image[:, 190:, :320] = zone
    for n, patch in enumerate(_PATCHES):
        top, left = 190 + 85 * (n // 4), 320 + 80 * (n % 4)
        # a soft shade over each, as on a face
        shade = 1 - 0.25 * (np.mgrid[:85, :80].sum(0) / 163)
        image[:, top : top + 85, left : left + 80] = np.array(patch)[:, None, None] * shade
    return image
