"""PersonaLive as a stage: each driving frame comes out once, whatever the cuts; faces; state."""

import shutil
from collections.abc import Sequence
from dataclasses import fields, replace
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from filmgate.core.frame import ColorTags, Frame
from filmgate.core.values import count_bytes
from filmgate.errors import BadWeights, Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.models.contracts import AnimationRequest, Face
from filmgate.models.diffusion.rolling import RollingDenoiser, draw_frames
from filmgate.models.families.personalive.animator import Animator
from filmgate.models.families.personalive.extractor import Head
from filmgate.models.families.personalive.keypoints import Box
from filmgate.models.families.personalive.layers import Portrait
from filmgate.models.families.personalive.loading import open_networks
from filmgate.models.families.personalive.networks import Networks, lend
from filmgate.models.families.personalive.schedule import Schedule
from filmgate.models.families.personalive.stage import (
    PasteBack,
    PersonaLive,
    Region,
    build_stage,
    choose_region,
    to_box,
)
from filmgate.testing import SampleVideo, laws, make_sample_video
from filmgate.testing.fake_cuda import fake_cuda
from tests.models import tiny_personalive

SIZE = 64
pytestmark = pytest.mark.usefixtures("no_gradients", "one_thread")


class StubNetworks(Networks):
    """Cheap functions of everything that the networks are given; motion is brightness."""

    def read_heads(self, images: Tensor) -> Head:
        moved = images.mean((1, 2, 3))[:, None]
        points = torch.linspace(-0.4, 0.4, 63).reshape(1, 21, 3).expand(len(images), -1, -1)
        return Head(points, moved * 30 * torch.ones(1, 3), moved * torch.ones(1, 3),
                    torch.ones(len(images), 1))  # fmt: skip

    def read_motion(self, images: Sequence[Tensor], boxes: Sequence[Box]) -> Tensor:
        faces = [image[:, box.top : box.bottom, box.left : box.right]
                 for image, box in zip(images, boxes, strict=True)]  # fmt: skip
        return torch.stack([face.mean() * 60 * torch.ones(32, 16) for face in faces])

    def guide(self, points: Tensor, size: int, radius: float | None = None) -> Tensor:
        return points.mean((1, 2))[:, None, None, None].expand(-1, 4, size // 8, size // 8)

    def see(self, image: Tensor) -> Tensor:
        return image.mean().reshape(1, 1, 1)

    def encode(self, image: Tensor) -> Tensor:
        return image.mean().expand(1, 4, image.shape[1] // 8, image.shape[2] // 8)

    def decode(self, latent: Tensor) -> Tensor:
        return latent[:3].sigmoid().repeat_interleave(8, 1).repeat_interleave(8, 2)

    def show(self, token: Tensor, references: Sequence[Tensor]) -> Portrait:
        return Portrait((sum(reference.mean() for reference in references) + token,))

    def predict_noise(
        self, latents: Tensor, levels: Tensor, portrait: Portrait, motion: Tensor, pose: Tensor
    ) -> Tensor:
        own = motion.mean((1, 2))[:, None, None, None] / 60 + pose + portrait.looks[0]
        return 0.1 * latents + own + own.mean(0) + levels[:, None, None, None] / 1000


def make_stage(**settings: Any) -> PersonaLive:
    missing: Any = nn.Identity()
    nets = StubNetworks(*[missing] * 8)
    denoiser = RollingDenoiser(Schedule(), 4, draw_frames(5, "personalive"))
    portrait = torch.linspace(0, 1, 3 * 48 * 48).reshape(3, 48, 48)
    return PersonaLive(Animator(nets, denoiser, portrait, SIZE), **settings)


def make_video(count: int) -> SampleVideo:
    """A driver whose brightness changes in steps, so that some frames become keyframes."""
    video = make_sample_video(count, pixels="yuv420p")
    frames = []
    for frame in video.frames:
        assert isinstance(frame.image, Planes)
        level = np.uint8(40 + 37 * (frame.index // 4 % 6))
        luma = np.full_like(frame.image.arrays[0], level)
        frames.append(
            replace(frame, image=frame.image.with_arrays((luma, *frame.image.arrays[1:])))
        )
    return SampleVideo(video.spec, tuple(frames))


def push(stage: PersonaLive, video: SampleVideo, sizes: Sequence[int]) -> list[Frame]:
    """Push the video in parts of these sizes, again and again; return all that comes out."""
    state: Any = stage.start(video.spec, video.frames[0].position)
    outputs, at, turn = list[Frame](), 0, 0
    while at < len(video.frames):
        size = sizes[turn % len(sizes)]
        state, some = stage.step(state, video.frames[at : at + size])
        outputs, at, turn = outputs + some, at + size, turn + 1
    while state is not None:
        state, some = stage.finish(state)
        assert len(some) <= 4  # the end is no larger than the middle
        outputs += some
    return outputs


@pytest.mark.parametrize(
    "count", [1, 4, 5, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 16, 17, 1531))]
)
def test_every_driving_frame_comes_out_once_at_its_time(count: int) -> None:
    video = make_video(count)
    outputs = push(make_stage(), video, [7])
    assert [frame.index for frame in outputs] == list(range(count))
    assert [frame.time for frame in outputs] == [frame.time for frame in video.frames]
    assert all(frame.image.shape == (3, SIZE, SIZE) for frame in outputs)  # type: ignore[attr-defined]


def test_parts_of_any_size_give_the_same_images() -> None:
    video = make_video(18)
    complete = push(make_stage(), video, [18])
    for sizes in ([1], [3, 7]):
        laws.assert_same_frames(complete, push(make_stage(), video, sizes), "parts")


def test_a_state_can_be_stored_and_loaded() -> None:
    laws.check_sleep(make_stage(), make_video(18), [6, 9], [0, 1, 2])


@pytest.mark.slow
def test_the_laws_hold() -> None:
    """Long enough that all keyframes are found in the first half of four repetitions."""
    laws.check_stage(make_stage(), make_video(34), tries=3)


@pytest.mark.slow
def test_parts_of_many_sizes_give_the_same_images_with_keyframes() -> None:
    video = make_video(61)
    complete = push(make_stage(), video, [61])
    for sizes in ([1], [2], [4], [7], [3, 1, 5]):
        laws.assert_same_frames(complete, push(make_stage(), video, sizes), "parts")


def test_an_expression_that_is_far_from_all_keyframes_is_reported() -> None:
    """Without keyframes, frames that would be one are far; the level is back after six windows."""
    stage = make_stage()
    stage = replace(stage, animator=replace(stage.animator, keyframes=0))
    outputs = push(stage, make_video(56), [4])
    far = {frame.index: str(frame.extras["remark"]) for frame in outputs
           if "remark" in frame.extras}  # fmt: skip
    assert min(far) >= 24  # no keyframes are looked for before
    assert all(index % 4 == 0 for index in far)
    assert all("wanted 17 at most" in text for text in far.values())
    assert 1 <= len(far) <= 3  # once each time


@pytest.mark.slow
def test_keyframes_are_found_from_the_tenth_window_on_and_are_three_at_most() -> None:
    stage, video, counts = make_stage(), make_video(80), []
    state = stage.start(video.spec, video.frames[0].position)
    sizes = set()
    for at in range(0, 80, 4):
        state, _ = stage.step(state, video.frames[at : at + 4])
        counts.append(len(state.progress.keyframes))
        if at >= 60:
            sizes.add(count_bytes(state))
    assert counts[:10] == [0] * 9 + [1]
    assert counts[-1] == 3
    assert len(sizes) == 1


def test_a_frame_without_a_face_holds_the_last_pose_and_says_so_once() -> None:
    lost = {0, 1, 9, 10}

    def find(frame: Frame) -> Face | None:
        return None if frame.index in lost else (8.0, 4.0, 16.0, 16.0)

    video = make_video(14)
    earlier = video.frames[3].with_remark("said before")
    video = replace(video, frames=(*video.frames[:3], earlier, *video.frames[4:]))
    outputs = push(make_stage(find_face=find), video, [4])
    remarks = {frame.index: frame.extras["remark"] for frame in outputs
               if "remark" in frame.extras}  # fmt: skip
    assert remarks == {0: "no face from 0.000 s on: the last pose is held",
                       3: "said before",
                       9: "no face from 0.360 s on: the last pose is held"}  # fmt: skip
    held = replace(video, frames=tuple(
        replace(frame, image=video.frames[8].image) if frame.index in {9, 10} else frame
        for frame in video.frames
    ))  # fmt: skip
    lost = {0, 1}
    laws.assert_same_frames(
        [frame.with_image(frame.image) for frame in outputs],
        [frame.with_image(frame.image)
         for frame in push(make_stage(find_face=find), held, [4])],
        "held",
    )  # fmt: skip


def test_the_square_around_a_face_stays_in_the_frame() -> None:
    assert choose_region((1920, 1080), None) == Region(420, 0, 1080)
    assert choose_region((1920, 1080), (1800, 900, 100, 120)) == Region(1656, 816, 264)
    assert choose_region((200, 100), (0, 0, 90, 90)) == Region(0, 0, 100)
    region = Region(100, 100, 256)
    assert to_box((164, 164, 128, 128), region) == Box(115, 115, 396, 396)
    assert to_box((500, 500, 50, 50), region).is_empty


def test_the_square_is_put_back_with_soft_edges() -> None:
    image, animated = torch.zeros(3, 80, 100), torch.ones(3, 64, 64)
    result = PasteBack(image, Region(0, 10, 64))(animated)
    assert not image.any()  # it is not written to
    assert result.shape == (3, 80, 100)
    assert not result[:, :10].any()
    assert not result[:, :, 64:].any()
    row = result[0, 40]
    assert row[0] == 1  # the edge of the portrait is no seam
    assert 0 < row[63] < row[62] < row[61] < row[59] <= 1
    assert result[0, 10, 30] == pytest.approx(0.125)


def test_rgb_tensors_and_hdr_are_refused() -> None:
    with pytest.raises(Unsupported, match="takes planes"):
        make_stage().output(make_sample_video().spec)
    spec = make_video(1).spec
    hdr = replace(spec, pixels="yuv420p10le", colour=ColorTags(transfer="smpte2084"))
    with pytest.raises(Unsupported, match="HDR"):
        make_stage().output(hdr)
    assert (make_stage().output(spec).width, make_stage().reach(spec).future) == (SIZE, F(15, 25))


def test_a_network_is_lent_to_a_device_and_stays_where_it_was() -> None:
    """Each layer is there only while it computes."""
    seen, layers = list[list[bool]](), list[Any]()

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))
            self.register_buffer("table", torch.ones(2))

        def forward(self, x: str) -> str:
            seen.append([layer.weight.is_meta and layer.table.is_meta for layer in layers])
            return x

    net = nn.Sequential(Layer(), Layer(), Layer())
    lent = lend(net, "meta")
    layers += lent.children()
    assert lent("x") == "x"
    assert seen == [[True, False, False], [False, True, False], [False, False, True]]
    assert not any(tensor.is_meta for one in (net, lent)
                   for tensor in (*one.parameters(), *one.buffers()))  # fmt: skip
    assert lend(net, "cpu") is net


