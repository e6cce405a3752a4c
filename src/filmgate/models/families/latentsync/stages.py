"""LatentSync as stages: faces to latents, then clips of latents to faces in the image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.instrumentation.phases import phase
from filmgate.core.prefetch import map_threads
from filmgate.core.stage import Reach
from filmgate.errors import BadOutput, Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.models.diffusion.autoencoder import Autoencoder
from filmgate.models.diffusion.noise import draw_noise
from filmgate.models.families.latentsync.alignment import (
    Crop,
    Landmarks,
    Matrix,
    align,
    find_height,
)
from filmgate.models.families.latentsync.compiled import CompiledDecoder
from filmgate.models.families.latentsync.faces import LANDMARKS, measure_front
from filmgate.models.families.latentsync.mask import (
    LOWEST,
    make_latent_mask,
    make_mask,
    make_soft_edges,
)
from filmgate.models.families.latentsync.pixels import extract_face, paste_face
from filmgate.models.families.latentsync.sampler import Clip, Sampler
from filmgate.models.families.latentsync.speech import FPS, TOKENS

FACE = "lipsync.face"  # PreparedFace; missing where there is no face
LENGTH = 16  # frames of a clip, as in training
_KEPT_EXTRAS = ("cut", "concealed", "notice", "remark")
_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class PreparedFace:
    """What a frame's face is to the network, whatever is said.

    `matrix`: from the image to the crop. `weight`: how much it looks to the camera, 0 to 1.
    `latents` (8, h, w), in host memory: without the part that is generated, then complete. `chin`:
    how far down it is in the crop, 0 if that is not known. `covered`: something is in front of the
    mouth.
    """

    matrix: tuple[float, float, float, float, float, float]
    weight: float
    latents: Any
    chin: float = 0.0
    covered: bool = False


def require_planes(spec: StreamSpec) -> StreamSpec:
    """Return the format of the stream. Raises Unsupported unless faces can be taken out of it."""
    from filmgate.media.pixels.rgb import convert_to_rgb

    if spec.pixels == "rgb":
        raise Unsupported("lipsync takes planes, and these are RGB tensors: put it before their "
                          "conversion")  # fmt: skip
    convert_to_rgb().output(spec)  # raises for alpha and HDR
    return spec


# --- prepare --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepare:
    """Attaches a PreparedFace to frames with landmarks; images are left out.

    The state is the smoothed place of the nose. It starts again where a face appears, and at a
    shot boundary. `first`: frames before this one are followed and not encoded.
    """

    vae: Autoencoder = field(compare=False, repr=False)
    crop: Crop
    first: int = 0
    name: str = "prepare"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(past=None)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return require_planes(spec)

    def start(self, spec: StreamSpec, first: Position) -> tuple[float, ...]:
        return ()

    def step(
        self, state: tuple[float, ...], frames: Sequence[Frame]
    ) -> tuple[tuple[float, ...], list[Frame]]:
        outputs = []
        for frame in frames:
            landmarks: Any = frame.extras.get(LANDMARKS)
            if landmarks is None:
                state = ()
                outputs.append(replace(frame, image=(), extras={}))
                continue
            before = () if frame.extras.get("cut") else state
            matrix, state = align(landmarks, before, self.crop)
            if frame.index < self.first:
                outputs.append(replace(frame, image=(), extras={}))
                continue
            face = self._prepare(frame, matrix, landmarks)
            outputs.append(replace(frame, image=(), extras={FACE: face}))
        return state, outputs

    def finish(self, state: tuple[float, ...]) -> tuple[None, list[Frame]]:
        return None, []

    def _prepare(self, frame: Frame, matrix: Matrix, landmarks: Landmarks) -> PreparedFace:
        assert isinstance(frame.image, Planes)
        with phase("align", 1):
            pixels = torch.from_numpy(extract_face(frame.image, matrix, self.crop)).permute(2, 0, 1)
            face = pixels.float() / 127.5 - 1
        with phase("masks", 1):
            mask = torch.from_numpy(make_mask(self.crop.side).copy())
            pair = torch.stack([face * mask, face])
        with phase("encode faces", 1), torch.inference_mode():
            latents = self.vae.encode(pair).flatten(0, 1).cpu().clone()
        chin = find_height(landmarks.chin, matrix, self.crop)
        weight = measure_front(landmarks)
        return PreparedFace(matrix, weight, latents, chin, landmarks.covered)


# --- clips ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """A frame as the network takes it: latents (8, h, w) of its face, and its tokens (T, C)."""

    latents: Any
    tokens: Any


@dataclass(frozen=True, slots=True)
class ClipState:
    """What is kept of a run of frames with a face.

    `frames` are not put out yet; the first of them are the end of the clip before, whose latents
    are `latents`, (K, 4, h, w) or (), and which had the trajectory `path`. `past`: up to 15 frames
    before them. `wide`: the mouth of the last frame is open wider than what is generated.
    """

    frames: tuple[Frame, ...] = ()
    latents: Any = ()
    path: tuple[Any, ...] = ()
    past: tuple[Heard, ...] = ()
    wide: bool = False


@dataclass(frozen=True)
class SyncLips:
    """Generates the lower half of each face in clips of 16 frames, and pastes it into its image.

    A run of frames with a face is cut into clips from its first frame on; each shares `overlap`
    frames with the one before, and follows what they were there. The last clip reaches back, so
    that it is complete too. Frames without a face pass as they are; they and shot boundaries end a
    run. Only what is generated is pasted, with soft edges. `decoded`: faces that are decoded at a
    time. `as_upstream`: the last clip is short, and all of the crop is pasted.
    """

    sampler: Sampler = field(compare=False, repr=False)
    vae: Autoencoder | CompiledDecoder = field(compare=False, repr=False)
    crop: Crop
    overlap: int = 0
    seed: int = 0
    decoded: int = 2
    as_upstream: bool = False
    name: str = "lipsync"

    def low_memory(self) -> SyncLips:
        """Return the form that needs less memory: one face decoded at a time, and the network
        without audio and with it one after the other."""
        return replace(self, decoded=1, sampler=replace(self.sampler, together=False))

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(None, LENGTH / FPS)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return require_planes(spec)

    def start(self, spec: StreamSpec, first: Position) -> ClipState:
        return ClipState()

    def step(self, state: ClipState, frames: Sequence[Frame]) -> tuple[ClipState, list[Frame]]:
        outputs: list[Frame] = []
        for frame in frames:
            if frame.extras.get("cut") or FACE not in frame.extras:
                outputs += self._end_run(state)
                state = ClipState()
            if FACE not in frame.extras:
                outputs.append(frame.with_image(frame.image, keep=_KEPT_EXTRAS))
                continue
            frame, wide = _report_wide(frame, state.wide)
            state = replace(state, frames=(*state.frames, frame), wide=wide)
            if len(state.frames) == LENGTH:
                state, made = self._run_clip(state, self.overlap)
                outputs += made
        return state, outputs

    def finish(self, state: ClipState) -> tuple[None, list[Frame]]:
        return None, self._end_run(state)

    def _end_run(self, state: ClipState) -> list[Frame]:
        """Return the frames that are left of a run."""
        if len(state.frames) > len(state.latents):
            return self._run_clip(state, 0)[1]
        return self._make_frames(state.frames, state.latents)

    def _run_clip(self, state: ClipState, keep: int) -> tuple[ClipState, list[Frame]]:
        """Denoise a clip; its last `keep` frames wait for the next one."""
        missing = 0 if self.as_upstream else LENGTH - len(state.frames)
        before = state.past[len(state.past) - min(missing, len(state.past)) :]
        heard = (*before, *map(_listen, state.frames))
        side = self.crop.side // 8
        noise = torch.from_numpy(draw_noise(self.seed, self.name, 0, (1, 4, side, side)))
        device = self.sampler.net.device
        with phase("inputs", len(heard)):
            faces = torch.stack([one.latents for one in heard]).to(device)
            clip = Clip(
                mask=torch.from_numpy(make_latent_mask(self.crop.side).copy())[None].to(device),
                masked=faces[:, :4],
                reference=faces[:, 4:],
                audio=torch.stack([one.tokens for one in heard]).to(device),
            )
        with phase("denoise", len(heard)), torch.inference_mode():
            latents, path = self.sampler.denoise(
                clip, noise.to(device), state.path, len(before), keep
            )
            latents = latents[len(before) :].cpu()
            path = tuple(one.cpu() for one in path)
        out = len(state.frames) - keep
        emitted = heard[len(before) : len(before) + out]
        past = (*state.past, *emitted)[1 - LENGTH :]
        ends = latents[out:].clone() if keep else ()
        after = ClipState(state.frames[out:], ends, path, past, state.wide)
        return after, self._make_frames(state.frames[:out], latents[:out])

    def _make_frames(self, frames: Sequence[Frame], latents: Any) -> list[Frame]:
        """Return the frames with the faces of these latents."""
        outputs: list[Frame] = []
        for k in range(0, len(frames), self.decoded):
            part = frames[k : k + self.decoded]
            with phase("decode faces", len(part)), torch.inference_mode():
                faces = self.vae.decode(latents[k : k + self.decoded]).float().cpu()
            if not bool(faces.isfinite().all()):
                at = part[0].time
                raise BadOutput(f"lipsync, from {float(at):.3f} s: a face is not finite; try "
                                "another --dtype", "not finite", at)  # fmt: skip
            pairs = list(zip(part, faces, strict=True))
            with phase("paste back", len(part)):
                outputs += map_threads(self._paste, pairs, _THREADS)
        return outputs

    def _paste(self, pair: tuple[Frame, Tensor]) -> Frame:
        """Return a frame with a decoded face (3, side, side) in [-1, 1] in its image."""
        frame, decoded = pair
        assert isinstance(frame.image, Planes)
        face: Any = frame.extras[FACE]
        if not face.weight:
            return frame.with_image(frame.image, keep=_KEPT_EXTRAS)
        own = torch.from_numpy(extract_face(frame.image, face.matrix, self.crop))
        mask: Any
        shown: Any
        mask, shown = make_soft_edges(self.crop.side)
        if self.as_upstream:  # hard edges, and all of the crop
            mask, shown = make_mask(self.crop.side).clip(0, 1), None
        kept = own.permute(2, 0, 1).float() / 255
        keep = torch.from_numpy(mask.copy())
        mixed = (decoded / 2 + 0.5).clamp_(0, 1) * (1 - keep) + kept * keep
        image = paste_face(frame.image, mixed, face.matrix, self.crop, shown, face.weight)
        return frame.with_image(image, keep=_KEPT_EXTRAS)


def _report_wide(frame: Frame, before: bool) -> tuple[Frame, bool]:
    """Return the frame, with a remark where a mouth opens wider than what is generated."""
    face: Any = frame.extras[FACE]
    wide = face.chin > LOWEST
    if wide and not before:
        frame = frame.with_remark("the mouth is open wider than what is generated from "
                                  f"{float(frame.time):.3f} s on: the chin may show "
                                  "twice")  # fmt: skip
    return frame, wide


def _listen(frame: Frame) -> Heard:
    face: Any = frame.extras[FACE]
    return Heard(face.latents, frame.extras[TOKENS])
