"""Tone mapping: compared with the Recommendations' values, and of complete images."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from filmgate.core.frame import ColorTags, Frame, Position, StreamSpec
from filmgate.errors import BadSetting, Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.tonemap import (
    compress_highlights,
    decode_hlg,
    decode_hlg_scene,
    decode_pq,
    encode_pq,
    to_sdr,
    tonemap_to_sdr,
)
from filmgate.media.sources import VideoFile

PQ = ColorTags("bt2020nc", "bt2020", "smpte2084", "tv", "left")
HLG = replace(PQ, transfer="arib-std-b67")
SPEC = StreamSpec(
    width=8,
    height=6,
    rate=Fraction(25),
    time_base=Fraction(1, 25),
    pixels="yuv420p10le",
    dtype="uint16",
    colour=PQ,
)


@pytest.mark.parametrize(
    ("code", "nits"),
    [(0.0, 0.0), (0.5081, 100.0), (0.5807, 203.0), (0.7518, 1000.0), (1.0, 10000.0)],
)
def test_pq_is_st_2084(code: float, nits: float) -> None:
    found = float(decode_pq(torch.tensor(code, dtype=torch.float64)))
    assert found == pytest.approx(nits, rel=1e-3, abs=1e-3)
    back = float(encode_pq(torch.tensor(nits, dtype=torch.float64)))
    assert back == pytest.approx(code, abs=1e-4)


@pytest.mark.parametrize(
    ("code", "light"), [(0.0, 0.0), (0.5, 1 / 12), (0.75, 0.26496), (1.0, 1.0)]
)
def test_hlg_is_bt_2100(code: float, light: float) -> None:
    found = float(decode_hlg_scene(torch.tensor(code, dtype=torch.float64)))
    assert found == pytest.approx(light, rel=1e-4, abs=1e-9)


def test_hlg_white_of_bt_2408_is_203_nits_on_a_display_of_1000() -> None:
    assert float(decode_hlg(torch.full((3, 1, 1), 0.75), 1000)[0]) == pytest.approx(203, rel=3e-3)


def test_the_curve_is_the_eetf_of_bt_2390() -> None:
    """By hand, 1000 to 203 cd/m2: maxLum = 0.58069 / 0.75183 = 0.77237, KS = 1.5 maxLum - 0.5.

    KS = 0.65856 is 87.8 cd/m2: below, nothing changes. 203 cd/m2 is E1 = maxLum, so T = 1 / 3,
    P = 0.73865, PQ 0.55534, 159.04 cd/m2.
    """
    nits = torch.tensor([0.0, 1.0, 80.0, 203.0, 1000.0, 4000.0])
    found = compress_highlights(nits, 1000).tolist()
    assert found[:3] == pytest.approx([0, 1, 80], rel=1e-3, abs=1e-4)
    assert found[3] == pytest.approx(159.04, abs=0.1)
    assert found[4:] == pytest.approx([203, 203], rel=1e-3)
    ramp = compress_highlights(torch.linspace(0, 1200, 500), 1000)
    assert bool((ramp[1:] >= ramp[:-1] - 1e-3).all())


@pytest.mark.parametrize("colour", [PQ, HLG])
def test_grey_stays_grey_and_nothing_leaves_the_range(colour: ColorTags) -> None:
    grey = torch.linspace(0, 1, 64).expand(3, 2, 64)
    made = to_sdr(grey, colour, 1000)
    assert float((made[0] - made[1]).abs().max()) < 2e-4
    assert float((made[0] - made[2]).abs().max()) < 2e-4
    assert bool((made.diff(dim=2) > -1e-4).all())
    noise = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
    hard = to_sdr(noise, colour, 1000)
    assert bool(torch.isfinite(hard).all())
    assert 0 <= float(hard.min()) <= float(hard.max()) <= 1


def test_a_bt_709_colour_in_bt_2020_comes_out_as_itself() -> None:
    """Dim BT.709 red at 10 cd/m2: BT.2087's matrix forward, by PQ, then back through us."""
    there = torch.tensor([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114],
                          [0.0164, 0.0880, 0.8956]])  # fmt: skip
    red = (there @ torch.tensor([10.0, 0, 0])).view(3, 1, 1)
    made = to_sdr(encode_pq(red), PQ, 1000).flatten().tolist()
    assert made[0] == pytest.approx((10 / 203) ** (1 / 2.4), abs=2e-3)
    assert made[1:] == pytest.approx([0, 0], abs=0.04)


@pytest.mark.parametrize("colour", [PQ, HLG])
def test_stage_keeps_the_format_and_sets_the_tags(colour: ColorTags) -> None:
    spec = replace(SPEC, colour=colour)
    stage = tonemap_to_sdr(colour)
    made_spec = stage.output(spec)
    assert made_spec == replace(spec, colour=ColorTags("bt709", "bt709", "bt709", "tv", "left"))
    arrays = tuple(np.full(size, 512, np.uint16) for size in ((6, 8), (3, 4), (3, 4)))
    frame = Frame(0, Fraction(0), Fraction(1, 25), Planes(arrays, "yuv420p10le", colour))
    _, made = stage.step(stage.start(spec, Position(0, Fraction(0))), [frame])
    image = made[0].image
    assert isinstance(image, Planes)
    assert (image.pixels, image.colour) == (made_spec.pixels, made_spec.colour)
    assert 64 < int(image.arrays[0][0, 0]) < 940
    assert int(image.arrays[1][0, 0]) == 512


def test_only_hdr_files_get_the_stage(tmp_path: Path) -> None:
    asked = VideoFile(tmp_path / "a.mp4", tonemap=True)
    assert [stage.name for stage in asked.stages(SPEC)] == ["tonemap"]
    assert asked.stages(replace(SPEC, colour=ColorTags())) == ()
    assert VideoFile(tmp_path / "a.mp4").stages(SPEC) == ()


def test_unsupported_inputs_are_refused() -> None:
    with pytest.raises(BadSetting, match=r"peak_nits is 80, wanted more than 203"):
        tonemap_to_sdr(PQ, 80)
    with pytest.raises(Unsupported, match="transfer is unknown, wanted HDR"):
        tonemap_to_sdr(ColorTags())
    with pytest.raises(Unsupported, match="HDR in smpte432 colours, wanted bt2020"):
        tonemap_to_sdr(replace(PQ, primaries="smpte432"))
    with pytest.raises(Unsupported, match="matrix is ictcp"):
        tonemap_to_sdr(replace(PQ, matrix="ictcp")).output(SPEC)
