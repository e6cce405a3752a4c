"""Stream-DiffVSR as a stage: four steps a frame, led by the previous result, warped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.stage import Reach
from filmgate.core.wrappers.tiled import Tile, tiled
from filmgate.errors import StageContractError, Unsupported
from filmgate.flow.stage import enlarged
from filmgate.models.diffusion.noise import noise
from filmgate.models.families.diffvsr.schedule import Schedule, warp
from filmgate.models.families.diffvsr.vae import TinyVae

SCALE = 4
WORDS = 77  # of a prompt, none of them said
ALIGN = 4  # sides of small pictures are filled up to multiples of this: features are pooled 4 x 4
STRIP = 1 << 20  # pixels of the large picture that go through a convolution at a time, about
KEPT = ("cut", "concealed", "noted")  # what is still true of the larger picture
CONDITION_HALO = CONDITION_GRID = 16  # five convolutions and two halvings see 11 pixels

State = tuple[Tensor, ...]  # (), or the last result (1, 3, 4h, 4w), filled up, [-1, 1] and beyond


@dataclass(frozen=True)
class Nets:
    """The networks, on one device and of one dtype.

    `unet` and `control` are diffusers' classes; `condition` is the part of `control` that sees the
    large picture, taken out of it because the steps of a frame share what it says. `prompt`
    (1, 77, C) is what the text encoder makes of no words.
    """

    unet: Any
    control: Any
    condition: nn.Module
    vae: TinyVae
    prompt: Tensor

    @classmethod
    def of(cls, unet: Any, control: Any, vae: TinyVae, prompt: Tensor) -> Nets:
        """Takes `condition` out of `control`."""
        condition, control.controlnet_cond_embedding = (
            control.controlnet_cond_embedding, nn.Identity(),
        )  # fmt: skip
        return cls(unet, control, condition, vae, prompt)

    @property
    def dtype(self) -> torch.dtype:
        """That of every network."""
        return self.prompt.dtype

    def conditioned(self, picture: Tensor, tile: Tile) -> Tensor:
        """What the ControlNet makes of a large picture (1, 3, 4h, 4w): (1, C, h, w)."""
        parts = tiled(self.condition, halo=CONDITION_HALO, grid=CONDITION_GRID,
                      out=(Fraction(1, SCALE),), tile=tile)  # fmt: skip
        return parts(picture)  # type: ignore[no-any-return]

    def velocity(
        self, latent: Tensor, small: Tensor, level: int, condition: Tensor | None
    ) -> Tensor:
        """The UNet's word on a latent (1, 4, h, w) beside the small picture (1, 3, h, w)."""
        x = torch.cat([latent.to(self.dtype), small], 1)
        if condition is None:
            return self.unet(x, level, self.prompt, return_dict=False)[0]  # type: ignore[no-any-return]
        down, mid = self.control(x, level, self.prompt, condition, return_dict=False)
        return self.unet(  # type: ignore[no-any-return]
            x, level, self.prompt, return_dict=False, mid_block_additional_residual=mid,
            down_block_additional_residuals=_given_away(down),
        )[0]  # fmt: skip


def _given_away(tensors: list[Tensor]) -> Iterator[Tensor]:
    """Each one, and forgotten: the UNet adds them one by one, and they set its peak."""
    tensors.reverse()
    while tensors:
        yield tensors.pop()


@dataclass(frozen=True)
class DiffVsr:
    """The stage: RGB tensors (3, h, w) in [0, 1] to (3, 4h, 4w), by Stream-DiffVSR.

    Frames want the extra "flow_prev", but for the film's first and those with "cut", which begin
    anew without a guide. The state is the last result. Noise is drawn for each frame's number.
    `tile` (pixels of the result) bounds what convolutions at that size have alive; None: by size.
    """

    nets: Nets
    schedule: Schedule = Schedule()
    steps: int = 4
    seed: int = 0
    tile: Tile | None = None
    name: str = "diffvsr"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(None, Fraction(0))

    def output(self, spec: StreamSpec) -> StreamSpec:
        if spec.pixels != "rgb":
            raise Unsupported(f"{self.name} was promised {spec.pixels}: it wants tensors, so put "
                              "rgb() before it")  # fmt: skip
        self.schedule.levels(self.steps)
        return replace(spec, width=SCALE * spec.width, height=SCALE * spec.height)

    def start(self, spec: StreamSpec, first: Position) -> State:
        return ()

    def step(self, state: State, frames: Sequence[Frame]) -> tuple[State, list[Frame]]:
        made: list[Frame] = []
        with torch.inference_mode():
            for frame in frames:
                image = frame.image
                assert isinstance(image, Tensor)
                before = None if frame.extras.get("cut") else self._before(state, frame, image)
                small = filled(image)
                chance = noise(self.seed, self.name, frame.index, (1, 4, *small.shape[2:]))
                picture = self.drawn(small, torch.from_numpy(chance), before)
                height, width = (SCALE * side for side in image.shape[1:])
                shown = (picture[0, :, :height, :width].float() / 2 + 0.5).clamp_(0, 1)
                made.append(frame.made(shown.to(image.dtype), keep=KEPT))
                state = (picture,)
        return state, made

    def finish(self, state: State) -> tuple[None, list[Frame]]:
        return None, []

    def drawn(self, small: Tensor, latent: Tensor, before: Tensor | None) -> Tensor:
        """The large picture (1, 3, 4h, 4w) of a small one (1, 3, h, w), both in [-1, 1].

        `latent` (1, 4, h, w) is pure noise; `before` is the previous result, warped to this frame
        and of the networks' dtype, or None. Latents and their steps are float32.
        """
        nets, device = self.nets, self.nets.prompt.device
        tile = self.tile or strip(SCALE * small.shape[3])
        latent, small = latent.to(device), small.to(device, nets.dtype)
        condition = None if before is None else nets.conditioned(before, tile)
        for level in self.schedule.levels(self.steps):
            velocity = nets.velocity(latent, small, level, condition)
            latent = self.schedule.step(latent, velocity, level, self.steps)
        features = None if before is None else nets.vae.pooled(before, tile)
        return nets.vae.decode(latent.to(nets.dtype), features, tile)

    def _before(self, state: State, frame: Frame, image: Tensor) -> Tensor | None:
        if not state:
            return None
        flow = frame.extras.get("flow_prev")
        if flow is None:
            raise StageContractError(
                f"frame {frame.index} at {frame.time} s came without flow_prev: "
                f"{self.name} wants a stage before it that finds it"
            )
        height, width = image.shape[1:]
        device = self.nets.prompt.device  # a state from another machine, or flow, lies elsewhere
        along = torch.as_tensor(flow).to(device, torch.float32)
        field = enlarged(along, (SCALE * height, SCALE * width))[None]
        return warp(state[0].to(device), _edged(field, SCALE * ALIGN)).to(self.nets.dtype)


def strip(width: int) -> Tile:
    """Whole rows of a picture `width` wide, as many as go through a convolution at a time."""
    return Tile(max(64, STRIP // width // 16 * 16), 1 << 20)


def filled(image: Tensor) -> Tensor:
    """An image (3, h, w) in [0, 1] as (1, 3, h', w') in [-1, 1], its last rows repeated."""
    return _edged(image[None].float() * 2 - 1, ALIGN)


def _edged(picture: Tensor, align: int) -> Tensor:
    height, width = picture.shape[2:]
    return functional.pad(picture, (0, -width % align, 0, -height % align), mode="replicate")
