"""Stream-DiffVSR as a stage: four steps per frame, guided by the warped previous result."""

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
from filmgate.flow.stage import upsample_flow
from filmgate.models.diffusion.noise import draw_noise
from filmgate.models.families.diffvsr.schedule import Schedule, warp
from filmgate.models.families.diffvsr.vae import TinyVae

SCALE = 4
PROMPT_TOKENS = 77  # of the empty prompt
ALIGN = 4  # inputs are padded to multiples of this: features are pooled 4 x 4
STRIP_PIXELS = 1 << 20  # pixels of the result per tile of a convolution, about
KEPT_EXTRAS = ("cut", "concealed", "notice", "remark")  # what still holds for the larger image
CONDITION_HALO = CONDITION_GRID = 16  # five convolutions and two halvings see 11 pixels

State = tuple[
    Tensor, ...
]  # (), or the last result (1, 3, 4h, 4w), padded, in [-1, 1] and slightly outside


@dataclass(frozen=True)
class Networks:
    """The networks, on one device and of one dtype.

    `unet` and `control` are diffusers' classes; `condition` is the part of `control` that encodes
    the large image, separate because the steps of a frame share its result. `prompt` (1, 77, C)
    is the embedding of the empty prompt.
    """

    unet: Any
    control: Any
    condition: nn.Module
    vae: TinyVae
    prompt: Tensor

    @classmethod
    def of(cls, unet: Any, control: Any, vae: TinyVae, prompt: Tensor) -> Networks:
        """Return the networks with `condition` taken out of `control`."""
        condition, control.controlnet_cond_embedding = (
            control.controlnet_cond_embedding, nn.Identity(),
        )  # fmt: skip
        return cls(unet, control, condition, vae, prompt)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of every network."""
        return self.prompt.dtype

    def encode_condition(self, large: Tensor, tile: Tile) -> Tensor:
        """Return the ControlNet's encoding (1, C, h, w) of a large image (1, 3, 4h, 4w)."""
        parts = tiled(self.condition, halo=CONDITION_HALO, grid=CONDITION_GRID,
                      out=(Fraction(1, SCALE),), tile=tile)  # fmt: skip
        return parts(large)  # type: ignore[no-any-return]

    def predict_velocity(
        self, latent: Tensor, small: Tensor, level: int, condition: Tensor | None
    ) -> Tensor:
        """Return the UNet's result for a latent (1, 4, h, w) and the small image (1, 3, h, w)."""
        x = torch.cat([latent.to(self.dtype), small], 1)
        if condition is None:
            return self.unet(x, level, self.prompt, return_dict=False)[0]  # type: ignore[no-any-return]
        down, mid = self.control(x, level, self.prompt, condition, return_dict=False)
        return self.unet(  # type: ignore[no-any-return]
            x, level, self.prompt, return_dict=False, mid_block_additional_residual=mid,
            down_block_additional_residuals=_pop_each(down),
        )[0]  # fmt: skip


def _pop_each(tensors: list[Tensor]) -> Iterator[Tensor]:
    """Yield each tensor and drop it: the UNet adds them one by one, and they set its peak."""
    tensors.reverse()
    while tensors:
        yield tensors.pop()


@dataclass(frozen=True)
class DiffVsr:
    """The stage: RGB tensors (3, h, w) in [0, 1] to (3, 4h, 4w), by Stream-DiffVSR.

    Frames need the extra "flow_prev", except the first and those with "cut", which start without
    a guide. The state is the last result. Noise depends on the frame's index. `tile` (pixels of
    the result) bounds the memory of convolutions at that size; None: by size.
    """

    nets: Networks
    schedule: Schedule = Schedule()
    steps: int = 4
    seed: int = 0
    tile: Tile | None = None
    name: str = "diffvsr"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(None, Fraction(0))

    def output(self, spec: StreamSpec) -> StreamSpec:
        if spec.pixels != "rgb":
            raise Unsupported(f"{self.name} cannot take {spec.pixels}: put "
                              "convert_to_rgb() before it")  # fmt: skip
        self.schedule.list_levels(self.steps)
        return replace(spec, width=SCALE * spec.width, height=SCALE * spec.height)

    def start(self, spec: StreamSpec, first: Position) -> State:
        return ()

    def step(self, state: State, frames: Sequence[Frame]) -> tuple[State, list[Frame]]:
        outputs: list[Frame] = []
        with torch.inference_mode():
            for frame in frames:
                image = frame.image
                assert isinstance(image, Tensor)
                before = (
                    None if frame.extras.get("cut") else self._warp_previous(state, frame, image)
                )
                small = pad_image(image)
                noise = draw_noise(self.seed, self.name, frame.index, (1, 4, *small.shape[2:]))
                large = self.denoise(small, torch.from_numpy(noise), before)
                height, width = (SCALE * side for side in image.shape[1:])
                visible = (large[0, :, :height, :width].float() / 2 + 0.5).clamp_(0, 1)
                outputs.append(frame.with_image(visible.to(image.dtype), keep=KEPT_EXTRAS))
                state = (large,)
        return state, outputs

    def finish(self, state: State) -> tuple[None, list[Frame]]:
        return None, []

    def denoise(self, small: Tensor, latent: Tensor, before: Tensor | None) -> Tensor:
        """Return the large image (1, 3, 4h, 4w) of a small one (1, 3, h, w), both in [-1, 1].

        `latent` (1, 4, h, w) is pure noise; `before` is the previous result, warped to this frame
        and of the networks' dtype, or None. Latents and their steps are float32.
        """
        nets, device = self.nets, self.nets.prompt.device
        tile = self.tile or choose_tile(SCALE * small.shape[3])
        latent, small = latent.to(device), small.to(device, nets.dtype)
        condition = None if before is None else nets.encode_condition(before, tile)
        for level in self.schedule.list_levels(self.steps):
            velocity = nets.predict_velocity(latent, small, level, condition)
            latent = self.schedule.step(latent, velocity, level, self.steps)
        features = None if before is None else nets.vae.pool_features(before, tile)
        return nets.vae.decode(latent.to(nets.dtype), features, tile)

    def _warp_previous(self, state: State, frame: Frame, image: Tensor) -> Tensor | None:
        if not state:
            return None
        flow = frame.extras.get("flow_prev")
        if flow is None:
            raise StageContractError(
                f"frame {frame.index} at {frame.time} s came without flow_prev: "
                f"{self.name} needs a stage before it that estimates flow"
            )
        height, width = image.shape[1:]
        device = self.nets.prompt.device  # state and flow may be on another device
        along = torch.as_tensor(flow).to(device, torch.float32)
        field = upsample_flow(along, (SCALE * height, SCALE * width))[None]
        return warp(state[0].to(device), _pad_edges(field, SCALE * ALIGN)).to(self.nets.dtype)


def choose_tile(width: int) -> Tile:
    """Return tiles of complete rows of an image `width` wide."""
    return Tile(max(64, STRIP_PIXELS // width // 16 * 16), 1 << 20)


def pad_image(image: Tensor) -> Tensor:
    """Return an image (3, h, w) in [0, 1] as (1, 3, h', w') in [-1, 1], edges repeated."""
    return _pad_edges(image[None].float() * 2 - 1, ALIGN)


def _pad_edges(large: Tensor, align: int) -> Tensor:
    height, width = large.shape[2:]
    return functional.pad(large, (0, -width % align, 0, -height % align), mode="replicate")
