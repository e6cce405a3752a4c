"""Wan's autoencoders as streams, in bands of rows: equal to the library's, which has it all."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from filmgate.errors import BadSetting
from filmgate.models.families.wan22.bands import OnCpu
from filmgate.models.families.wan22.decoder import StreamDecoder, denormalize
from filmgate.models.families.wan22.encoder import encode_condition, encode_stream
from filmgate.models.families.wan22.published import Name
from tests.models.tiny_wan22 import build_vae, shrink

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES: tuple[Name, ...] = ("ti2v-5b", "i2v-a14b")
SIZES = {"ti2v-5b": 16, "i2v-a14b": 8}  # pixels of a latent position


get_vae = cache(build_vae)


def make_latents(frames: int, rows: int, columns: int) -> Tensor:
    return torch.randn(1, 4, frames, rows, columns, generator=torch.Generator().manual_seed(7))


def make_images(name: Name, count: int, rows: int = 4, columns: int = 2) -> Tensor:
    side = SIZES[name]
    return torch.rand(count, 3, rows * side, columns * side,
                      generator=torch.Generator().manual_seed(8))  # fmt: skip


def decode_complete(vae: Any, latents: Tensor) -> Tensor:
    """Return the frames (N, 3, H, W) of the library's decode of all latents at once."""
    with torch.no_grad():
        video: Tensor = vae.decode(denormalize(vae, latents), return_dict=False)[0]
    return (video[0].transpose(0, 1) * 0.5 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_streamed_decode_has_the_bits_of_the_complete_one(name: Name) -> None:
    vae, latents = get_vae(name), make_latents(5, 2, 2)
    frames = list(StreamDecoder(vae, park=True).stream(latents))
    assert [len(images) for images in frames] == [1, *[4] * 4]
    assert torch.equal(torch.cat(frames), decode_complete(vae, latents))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bands", [2, 100])
def test_bands_of_a_decode_meet(name: Name, bands: int) -> None:
    """12 latent rows: bands of each level end elsewhere, and the last one is smaller."""
    vae, latents = get_vae(name), make_latents(2, 12, 1)
    wanted = decode_complete(vae, latents)
    found = torch.cat(list(StreamDecoder(vae, bands=bands).stream(latents)))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_a_state_of_the_decoder_is_a_value() -> None:
    """Decoding from it twice, in another order or elsewhere gives the same frames."""
    vae, latents = get_vae("ti2v-5b"), make_latents(3, 4, 4)
    decoder, parts = StreamDecoder(vae), latents.chunk(3, 2)
    _, first = decoder.decode(parts[0], decoder.start())
    kept = [cache.clone() for cache in first.caches if cache is not None]
    wanted, second = decoder.decode(parts[1], first)
    ahead, _ = decoder.decode(parts[2], second)
    assert torch.equal(torch.cat([wanted, ahead]), torch.cat(list(decoder.stream(latents))[1:]))
    again, _ = StreamDecoder(vae).decode(parts[1], first)
    assert torch.equal(again, wanted)
    left = [cache for cache in first.caches if cache is not None]
    assert all(map(torch.equal, left, kept))


def encode_complete(name: Name, video: Tensor) -> Tensor:
    """Return the library's normalised latents of a video (N, 3, H, W) in [0, 1]."""
    vae = get_vae(name)
    with torch.no_grad():
        latents = vae.encode(2 * video.transpose(0, 1)[None] - 1).latent_dist.mode()
    mean, deviation = (torch.tensor(values).view(1, -1, 1, 1, 1)
                       for values in (vae.config.latents_mean, vae.config.latents_std))  # fmt: skip
    return (latents - mean) * (1 / deviation)  # type: ignore[no-any-return]


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("last", [False, True])
def test_the_condition_of_the_large_model_is_the_encoded_video(count: int, last: bool) -> None:
    images, variant = make_images("i2v-a14b", count), shrink("i2v-a14b")
    final = make_images("i2v-a14b", 2)[1] if last else None
    video = torch.full((13, *images.shape[1:]), 0.5)
    video[:count] = images
    if final is not None:
        video[-1] = final
    found = encode_condition(get_vae("i2v-a14b"), variant, images, final, 13, park=True)
    assert found.shape == (1, 4 + 4, 4, 4, 2)
    assert torch.equal(found[:, 4:], encode_complete("i2v-a14b", video))
    mask = found[0, :4, :, 0, 0].T.flatten()  # four for each latent frame
    known = count + 3
    assert mask.tolist() == [1.0] * known + [0.0] * (15 - known) + [float(last)]


@pytest.mark.parametrize("count", [1, 5])
def test_the_condition_of_the_small_model_is_its_first_latent_frames(count: int) -> None:
    images = make_images("ti2v-5b", count)
    given = images[0] if count == 1 else images
    found = encode_condition(get_vae("ti2v-5b"), shrink("ti2v-5b"), given, None, 13)
    assert torch.equal(found, encode_complete("ti2v-5b", images))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bands", [2, 100])
def test_bands_of_an_encode_meet(name: Name, bands: int) -> None:
    vae, video = get_vae(name), make_images(name, 5, 14, 1).transpose(0, 1)[None] * 2 - 1
    chunks = [video[:, :, :1], video[:, :, 1:]]
    with torch.no_grad():
        wanted = vae.encode(video).latent_dist.mode()
    found = encode_stream(vae, chunks, bands)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_lengths_and_images_that_do_not_fit_are_refused() -> None:
    image, small, large = make_images("i2v-a14b", 1)[0], shrink("ti2v-5b"), shrink("i2v-a14b")
    vae = get_vae("i2v-a14b")
    with pytest.raises(BadSetting, match="12 frames: expected 1 more than a multiple of 4"):
        encode_condition(vae, large, image, None, 12)
    with pytest.raises(BadSetting, match="takes no last image"):
        encode_condition(vae, small, image, image, 5)
    with pytest.raises(BadSetting, match="no place"):
        encode_condition(vae, large, image, image, 1)
    with pytest.raises(BadSetting, match="0 bands"):
        StreamDecoder(vae, bands=0)


def test_parked_caches_are_on_the_cpu_and_come_back() -> None:
    tensor = torch.ones(2)
    store = OnCpu()
    assert store.put(tensor).device.type == "cpu"
    assert torch.equal(store.take(store.put(tensor), torch.device("cpu")), tensor)
