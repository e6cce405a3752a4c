"""The animation of a portrait, window by window: images of a driver in, latents of frames out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from filmgate.models.diffusion.rolling import Piles, RollingDenoiser, Window
from filmgate.models.families.personalive import keypoints
from filmgate.models.families.personalive.extractor import Head
from filmgate.models.families.personalive.keypoints import GRID, Box
from filmgate.models.families.personalive.networks import Networks, square

WINDOW = 4  # frames that share a noise level
MOST_KEYFRAMES = 3
THRESHOLD = 17.0  # distance of motion tokens from which on a frame is a keyframe
_FIRST_KEYFRAME = 9  # window in which the first keyframe may be found


@dataclass(frozen=True, slots=True)
class Motion:
    """How the driver's head is in some frames: what the denoiser is conditioned on.

    `points` (N, 21, 3) of the portrait, posed like the driver, -1 to 1; `tokens` (N, 32, 16).
    Both float32.
    """

    points: Tensor
    tokens: Tensor

    def repeat_last(self, count: int) -> Motion:
        """Return `count` frames: these, then the last one again and again."""
        missing = count - len(self.points)
        points, tokens = (torch.cat([some, some[-1:].expand(missing, *some.shape[1:])])
                          for some in (self.points, self.tokens))  # fmt: skip
        return Motion(points, tokens)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of the portrait: all of it is computed once.

    `latent` (1, 4, h, w), `token` (1, 1, W) of CLIP, its head, and its motion tokens (1, 32, 16).
    """

    latent: Tensor
    token: Tensor
    head: Head
    motion: Tensor


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of an animation: plain and bounded.

    `first`: the driver's head in the first frame, the portrait's if there was no face; None before.
    `anchor` (1, 3): the shift of the first face, None before. `last`: the motion of the last frame,
    None before the first. `piles`: the denoiser's state, None before the first window. `keyframes`:
    latents (1, 4, h, w) of those so far, `poses` the motion tokens (32, 16) of the portrait and of
    each of them.
    """

    first: Head | None = None
    anchor: Tensor | None = None
    last: Motion | None = None
    piles: Piles | None = None
    keyframes: tuple[Tensor, ...] = ()
    poses: tuple[Tensor, ...] = ()


def measure_distance(motion: Motion, poses: Sequence[Tensor]) -> float:
    """Return how far the expression of the first frame is from the nearest one in `poses`."""
    return min(float(torch.dist(motion.tokens[0], pose)) for pose in poses)


@dataclass(frozen=True)
class Animator:
    """Animates one portrait; holds networks and settings, and never changes.

    `portrait` (3, H, W) in [0, 1] is square. `size`: pixels of a side of the result. `keyframes`:
    how many frames at most are remembered by their looks, besides the portrait. `radius`: of the
    discs that show points, by default 4 pixels of 512.
    """

    nets: Networks
    denoiser: RollingDenoiser
    portrait: Tensor
    size: int = GRID
    keyframes: int = MOST_KEYFRAMES
    radius: float | None = None

    @cached_property
    def seen(self) -> Seen:
        """What is known of the portrait."""
        image = square(self.portrait.to(self.nets.device)) * 2 - 1
        head = self.nets.read_heads(image[None])
        box = keypoints.find_box(self.place(head)[0])
        box = Box(0, 0, GRID, GRID) if box.is_empty else box
        latent = self.nets.encode(square(self.portrait.to(self.nets.device), self.size) * 2 - 1)
        token = self.nets.see(self.portrait)
        return Seen(latent, token, head, self.nets.read_motion([image], [box]))

    def place(self, head: Head) -> Tensor:
        """Return the points (N, 21, 3) of heads in their own images."""
        return keypoints.place_points(head)

    def retarget(self, driver: Head, anchor: Tensor) -> Tensor:
        """Return the points (N, 21, 3) of the portrait, posed like the driver."""
        return keypoints.retarget(self.seen.head, driver, anchor)

    def approach(self, driver: Head, count: int) -> Tensor:
        """Return the points (count, 21, 3) on the way from the portrait's pose to the driver's."""
        return keypoints.approach(self.seen.head, driver, count)

    def watch(
        self, progress: Progress, image: Tensor, box: Box | None
    ) -> tuple[Progress, bool]:  # fmt: skip
        """Return the state after a driving frame, in which `last` is its motion.

        `image` (3, 512, 512) in [-1, 1]; `box` is that of the face, None: by its own points. The
        second value is False, and the state as it was, if the box is empty: the head is outside.
        """
        head = self.nets.read_heads(image[None])
        box = keypoints.find_box(self.place(head)[0]) if box is None else box
        if box.is_empty:
            return progress, False
        anchor = head.shift if progress.anchor is None else progress.anchor
        motion = Motion(self.retarget(head, anchor), self.nets.read_motion([image], [box]))
        first = progress.first or head
        return replace(progress, first=first, anchor=anchor, last=motion), True

    def hold(self, progress: Progress) -> Progress:
        """Return the state after a frame without a face: it repeats the last motion.

        Before the first face that is the portrait's own pose.
        """
        seen = self.seen
        held = progress.last or Motion(self.place(seen.head), seen.motion)
        return replace(progress, first=progress.first or seen.head, last=held)

    def find_far(self, progress: Progress, window: Window) -> float | None:
        """Return how far a window that left is from the portrait and all keyframes, in expression.

        None if it is near, which is up to the distance from which on a frame is a new keyframe.
        """
        if window.number < _FIRST_KEYFRAME - self.denoiser.waiting:
            return None
        distance = measure_distance(window.condition, progress.poses)
        return distance if distance > THRESHOLD else None

    def push(self, progress: Progress, motion: Motion) -> tuple[Progress, Window]:
        """Return the state after a window of motion, and the window that leaves, noise removed.

        Its number is negative for those on the way from the portrait to the first frame.
        """
        seen, number = self.seen, 0
        piles, poses = progress.piles, progress.poses or (seen.motion[0],)
        if piles is None:
            piles = self._start(progress.first or seen.head, motion)
        else:
            number = piles.next
        leaving: Motion = piles.conditions[0]
        is_key = (
            number >= _FIRST_KEYFRAME
            and len(progress.keyframes) < min(self.keyframes, MOST_KEYFRAMES)
            and measure_distance(leaving, poses) > THRESHOLD
        )
        portrait = self.nets.show(seen.token, (seen.latent, *progress.keyframes))

        def predict(latents: Tensor, levels: Tensor, conditions: Sequence[Any]) -> Tensor:
            pose = torch.cat(
                [self.nets.guide(one.points, self.size, self.radius) for one in conditions]
            )
            tokens = torch.cat([one.tokens for one in conditions])
            return self.nets.predict_noise(latents, levels, portrait, tokens, pose)

        noisy = seen.latent.expand(self.denoiser.window, -1, -1, -1)
        piles, window = self.denoiser.push(piles, noisy, motion, predict)
        found = (window.latents[:1],) if is_key else ()
        return replace(
            progress, piles=piles, keyframes=progress.keyframes + found,
            poses=(*poses, leaving.tokens[0]) if is_key else poses,
        ), window  # fmt: skip

    def _start(self, first: Head, motion: Motion) -> Piles:
        """Return the stack before the first window: from the portrait to the first frame."""
        seen, size = self.seen, self.denoiser.window
        count = self.denoiser.waiting * size
        share = (torch.arange(count, device=seen.motion.device) / count)[:, None, None]
        tokens = seen.motion + share * (motion.tokens[:1] - seen.motion)
        points = self.approach(first, count)
        pairs = zip(torch.split(points, size), torch.split(tokens, size), strict=True)
        conditions = [Motion(*pair) for pair in pairs]
        return self.denoiser.start(seen.latent.expand(count, -1, -1, -1), conditions)
