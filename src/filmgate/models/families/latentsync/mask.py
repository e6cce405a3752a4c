"""The part of an aligned face that is generated: mouth, cheeks and chin."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

SIDE = 256
LOWEST = 242 / SIDE  # how far down a face is generated
LATENT_CELL = 8  # pixels of a face in one latent, in both directions
# Rows of the published mask, each with the columns that are generated (both ends included) from
# that row to the next one listed.
_RUNS = """
95 9-77 178-246; 128 9-247; 135 9-246; 136 10-246; 149 10-245; 150 11-245; 163 11-244; 164 12-244;
170 12-243; 171 13-243; 172 13-242; 173 14-242; 174 14-241; 175 15-241; 176 15-240; 177 16-240;
178 16-239; 179 17-238; 180 18-238; 181 18-237; 182 19-236; 184 20-235; 185 21-234; 187 22-233;
188 22-232; 189 23-232; 190 24-231; 191 25-230; 192 26-230; 193 26-229; 194 27-228; 195 28-228;
196 29-227; 197 30-226; 198 31-225; 199 32-224; 200 33-223; 201 34-223; 202 34-222; 203 35-221;
204 36-220; 205 37-219; 206 38-218; 207 39-217; 208 40-216; 209 42-215; 210 43-214; 211 44-213;
212 45-212; 213 47-211; 214 48-210; 215 49-208; 216 51-207; 217 52-206; 218 54-204; 219 56-203;
220 57-202; 221 59-200; 222 60-199; 223 62-197; 224 64-196; 225 66-194; 226 68-192; 227 70-191;
228 72-189; 229 74-187; 230 76-185; 231 78-183; 232 80-180; 233 82-178; 234 85-175; 235 87-173;
236 90-171; 237 93-168; 238 95-166; 239 99-164; 240 104-160; 241 108-156; 242 131-152; 243
"""


@cache
def make_mask(side: int) -> npt.NDArray[np.float32]:
    """Return the mask (side, side) in [0, 1]: 1 keeps the face, 0 generates it."""
    import cv2

    plane: Any = draw_mask()
    if side != SIDE:
        plane = cv2.resize(plane, (side, side), interpolation=cv2.INTER_LANCZOS4)
    mask: npt.NDArray[np.float32] = plane.astype(np.float32) / 255
    mask.flags.writeable = False
    return mask


@cache
def make_soft_edges(side: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the mask (side, side) with soft edges, and how much of a face is seen, 0 to 1.

    All that is generated is seen, and a seam around it in which the face is as it was.
    """
    import cv2

    mask: Any = make_mask(side).clip(0, 1)
    soft = np.maximum(mask, cv2.GaussianBlur(mask, (0, 0), side / 128))
    shown: Any = np.clip(2 * cv2.GaussianBlur(1 - mask, (0, 0), side / 64), 0, 1)
    for plane in (soft, shown):
        plane.flags.writeable = False
    return soft, shown


@cache
def make_latent_mask(side: int) -> npt.NDArray[np.float32]:
    """Return the mask of faces of this side at the size of their latents: the nearest values."""
    latent = make_mask(side)[::LATENT_CELL, ::LATENT_CELL].copy()
    latent.flags.writeable = False
    return latent


def draw_mask() -> npt.NDArray[np.uint8]:
    """Return the published mask (256, 256): 255 keeps, 0 generates."""
    plane = np.full((SIDE, SIDE), 255, np.uint8)
    rows = [entry.split() for entry in _RUNS.split(";")]
    for (first, *runs), (following, *_) in pairwise(rows):
        for run in runs:
            low, high = map(int, run.split("-"))
            plane[int(first) : int(following), low : high + 1] = 0
    return plane
