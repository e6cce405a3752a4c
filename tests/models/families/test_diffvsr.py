"""Stream-DiffVSR: recorded values, published keys, and strips with the same results."""

import pytest
import torch
from torch import Tensor

from filmgate.core.wrappers.tiled import Tile
from filmgate.errors import BadSetting, BadWeights
from filmgate.models.families.diffvsr.schedule import TRAINED_LEVELS, Schedule, warp
from filmgate.models.families.diffvsr.vae import TinyVae, pool
from tests.golden.fill import filled, like, recorded, uni

GOLDEN = recorded("stream_diffvsr")
KEYS = recorded("keys_stream_diffvsr")
pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture(scope="module")
def vae() -> TinyVae:
    vae = TinyVae()
    vae.load_state_dict(filled(KEYS["vae"], "vae/"))
    return vae.eval()


def image(*shape: int) -> Tensor:
    return uni("in/prev_hr", shape or (1, 3, 64, 96))


def test_the_vae_has_the_published_keys_and_shapes() -> None:
    own = TinyVae(device="meta").state_dict()
    assert {name: list(tensor.shape) for name, tensor in own.items()} == KEYS["vae"]


def test_the_vae_gives_the_recorded_values(vae: TinyVae) -> None:
    z = uni("in/z", (1, 4, 16, 24), -2, 2)
    for level, features in enumerate(vae.extract_features(image())):
        like(features, GOLDEN[f"vae.feature_{level}_encoder_order"])
    like(vae.encode(image()), GOLDEN["vae.encode_latents"])
    like(vae.decode(z), GOLDEN["vae.decode_no_tpm"])
    like(vae.decode(z, vae.pool_features(image())), GOLDEN["vae.decode_tpm"])
    like(vae.decode(z), GOLDEN["vae.decode_no_tpm"])  # nothing is left of the features


def test_a_block_gives_the_recorded_values_for_odd_sides(vae: TinyVae) -> None:
    block = vae.get_submodule("decoder.layers.7")
    for odd, shape, name in (("", (1, 64, 12, 20), "decoder.layers.7"),
                             ("_odd", (1, 64, 10, 15), "odd_10x15")):  # fmt: skip
        x, before = uni(f"in/tpm_x{odd}", shape), uni(f"in/tpm_prev{odd}", shape)
        like(block(x, pool(before)), GOLDEN[f"tpm_block.{name}"])
    like(block(uni("in/tpm_x", (1, 64, 12, 20))), GOLDEN["tpm_block.decoder.layers.7.no_prev"])


@pytest.mark.parametrize("tile", [Tile(32, 1 << 20), Tile(48, 32)])
def test_strips_give_the_complete_image(tile: Tile) -> None:
    vae = TinyVae(8)
    vae.load_state_dict(filled({k: v.shape for k, v in vae.state_dict().items()}, "tvae/"))
    before = image(1, 3, 176, 64)
    z = uni("in/z", (1, 4, 44, 16), -2, 2)
    full, parts = vae.pool_features(before), vae.pool_features(before, tile)
    for one, other in zip(full, parts, strict=True):
        assert float((one - other).abs().max()) < 1e-5
    assert float((vae.decode(z, full) - vae.decode(z, full, tile)).abs().max()) < 1e-5
    assert float((vae.decode(z) - vae.decode(z, None, tile)).abs().max()) < 1e-5


def test_noise_levels_and_steps_are_the_recorded_ones() -> None:
    schedule = Schedule()
    assert schedule.list_levels(4) == GOLDEN["ddim.timesteps"] == list(TRAINED_LEVELS)
    assert schedule.compute_alphas()[schedule.list_levels(4)].tolist() == pytest.approx(
        GOLDEN["ddim.alphas"], rel=1e-6
    )
    x, v = uni("in/ddx", (1, 4, 8, 8)), uni("in/ddv", (1, 4, 8, 8))
    for level in TRAINED_LEVELS:
        like(schedule.step(x, v, level, 4), GOLDEN[f"ddim.step_{level}"])
    with pytest.raises(BadSetting, match="steps is 0: pass 1 to 1000"):
        schedule.list_levels(0)


def test_the_published_settings_are_read_and_others_refused() -> None:
    """With "leading" levels the network draws videos that look like plain enlargements."""
    good = {"beta_schedule": "scaled_linear", "prediction_type": "v_prediction",
            "timestep_spacing": "trailing", "set_alpha_to_one": False, "clip_sample": False,
            "steps_offset": 1}  # fmt: skip
    assert Schedule.of(good, "here") == Schedule()
    with pytest.raises(
        BadWeights, match=r"timestep_spacing is 'leading', expected 'trailing'"
    ) as e:
        Schedule.of({**good, "timestep_spacing": "leading"}, "here")
    assert "[751, 501, 251, 1] and the network was trained for [999, 749, 499, 249]" in str(e.value)
    with pytest.raises(BadWeights, match="prediction_type is 'epsilon', expected 'v_prediction'"):
        Schedule.of({**good, "prediction_type": "epsilon"}, "here")


def test_the_warp_gives_the_recorded_values() -> None:
    image = uni("in/warp", (1, 3, 40, 56))
    flow = uni("in/flow", (1, 40, 56, 2), -3, 3).permute(0, 3, 1, 2)
    like(warp(image, flow), GOLDEN["flow_warp"])
    like(warp(image, torch.zeros_like(flow)), GOLDEN["flow_warp.zero_flow"])
    row = torch.arange(16.0).expand(1, 1, 16, 16)
    made = warp(row, torch.zeros(1, 2, 16, 16))[0, 0, 8]
    assert made[[1, 2, 14, 15]].tolist() == pytest.approx([0.5667, 1.6333, 14.4333, 7.5], abs=1e-3)
