"""PersonaLive as a stage: frames of a driver in, frames of the portrait out, at the same times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from filmgate.core.chain import Chain
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.instrumentation.phases import phase
from filmgate.core.stage import Reach, frames_to_seconds
from filmgate.errors import BadSetting, Unsupported
from filmgate.media.pixels import rgb
from filmgate.media.pixels.color_tags import resize_color_tags
from filmgate.media.pixels.planes import Planes
from filmgate.models.contracts import AnimationRequest, Face, FindFace
from filmgate.models.diffusion.rolling import RollingDenoiser, draw_frames
from filmgate.models.families.personalive.animator import WINDOW, Animator, Motion, Progress
from filmgate.models.families.personalive.keypoints import GRID, Box
from filmgate.models.families.personalive.networks import Networks, square
from filmgate.models.families.personalive.schedule import Schedule

KEPT_EXTRAS = ("concealed", "notice", "remark")  # what still holds for the new image
_HEAD = 2.2  # times a face's box: the region that has the head and some room to move
_FACE = 1.1  # times a face's box: what the motion encoder sees


@dataclass(frozen=True, slots=True)
class Region:
    """A square of an image, in pixels."""

    left: int
    top: int
    side: int

    def cut(self, image: Tensor) -> Tensor:
        """Return the part (3, side, side) of an image (3, H, W)."""
        return image[:, self.top : self.top + self.side, self.left : self.left + self.side]


@dataclass(frozen=True, slots=True)
class State:
    """The state: the animation's, the region of the head, and frames that wait, without images.

    `motions`: of the frames of the next window. `waiting`: frames whose results are not out yet,
    those of `motions` included. `lost`: the last frame had no face. `far`: the last window was
    far from the portrait and all keyframes.
    """

    progress: Progress = Progress()
    region: Region | None = None
    motions: tuple[Motion, ...] = ()
    waiting: tuple[Frame, ...] = ()
    lost: bool = False
    far: bool = False


@dataclass(frozen=True)
class PasteBack:
    """Puts an animated square back into its image (3, H, W), with soft edges."""

    image: Tensor
    region: Region

    def __call__(self, animated: Tensor) -> Tensor:
        """Return the image with the square in it; `animated` is (3, size, size)."""
        side, height, width = self.region.side, *self.image.shape[1:]
        small = square(animated, side) if side != animated.shape[1] else animated
        mask = self._make_mask(side, height, width).to(animated.device)
        result = self.image.to(animated.device).clone()
        part = self.region.cut(result)
        part.copy_(part + mask * (small - part))
        return result

    def _make_mask(self, side: int, height: int, width: int) -> Tensor:
        """Return how much of each pixel is new (side, side): less to edges within the image."""
        soft, places = max(1, side // 16), torch.arange(side) + 0.5
        ramps = []
        for start, length in ((self.region.top, height), (self.region.left, width)):
            ramp = torch.ones(side)
            if start > 0:
                ramp = ramp.minimum(places / soft)
            if start + side < length:
                ramp = ramp.minimum((side - places) / soft)
            ramps.append(ramp.clamp(0, 1))
        return ramps[0][:, None] * ramps[1]


@dataclass(frozen=True)
class PersonaLive:
    """The stage: planes of a driver to RGB tensors of the portrait, one for each frame.

    `find_face` returns the face's box in a frame, None if there is no face; without it the model's
    own points tell. A frame leaves when the third window after its own has joined, or at the end.
    """

    animator: Animator
    find_face: FindFace | None = None
    paste: PasteBack | None = None
    name: str = "personalive"

    def reach(self, spec: StreamSpec) -> Reach:
        denoiser = self.animator.denoiser
        ahead = (denoiser.waiting + 1) * denoiser.window - 1
        return Reach(None, frames_to_seconds(ahead, spec))

    def output(self, spec: StreamSpec) -> StreamSpec:
        if spec.pixels == "rgb":
            raise Unsupported(f"{self.name} takes planes, and these are RGB tensors: put the stage "
                              "before their conversion")  # fmt: skip
        spec = rgb.convert_to_rgb().output(spec)  # raises for alpha and HDR
        height, width = (
            self.paste.image.shape[1:] if self.paste else (self.animator.size, self.animator.size)
        )
        return replace(spec, width=width, height=height)

    def start(self, spec: StreamSpec, first: Position) -> State:
        return State()

    def step(self, state: State, frames: Sequence[Frame]) -> tuple[State, list[Frame]]:
        outputs: list[Frame] = []
        with torch.inference_mode():
            for frame in frames:
                state = self._watch(state, frame)
                if len(state.motions) == self.animator.denoiser.window:
                    state, some = self._push(state)
                    outputs += some
        return state, outputs

    def finish(self, state: State) -> tuple[State | None, list[Frame]]:
        """Push windows that repeat the last motion until every frame is out, one at a time."""
        if not state.waiting:
            return None, []
        last = state.motions or (state.progress.last,)
        with torch.inference_mode():
            state, outputs = self._push(replace(state, motions=tuple(filter(None, last))))
        return (state if state.waiting else None), outputs

    def _push(self, state: State) -> tuple[State, list[Frame]]:
        """Let a window of motion join the stack; return the frames that leave it."""
        some = Motion(torch.cat([one.points for one in state.motions]),
                      torch.cat([one.tokens for one in state.motions]))  # fmt: skip
        motion = some.repeat_last(self.animator.denoiser.window)
        with phase("denoise", self.animator.denoiser.window):
            progress, window = self.animator.push(state.progress, motion)
        waiting, outputs, far = state.waiting, list[Frame](), False
        if window.number >= 0:  # those before lead from the portrait to the first frame
            distance = self.animator.find_far(progress, window)
            far = distance is not None
            if distance is not None and waiting and not state.far:
                said = (
                    f"the expression at {float(waiting[0].time):.3f} s is {distance:.0f} from "
                    "the portrait's and all keyframes', wanted 17 at most: looks may drift"
                )
                waiting = (waiting[0].with_remark(said), *waiting[1:])
            outputs = [self._show(*pair) for pair in zip(waiting, window.latents, strict=False)]
            waiting = waiting[len(outputs) :]
        after = replace(state, progress=progress, motions=(), waiting=waiting, far=far)
        return after, outputs

    def _show(self, frame: Frame, latent: Tensor) -> Frame:
        with phase("decode image", 1):
            image = self.animator.nets.decode(latent)
        if self.paste:
            with phase("paste back", 1):
                image = self.paste(image)
        return replace(frame, image=image)

    def _watch(self, state: State, frame: Frame) -> State:
        """Return the state after a frame: with its motion, or the last one if it has no face."""
        planes = frame.image
        assert isinstance(planes, Planes)
        face = self.find_face(frame) if self.find_face else None
        region, progress, found = state.region, state.progress, False
        if face is not None or self.find_face is None:
            region = region or choose_region(planes.size, face)
            image = region.cut(planes.to_rgb(device=self.animator.nets.device))
            box = None if face is None else to_box(face, region)
            with phase("read motion", 1):
                progress, found = self.animator.watch(progress, square(image) * 2 - 1, box)
        if not found:
            progress = self.animator.hold(progress)
        assert progress.last is not None
        waiting = frame.with_image((), keep=KEPT_EXTRAS)
        if not found and not state.lost:
            said = f"no face from {float(frame.time):.3f} s on: the last pose is held"
            waiting = waiting.with_remark(said)
        return State(progress, region, (*state.motions, progress.last),
                     (*state.waiting, waiting), not found, state.far)  # fmt: skip


def choose_region(size: tuple[int, int], face: Face | None) -> Region:
    """Return the square around a face, or the largest one in the middle of an image of `size`."""
    width, height = size
    most = min(size)
    if face is None:
        return Region((width - most) // 2, (height - most) // 2, most)
    left, top, across, down = face
    side = min(most, max(16, round(_HEAD * max(across, down))))
    x = round(left + across / 2 - side / 2)
    y = round(top + down / 2 - side / 2)
    return Region(min(max(x, 0), width - side), min(max(y, 0), height - side), side)


def to_box(face: Face, region: Region) -> Box:
    """Return the square around a face's box, in pixels of 512 of the region; it may be empty."""
    left, top, width, height = face
    half = _FACE * max(width, height) / 2
    x, y = left + width / 2 - region.left, top + height / 2 - region.top
    scale = GRID / region.side
    corners = ((x - half) * scale, (y - half) * scale, (x + half) * scale, (y + half) * scale)
    return Box(*(int(min(max(corner, 0), GRID)) for corner in corners))


def build_stage(nets: Networks, spec: StreamSpec, request: AnimationRequest) -> Chain:
    """Return the stage of planes to planes that animates what is requested.

    Raises BadSetting for a region outside the portrait.
    """
    image = request.portrait.to_rgb()
    width, height = request.portrait.size
    if request.region is None:
        region = choose_region((width, height), None)
    else:
        region = Region(*request.region)
        left, top, side = request.region
        if not (0 <= left <= width - side and 0 <= top <= height - side):
            raise BadSetting(f"region is {left},{top},{side} and the portrait is {width}x{height}: "
                             "pass left,top,side of a square in it")  # fmt: skip
    denoiser = RollingDenoiser(Schedule(), WINDOW, draw_frames(spec.seed, "personalive"))
    animator = Animator(nets.forget(), denoiser, region.cut(image), request.size, request.keyframes)
    paste = PasteBack(image, region) if request.paste_back else None
    stage = PersonaLive(animator, request.find_face, paste)
    made = stage.output(spec)
    colour = resize_color_tags(spec, made.width, made.height)
    return Chain((stage, rgb.convert_to_planes(spec.pixels, colour)))
