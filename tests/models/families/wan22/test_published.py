"""The published sizes, on the meta device: as counted from the published models."""

import pytest
import torch

from filmgate.models.families.wan22.loading import build_vae_on_meta
from filmgate.models.families.wan22.placement import Sizes
from filmgate.models.families.wan22.published import I2V_A14B, REPOSITORIES, TI2V_5B, Variant
from filmgate.models.families.wan22.transformer import build_on_meta


@pytest.mark.parametrize(
    ("variant", "entries", "numbers", "block", "vae_entries", "vae_numbers"),
    [(TI2V_5B, 825, 4_999_787_712, 163_656_704, 196, 704_688_668),
     (I2V_A14B, 1095, 14_288_901_184, 351_394_304, 194, 126_892_531)],
    ids=["ti2v-5b", "i2v-a14b"],
)  # fmt: skip
def test_parts_have_the_published_sizes(
    variant: Variant, entries: int, numbers: int, block: int, vae_entries: int, vae_numbers: int
) -> None:
    net, vae = build_on_meta(variant.transformer), build_vae_on_meta(variant.vae)
    assert len(net.state_dict()) == entries
    assert sum(tensor.numel() for tensor in net.parameters()) == numbers
    assert sum(tensor.numel() for tensor in net.blocks[0].parameters()) == block
    assert len(vae.state_dict()) == vae_entries
    assert sum(tensor.numel() for tensor in vae.parameters()) == vae_numbers
    sizes = Sizes(variant.transformer)  # without torch, for plans
    assert (sizes.total, sizes.block) == (numbers, block)
    linear = [one for one in net.blocks[0].modules() if isinstance(one, torch.nn.Linear)]
    assert sizes.large == sum(one.weight.numel() for one in linear)


def test_text_encoder_has_the_published_size() -> None:
    from transformers import UMT5Config, UMT5EncoderModel

    with torch.device("meta"):
        net = UMT5EncoderModel(UMT5Config(**TI2V_5B.text))
    assert len(net.state_dict()) == 243
    assert sum(tensor.numel() for tensor in net.parameters()) == 5_680_910_336


@pytest.mark.parametrize(
    ("size", "frames", "tokens"),
    [((832, 480), 81, (8_190, 32_760)), ((832, 1216), 25, (6_916, 27_664)),
     ((832, 1216), 81, (20_748, 82_992)), ((832, 1216), 161, (40_508, 162_032)),
     ((1280, 704), 121, (27_280, 109_120))],
)  # fmt: skip
def test_tokens_of_a_video(size: tuple[int, int], frames: int, tokens: tuple[int, int]) -> None:
    for variant, count in zip((TI2V_5B, I2V_A14B), tokens, strict=True):
        assert variant.count_tokens(frames, size[1], size[0]) == count


def test_settings_that_were_published() -> None:
    assert (TI2V_5B.multiple, I2V_A14B.multiple) == (32, 16)
    assert [TI2V_5B.shift, TI2V_5B.steps, float(TI2V_5B.fps), TI2V_5B.experts] == [5, 50, 24, 1]
    assert [I2V_A14B.shift, I2V_A14B.steps, float(I2V_A14B.fps), I2V_A14B.experts] == [5, 40, 16, 2]
    assert (I2V_A14B.boundary, I2V_A14B.guidance) == (0.9, (3.5, 3.5))
    assert (TI2V_5B.condition_channels, I2V_A14B.condition_channels) == (0, 20)
    assert TI2V_5B.get_latent_shape(81, 480, 832) == (1, 48, 21, 30, 52)
    for variant in (TI2V_5B, I2V_A14B):
        repository = REPOSITORIES[variant.name]
        assert (repository.licence, repository.proven) == ("Apache-2.0", "")
        assert len(variant.vae["latents_mean"]) == len(variant.vae["latents_std"])
