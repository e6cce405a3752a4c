"""PersonaLive: published names and shapes, and recorded values of every network."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from filmgate.models.families.personalive.extractor import (
    FloatNorm,
    Head,
    HeadExtractor,
    PoseGuider,
)
from filmgate.models.families.personalive.keypoints import (
    approach,
    draw_points,
    find_box,
    place_points,
    retarget,
)
from filmgate.models.families.personalive.layers import Pass, Portrait, SpatialBlock
from filmgate.models.families.personalive.motion import MotionEncoder, make_grid
from filmgate.models.families.personalive.schedule import Schedule
from filmgate.models.families.personalive.unet import DenoisingUnet, ReferenceUnet, Unet
from tests.golden.fill import like, noise, recorded, uni
from tests.models.tiny_personalive import SHAPE, fill

GOLDEN = recorded("personalive")
KEYS = recorded("keys_personalive_tiny")
LEVELS = torch.tensor([0, 333, 666, 999])
CLIP = uni("in/clip", (1, 1, 24))
pytestmark = pytest.mark.usefixtures("no_gradients")


def frames_first(tensor: Tensor) -> Tensor:
    """(1, C, F, ...) as (F, C, ...), and back."""
    return tensor[0].transpose(0, 1)


def clip_first(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, 1)[None]


@pytest.fixture(scope="module")
def reference() -> ReferenceUnet:
    net: ReferenceUnet = fill(ReferenceUnet(SHAPE), "reference_unet/")
    return net


@pytest.fixture(scope="module")
def denoising() -> DenoisingUnet:
    """In float64: in float32 another number of threads moves the values by 1e-3."""
    net: DenoisingUnet = fill(DenoisingUnet(SHAPE), "denoising_unet/")
    return net.double()


def predict(net: DenoisingUnet, banks: Any = (), motion: Tensor | None = None) -> Tensor:
    latents = frames_first(uni("in/unet_lat", (1, 4, 16, 8, 8)))
    pose = frames_first(uni("in/pf", (1, 32, 16, 8, 8), -0.5, 0.5))
    seen = Portrait(net.look(CLIP.double()), banks)
    made = net(latents.double(), LEVELS.repeat_interleave(4), seen, motion, pose.double())
    return clip_first(made)


def read_motion() -> Tensor:
    return uni("in/mot", (1, 16, 32, 16), -2, 2)[0].double()


@pytest.mark.parametrize("net", [ReferenceUnet, DenoisingUnet])
def test_the_unets_have_the_published_names_and_shapes(net: type[Unet]) -> None:
    name = "reference_unet" if net is ReferenceUnet else "denoising_unet"
    tiny = net(SHAPE, "meta").state_dict()
    assert {key: list(tensor.shape) for key, tensor in tiny.items()} == KEYS[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "count", "millions"),
    [(ReferenceUnet, 682, 859.5), (DenoisingUnet, 1820, 1684.8), (MotionEncoder, 403, 61.6),
     (HeadExtractor, 213, 28.1), (PoseGuider, 16, 1.1)],
)  # fmt: skip
def test_the_networks_have_the_published_sizes(
    net: type[nn.Module], count: int, millions: float
) -> None:
    full = net(device="meta")
    assert len(full.state_dict()) == count
    assert sum(p.numel() for p in full.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_the_denoising_unet_gives_the_recorded_noise(denoising: DenoisingUnet) -> None:
    like(predict(denoising), GOLDEN["denoising_unet.no_motion_temporal"])
    like(predict(denoising, motion=read_motion()), GOLDEN["denoising_unet.no_reference"])


def test_the_reference_unet_reads_the_recorded_tokens(reference: ReferenceUnet) -> None:
    latent = uni("in/ref_lat", (1, 4, 8, 8))
    run = Pass(Portrait(reference.look(CLIP)), reads=True)
    made = reference.run(latent, torch.zeros(1), run)
    assert made is not None
    like(made, GOLDEN["reference_unet.out_before_norm"])
    blocks = {name: module.place for name, module in reference.named_modules()
              if isinstance(module, SpatialBlock)}  # fmt: skip
    assert len(blocks) == len(run.taps) == 10
    for name, place in blocks.items():
        like(run.taps[place], GOLDEN[f"reference_bank.{name}"])
    for early, late in zip(reference(latent, CLIP), run.taps, strict=True):
        assert torch.equal(early, late.half().float())  # it ends at the last tap


def test_portrait_and_keyframes_change_the_noise_as_recorded(
    reference: ReferenceUnet, denoising: DenoisingUnet
) -> None:
    taps = [
        [tap.double() for tap in reference(uni(key, (1, 4, 8, 8)), CLIP)]
        for key in ("in/ref_lat", "in/kf_lat")
    ]
    one, other = (denoising.project(some) for some in taps)
    both = tuple(
        (torch.cat([a[0], b[0]], 2), torch.cat([a[1], b[1]], 2))
        for a, b in zip(one, other, strict=True)
    )
    motion = read_motion()
    like(predict(denoising, one, motion), GOLDEN["denoising_unet.with_reference_bank_fp16"])
    like(predict(denoising, both, motion), GOLDEN["denoising_unet.with_reference_plus_1_keyframe"])


def test_the_pose_guider_gives_the_recorded_features() -> None:
    net = fill(PoseGuider(), "pose_guider/")
    canvases = frames_first(uni("in/pose", (1, 3, 2, 64, 64), 0, 1))
    like(clip_first(net(canvases)), GOLDEN["pose_guider"])


@pytest.mark.slow
def test_the_motion_encoder_gives_the_recorded_tokens() -> None:
    net = fill(MotionEncoder(), "motion_encoder/")
    like(net.pe, GOLDEN["motion_encoder.pe"])
    face = frames_first(uni("in/face", (1, 3, 1, 224, 224)))
    like(net(face)[None], GOLDEN["motion_encoder"])


def test_places_of_patches_are_the_recorded_ones() -> None:
    like(make_grid(28, 1024), GOLDEN["motion_encoder.att_1.pos_embed"])


@pytest.mark.slow
def test_heads_are_read_and_retargeted_as_recorded() -> None:
    net: HeadExtractor = fill(HeadExtractor(), "motion_extractor/")
    images = uni("in/drv256", (4, 3, 256, 256), 0, 1)
    for name, value in net.detector(images).items():
        like(value, GOLDEN[f"motion_extractor.{name}"])
    portrait, driver = net(uni("in/ref256", (1, 3, 256, 256), 0, 1)), net(images)
    first = Head(driver.points[:1], driver.angles[:1], driver.shift[:1], driver.scale[:1])
    points = torch.cat([approach(portrait, first, 12), retarget(portrait, driver, first.shift)])
    like(points, GOLDEN["kps.first_call_16"])
    like(place_points(driver), GOLDEN["kps.first_call_driving_own"])
    later = net(uni("in/drv256b", (4, 3, 256, 256), 0, 1))
    like(retarget(portrait, later, first.shift), GOLDEN["kps.later_call"])
    like(place_points(later), GOLDEN["kps.later_call_driving_own"])


def test_points_are_drawn_and_boxed_to_the_pixel() -> None:
    points = uni("in/pts", (2, 21, 3), -0.6, 0.6)
    canvases = draw_points(points, 512)
    like(canvases, GOLDEN["draw_keypoints_512"])
    sums = canvases.sum((0, 2, 3)).tolist()
    assert sums == pytest.approx(GOLDEN["draw_keypoints_512.sum_rgb"], rel=1e-6)
    assert [list(find_box(one)) for one in points] == GOLDEN["get_boxes"]
    assert find_box(points[0] + 3).is_empty  # the head is outside of the image
    assert draw_points(points, 1024)[0].sum() > 3.5 * canvases[0].sum()  # discs grow too


def test_noise_levels_and_steps_are_the_recorded_ones() -> None:
    schedule = Schedule()
    latents = frames_first(uni("in/lat", (1, 4, 4, 8, 8)))
    noisy = schedule.add_noise(latents, frames_first(noise("in/n", (1, 4, 4, 8, 8))), LEVELS)
    like(clip_first(noisy), GOLDEN["ddim.add_noise_t0_333_666_999"])
    lower, clean = schedule.remove_noise(
        uni("in/lat", (4, 4, 8, 8)), uni("in/eps", (4, 4, 8, 8)), LEVELS
    )
    like(lower, GOLDEN["ddim.step.prev"])
    like(clean, GOLDEN["ddim.step.x0"])
    half = schedule.add_noise(torch.zeros(1, 1).half(), torch.ones(1, 1).half(), LEVELS[:1])
    assert float(half) == 0.03125  # as published; 0.0292 in float32


def test_norms_of_the_head_extractor_stay_float32_in_half_precision() -> None:
    net = fill(HeadExtractor((1, 1, 1, 1), (8, 8, 8, 8)), "heads/")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.convert("cpu", torch.bfloat16)
    norms = {f"{name}.{kind}" for name, module in net.named_modules()
             if isinstance(module, FloatNorm) for kind in ("weight", "bias")}  # fmt: skip
    assert len(norms) == 16
    for name, tensor in net.state_dict().items():
        assert tensor.dtype == (torch.float32 if name in norms else torch.bfloat16)
        if name in norms:
            assert torch.equal(tensor, before[name])
    image = uni("in/drv256", (1, 3, 256, 256), 0, 1)
    assert net(image.bfloat16()).points.dtype == torch.float32