# --- with small networks --------------------------------------------------------------------------


class MixedNetworks(StubNetworks):
    """Real networks, but for those of each driving frame, which take most of the time."""

    guide = Networks.guide
    see = Networks.see
    encode = Networks.encode
    decode = Networks.decode
    show = Networks.show
    predict_noise = Networks.predict_noise


def build_tiny(**settings: Any) -> Any:
    nets = open_networks(tiny_personalive.folder(), torch.float32, "cpu")
    if settings.pop("mixed", False):
        names = [item.name for item in fields(nets) if not item.name.startswith("_")]
        nets = MixedNetworks(**{name: getattr(nets, name) for name in names})
    video = make_video(1)
    assert isinstance(video.frames[0].image, Planes)
    request = AnimationRequest(portrait=video.frames[0].image, size=SIZE, keyframes=3, **settings)
    return build_stage(nets, video.spec, request)


@pytest.mark.slow
def test_cuts_and_sleep_change_nothing_with_small_networks() -> None:
    stage, video = build_tiny(), make_video(14)
    laws.check_cut(stage, video, [1, 6, 7])
    laws.check_sleep(stage, video, [5], [0, 1])


@pytest.mark.slow
def test_forty_windows_of_small_networks_need_no_more_than_twenty() -> None:
    """bench/animate_memory.py runs four hundred."""
    stage, video, sizes = build_tiny(mixed=True), make_video(8), set()
    state = stage.start(video.spec, video.frames[0].position)
    for number in range(160):
        frame = replace(video.frames[number % 8], index=number, time=F(number, 25))
        state, _ = stage.step(state, (frame,))
        if number >= 79 and number % 4 == 3:
            sizes.add(count_bytes(state))
    assert len(sizes) == 1


