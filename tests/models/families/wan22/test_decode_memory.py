"""Predicted memory of Wan's autoencoders: against what is counted while they run."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from filmgate.device.tensor_memory import LiveMemory
from filmgate.models.families.wan22.decode_memory import (
    count_parked,
    predict_decode,
    predict_encode,
)
from filmgate.models.families.wan22.decoder import StreamDecoder
from filmgate.models.families.wan22.encoder import encode_condition
from filmgate.models.families.wan22.published import (
    I2V_A14B,
    TI2V_5B,
    VARIANTS,
    Variant,
    to_plain,
)
from tests.models.tiny_wan22 import build_vae, shrink

SIZES = ((832, 480), (832, 1216), (1280, 704))


class Away:
    """Where tensors of the meta device wait without a byte; those that came are counted."""

    def __init__(self) -> None:
        self.bytes = 0

    def put(self, tensor: Tensor) -> Tensor:
        self.bytes += tensor.nbytes
        return tensor.new_empty(1).expand(tensor.shape)

    def take(self, tensor: Tensor, device: torch.device) -> Tensor:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)


def count_decode(vae: nn.Module, latents: Tensor, bands: int, park: bool) -> list[int]:
    """Return the most bytes alive while each latent frame is decoded, weights included."""
    peaks, live = list[int](), LiveMemory(layouts=True)
    with torch.inference_mode(), live:
        for part in (vae.decoder, vae.post_quant_conv):
            assert isinstance(part, nn.Module)
            live.add(*part.parameters())
        store = Away() if park else None
        for frames in StreamDecoder(vae, bands=bands, store=store).stream(latents):
            del frames
            peaks.append(live.peak)
            live.peak = live.bytes
    return peaks


def build_on_meta(variant: Variant, dtype: torch.dtype) -> nn.Module:
    from diffusers import AutoencoderKLWan

    with torch.device("meta"):
        vae: nn.Module = AutoencoderKLWan(**to_plain(variant.vae))
    return nn.Module.to(vae, dtype).eval().requires_grad_(False)


def make_latents(variant: Variant, size: tuple[int, int], frames: int) -> Tensor:
    shape = variant.get_latent_shape(4 * frames - 3, size[1], size[0])
    return torch.empty(shape, device="meta")


@pytest.mark.parametrize("name", list(VARIANTS))
def test_what_is_counted_on_meta_tensors_is_what_real_ones_take(name: str) -> None:
    """And it is the same from the third latent frame on, however many follow."""
    variant = shrink(VARIANTS[name].name)
    latents = torch.zeros(variant.get_latent_shape(13, 2 * variant.spatial, variant.spatial))
    real = count_decode(build_vae(variant.name), latents, 1, False)
    meta = count_decode(build_on_meta(variant, torch.float32), latents.to("meta"), 1, False)
    assert real == meta
    assert real[2] == real[3]


def test_caches_have_the_known_numbers() -> None:
    """456,800 for each latent position of the 5B model: 3.61 GB at 832x1216 in 16 bits."""
    assert count_parked(TI2V_5B, (832, 1216), "bfloat16") == 456_800 * 76 * 52 * 2
    assert count_parked(I2V_A14B, (832, 480), "bfloat16") == 151_328 * 60 * 104 * 2


def test_few_bands_decode_the_largest_size_within_4_gb() -> None:
    for variant in (TI2V_5B, I2V_A14B):
        assert predict_decode(variant, (832, 1216), "bfloat16") > 8e9
        assert predict_decode(variant, (832, 1216), "bfloat16", 8, park=True) < 2.5e9
        assert predict_encode(variant, (832, 1216), "bfloat16", 8, park=True) < 1e9


@pytest.mark.slow
@pytest.mark.parametrize("variant", [TI2V_5B, I2V_A14B], ids=lambda one: one.name)
def test_predictions_of_all_sizes_are_near_what_is_counted(variant: Variant) -> None:
    """With caches on the device and parked; the quick tests have small networks alone."""
    for size, (bands, park) in product(SIZES, ((1, False), (1, True), (4, True))):
        check(variant, size, torch.bfloat16, bands, park)
    check(variant, SIZES[0], torch.float32, 1, False)


def check(
    variant: Variant, size: tuple[int, int], dtype: torch.dtype, bands: int, park: bool
) -> None:
    """Check both predictions against counted bytes: within 6 %, or 150 MB of small ones."""
    vae, name = build_on_meta(variant, dtype), str(dtype).removeprefix("torch.")
    counted = max(count_decode(vae, make_latents(variant, size, 3), bands, park))
    predicted = predict_decode(variant, size, name, bands, park)
    assert predicted == pytest.approx(counted, rel=0.06, abs=150e6)
    live, store = LiveMemory(layouts=True), Away() if park else None
    with torch.inference_mode(), live, torch.device("meta"):
        for part in (vae.encoder, vae.quant_conv):
            assert isinstance(part, nn.Module)
            live.add(*part.parameters())
        image = torch.empty(3, size[1], size[0])
        encode_condition(vae, variant, image, None, 9, bands=bands, store=store)
    predicted = predict_encode(variant, size, name, bands, park)
    if variant.replaces_first and not park:  # one chunk: not all of its caches are made
        assert live.peak <= predicted
    else:
        assert predicted == pytest.approx(live.peak, rel=0.06, abs=150e6)
