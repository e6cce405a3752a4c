"""The networks: values recorded from the published code, and names and shapes at full size."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from filmgate.errors import BadWeights
from filmgate.models.diffusion import weights_files
from filmgate.models.families.latentsync import LatentSyncOptions, loading
from filmgate.models.families.latentsync.published import UNETS
from filmgate.models.families.latentsync.sampler import Clip, Sampler, list_steps, remove_noise
from filmgate.models.families.latentsync.unet import UNet
from filmgate.models.families.latentsync.whisper import (
    WhisperEncoder,
    WhisperShape,
    compute_log_mel,
    normalize_log_mel,
)
from tests.models.families.latentsync import tiny


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


def assert_recorded(
    found: Tensor,
    mean: float,
    std: float,
    largest: float,
    first: Sequence[float],
    last: Sequence[float] = (),
    tolerance: float = 1e-4,
) -> None:
    flat = found.double().flatten()
    values = [flat.mean(), flat.std(), flat.abs().max(), *flat[: len(first)]]
    values += [*flat[len(flat) - len(last) :]]
    wanted = [mean, std, largest, *first, *last]
    assert [float(value) for value in values] == pytest.approx(wanted, abs=tolerance)


def by_channel(x: Tensor) -> Tensor:
    """Return (B * F, C, h, w) as it was recorded, (B, C, F, h, w)."""
    return x.reshape(-1, 4, *x.shape[1:]).transpose(1, 2)


@cache
def build_recorded() -> UNet:
    return tiny.build_unet(tiny.RECORDED)


@contextmanager
def watch(net: UNet, names: Iterable[str], see: Callable[[str, Tensor], object]) -> Iterator[None]:
    """Call `see` with the name and the result of each of these modules that runs."""
    handles = []
    for name in names:
        hook = lambda _module, _inputs, result, name=name: see(name, result)  # noqa: E731
        handles.append(net.get_submodule(name).register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def test_unet_matches_the_published_code() -> None:
    net, probes = build_recorded(), dict[str, Tensor]()
    x, audio = tiny.draw(1, 2, 13, 4, 8, 8).transpose(1, 2), tiny.draw(2, 2, 4, 10, 16)
    audio[0] = 0
    names = ("conv_in", *(f"down_blocks.0.{kind}.0"
                          for kind in ("resnets", "attentions", "motion_modules")))  # fmt: skip
    with watch(net, names, lambda name, result: probes.update({name: result.clone()})):
        found, inner = net(x, 500, net.project_audio(audio))
    time = net.embed_time(500).expand(2, -1)
    assert_recorded(time, -0.014712, 0.339942, 0.807878, (0.654904, 0.517512, 0.497825, 0.03983),
                    (0.138771, -0.535627))  # fmt: skip
    recorded = {
        "conv_in": (-0.010604, 0.930593, 4.000033, (0.197161, 0.070411, 0.220526, -0.112377),
                    (-0.037795, -0.358154)),
        "down_blocks.0.resnets.0": (0.013786, 1.074218, 4.397397,
                                    (0.898206, 0.052563, 0.595592, 0.38742), (0.245249, -1.033501)),
        "down_blocks.0.attentions.0": (0.012524, 1.677258, 7.492734,
                                       (0.390077, 0.966644, 1.116705, 1.956814),
                                       (-0.590071, -0.42968)),
        "down_blocks.0.motion_modules.0": (0.337137, 2.405723, 10.832558,
                                           (0.654686, -0.568822, 0.041921, 0.200857),
                                           (0.278787, -0.101487)),
    }  # fmt: skip
    for name, values in recorded.items():
        assert_recorded(by_channel(probes[name]), *values)
    assert_recorded(found.transpose(1, 2), -0.039084, 0.533016, 1.932257,
                    (-0.091746, -0.047897, -0.47245, -0.164538), (0.403005, -0.01335))  # fmt: skip
    shared = net.project_audio(audio[1:], silent=True)  # silence is not computed
    assert torch.equal(net(x, 500, shared)[0], found)
    assert torch.equal(net.refine(x, 500, shared, inner)[0], found)


def test_only_the_outermost_layers_run_between_complete_steps() -> None:
    net, ran = build_recorded(), list[str]()
    kinds = (["resnets"], ["attentions"], ["motion_modules"])
    names = [name for name, _ in net.named_modules() if name.split(".")[-2:-1] in kinds]
    x = tiny.draw(1, 2, 13, 4, 8, 8).transpose(1, 2)
    audio = net.project_audio(tiny.draw(2, 1, 4, 10, 16), silent=True)
    inner = net(x, 500, audio)[1]
    with watch(net, names, lambda name, _: ran.append(name)):
        net.refine(x, 400, audio, inner)
    assert ran == [f"up_blocks.3.{kind}.1" for kind in ("resnets", "attentions", "motion_modules")]


def test_result_of_a_frame_depends_on_the_others_of_its_clip() -> None:
    net, x = tiny.build_unet(), tiny.draw(1, 1, 8, 13, 8, 8)
    audio = tiny.draw(2, 1, 8, 10, 16)
    complete = net(x, 500, net.project_audio(audio))[0]
    half = net(x[:, :4], 500, net.project_audio(audio[:, :4]))[0]
    assert (complete[:, :4] - half).abs().max() > 0.05


def test_names_and_sizes_at_full_size_are_those_of_the_published_weights() -> None:
    with torch.device("meta"):
        net = UNet()
    tensors = net.state_dict()
    counts = {name: tensor.numel() for name, tensor in tensors.items()}
    assert len(tensors) == 1246
    assert sum(parameter.numel() for parameter in net.parameters()) == 1_267_099_844
    assert sum(n for name, n in counts.items() if name.endswith(".pe")) == 844_800
    motion = [name for name in counts if "motion_modules" in name]
    assert len(motion) == 560
    assert sum(counts[name] for name in motion) == pytest.approx(417.1e6 + 844_800, abs=1e5)
    assert sum(n for name, n in counts.items() if "attn2" in name) == pytest.approx(34.4e6, abs=5e4)
    names = [name for name in counts if name.startswith("up_blocks.3.motion_modules.2.")]
    assert len(names) == 28
    assert len([n for n in counts if n.startswith("down_blocks.0.attentions.1.")]) == 26
    assert len([n for n in counts if n.startswith("down_blocks.1.resnets.0.")]) == 12
    assert tensors["down_blocks.2.attentions.0.transformer_blocks.0.attn2.to_k.weight"].shape == (
        1280, 384,
    )  # fmt: skip
    block = "up_blocks.0.motion_modules.1.temporal_transformer.transformer_blocks.0."
    assert tensors[f"{block}attention_blocks.1.pos_encoder.pe"].shape == (1, 24, 1280)
    encoder = WhisperEncoder()
    assert len(encoder.state_dict()) == 67
    assert sum(p.numel() for p in encoder.parameters()) == 7_632_384


def test_weights_whose_licence_is_not_known_are_not_the_default() -> None:
    first, *_ = (weights for weights, _ in LatentSyncOptions().files)
    assert (first.name, first.licence) == ("latentsync-1.5", "OpenRAIL++-M")
    other = UNETS["1.6"]
    assert other.licence.startswith("not known")
    assert other.commercial is None


def test_noise_levels_and_one_step_match_the_published_scheduler() -> None:
    assert list_steps(20)[:3] == (951, 901, 851)
    assert list_steps(20)[-2:] == (51, 1)
    assert list_steps(3) == (667, 334, 1)
    x, noise = tiny.draw(21, 1, 4, 2, 4, 4), tiny.draw(22, 1, 4, 2, 4, 4)
    for step, wanted in ((951, [-0.039396, 0.311059, 1.02757, -1.572218]),
                         (1, [-0.05087, -0.093476, 1.029107, -1.254371])):  # fmt: skip
        found = remove_noise(x, noise, step, 20).flatten()[:4].tolist()
        assert found == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("together", [True, False])
def test_sampler_matches_the_published_loop(together: bool) -> None:
    """Its values feel the number of threads, so they are compared within 3e-3."""
    sampler = Sampler(build_recorded(), 3, 1.5, together=together)
    frames = tiny.draw(63, 1, 4, 4, 8, 8), tiny.draw(64, 1, 4, 4, 8, 8)
    clip = Clip(
        mask=(tiny.draw(62, 1, 1, 4, 8, 8) > 0).float()[0].transpose(0, 1),
        masked=frames[0][0].transpose(0, 1),
        reference=frames[1][0].transpose(0, 1),
        audio=tiny.draw(65, 1, 4, 10, 16)[0],
    )
    latents, path = sampler.denoise(clip, tiny.draw(61, 1, 4, 1, 8, 8)[:, :, 0], keep=2)
    found = latents.transpose(0, 1).contiguous()
    assert_recorded(found, -0.046652, 3.616895, 12.664949,
                    (-1.914467, 2.901977, 1.014445, 5.425108), tolerance=3e-3)  # fmt: skip
    assert len(path) == 4
    assert torch.equal(path[-1], latents[2:])


def test_whisper_and_its_spectrogram_match_the_published_code() -> None:
    encoder = tiny.build_whisper(WhisperShape(places=10, width=32, heads=2, layers=2))
    states = encoder(tiny.draw(11, 1, 80, 20))  # (1, 10, 3, 32), recorded as (1, 3, 10, 32)
    assert float(states.mean()) == pytest.approx(0.806887, abs=1e-4)
    assert float(states.std()) == pytest.approx(1.211634, abs=1e-3)
    wanted = [-0.051029, -0.135716, 0.198183, 0.028681]
    assert states.flatten()[:4].tolist() == pytest.approx(wanted, abs=1e-5)
    normed = encoder.ln_post(states[:, :, -1]).flatten()[:4].tolist()
    assert normed == pytest.approx([-0.29596, 0.188697, -1.958037, -0.298123], abs=1e-4)
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
    log_mel = compute_log_mel(tone.astype(np.float32))
    mel = normalize_log_mel(log_mel, float(log_mel.max()))
    assert mel.shape == (80, 200)
    found = [mel.mean(), mel.std(ddof=1), mel.min(), mel.max()]
    assert found == pytest.approx([-0.458815, 0.417277, -0.561796, 1.438204], abs=1e-5)


def test_files_of_weights_are_opened_at_their_size(tmp_path: Path) -> None:
    """The keys of attention in the published autoencoder have earlier names of diffusers."""
    options = tiny.build_options()
    unet, whisper, vae = (place for _, place in options.files)
    assert unet is not None and whisper is not None and vae is not None  # noqa: PT018
    assert loading.open_unet(unet, torch.float32, "cpu").shape == tiny.SMALL
    assert loading.open_whisper(whisper, torch.float32, "cpu").shape == tiny.WHISPER
    wanted = weights_files.open_autoencoder(vae, torch.float32, "cpu").state_dict()
    older = {}
    for name, tensor in wanted.items():
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"),
                         ("to_out.0", "proj_attn")):  # fmt: skip
            name = name.replace(f".{new}.", f".{old}.")
        older[name] = tensor[..., None, None] if ".query.weight" in name else tensor
    assert older.keys() != wanted.keys()
    save_file(older, tmp_path / "old.safetensors")
    net = weights_files.open_autoencoder(tmp_path / "old.safetensors", torch.float32, "cpu")
    found = net.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    for opener, path in ((loading.open_unet, vae), (loading.open_whisper, unet),
                         (weights_files.open_autoencoder, unet)):  # fmt: skip
        with pytest.raises(BadWeights, match="which are not those of a"):
            opener(path, torch.float32, "cpu")