@pytest.mark.slow
def test_networks_that_are_lent_compute_the_same() -> None:
    """A weight that is read outside of its own layer's call would be on the wrong device."""

    def look(device: str) -> list[torch.Tensor]:
        nets = open_networks(tiny_personalive.folder(), torch.float32, device)
        image = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            token, latent = nets.see(image), nets.encode(image * 2 - 1)
            banks = nets.show(token, (latent, latent / 2)).banks
        return [tensor.cpu() for tensor in (token, latent, *(one for two in banks for one in two))]

    here = look("cpu")
    with fake_cuda():
        there = look("cuda")
    for one, other in zip(here, there, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.slow
def test_keys_and_values_are_those_of_one_pass_with_everything() -> None:
    """Portrait and keyframes are read one after the other, and forgotten and read again."""
    nets = open_networks(tiny_personalive.folder(), torch.float32, "cpu")
    token = torch.ones(1, 1, 24)
    latents = [torch.full((1, 4, 8, 8), float(k)) for k in range(3)]
    one = nets.show(token, latents[:1])
    three = nets.show(token, latents)
    assert one.banks[0][0].shape[2] * 3 == three.banks[0][0].shape[2] == 192
    again = open_networks(tiny_personalive.folder(), torch.float32, "cpu").show(token, latents)
    for a, b in zip(three.banks, again.banks, strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("personalive/motion_encoder.safetensors", "delete", "motion_encoder.pth is missing"),
        ("personalive/pose_guider.pth", "swap", "another model"),
        ("sd-image-variations-diffusers/unet/config.json", '{"block_out_channels": 7}', "is 7"),
        ("sd-image-variations-diffusers/unet/config.json", "[1]", "does not hold settings"),
        ("sd-image-variations-diffusers/image_encoder/config.json", '{"hidden_size": "x"}',
         "no such network"),
    ],
)  # fmt: skip
def test_other_weights_are_refused_by_name(
    name: str, change: str, message: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_personalive.folder(), tmp_path / "weights")
    path = folder / name
    if change == "delete":
        path.unlink()
    elif change == "swap":
        torch.save({"conv.weight": torch.ones(2, 2)}, path)
    else:
        path.write_text(change)
    with pytest.raises(BadWeights, match=message):
        open_networks(folder, torch.float32, "cpu")
