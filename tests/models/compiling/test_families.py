"""Networks that run compiled give what they give as they are, and a run says that it compiles.

Packages are pretended here: their networks run as they are, on contiguous inputs of fixed shapes.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import filmgate as fg
from filmgate.cli.main import main
from filmgate.core.model_cache import ModelCache
from filmgate.errors import BadSetting, Exit, FilmgateError, Interrupted
from filmgate.media.images.image_file import ImageFile
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.compact import CompactOptions, upscaler
from filmgate.models.families.compact.upscaler import CompactUpscaler
from filmgate.models.families.latentsync import LatentSyncOptions
from filmgate.models.families.latentsync.compiled import CompiledDecoder, CompiledUNet
from filmgate.models.families.latentsync.sampler import Clip, Sampler
from filmgate.models.families.personalive import PersonaLiveOptions
from filmgate.models.families.personalive.compiled import CompiledNetworks
from filmgate.models.families.personalive.layers import Portrait
from filmgate.models.families.personalive.unet import DenoisingUnet
from filmgate.tasks.animate import Animate
from filmgate.tasks.lipsync import LipSync
from filmgate.tasks.upscale import Upscale
from filmgate.testing import laws
from tests.models import tiny_personalive
from tests.models.compiling.pretended import Pretended, pretend
from tests.models.families import test_compact as compact
from tests.models.families.latentsync import tiny
from tests.models.families.latentsync.test_stages import build, make_video
from tests.models.tiny_personalive import SHAPE, fill
from tests.stories.test_lipsync import make_job as make_lipsync
from tests.tasks.test_animate import write_portrait
from tests.videos import Video, make

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def pretended(tmp_path: Path) -> Iterator[Pretended]:
    with pretend(tmp_path / "cache") as pretended:
        yield pretended


# --- compact --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "gbrap"])
@pytest.mark.parametrize("rows", [None, 64])
def test_tiles_of_one_size_give_the_same(
    scale: int, pixels: str, rows: int | None, pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """46x38 in tiles of about 16x16: the last ones of a row and of a column are incomplete."""
    monkeypatch.setattr(upscaler, "CPU_TILE", (16, 16))
    net, image = compact.random_net(scale), compact.planes(pixels)
    plain = CompactUpscaler(net, rows=rows)
    compiled = plain.compile(*image.size, ModelCache())
    assert measure_largest(plain.upscale(image), compiled.upscale(image)) <= 1
    with pytest.raises(FilmgateError, match=r"compact, x\d was compiled for"):
        compiled.upscale(compact.planes(pixels, (64, 40)))


# --- latentsync -----------------------------------------------------------------------------------


def open_unet(cell: int = 8, *, silent: bool = True, parts: int = 2) -> CompiledUNet:
    """Return a compiled UNet as a run has it, with its first `parts` packages."""
    net = CompiledUNet(tiny.build_unet(), 16, cell, 50, ModelCache())
    for complete in (True, False)[:parts]:
        net.open(complete=complete, silent=silent)
    return net


@pytest.mark.parametrize(
    ("guidance", "every", "together", "built"),
    [
        (1.5, 2, True, 2),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in ((1.5, 1, True, 1), (1.0, 3, True, 2), (1.5, 2, False, 2))
        ),
    ],
)
def test_a_clip_is_denoised_as_without_compiling(
    guidance: float, every: int, together: bool, built: int, pretended: Pretended
) -> None:
    latents = tiny.draw(1, 16, 4, 8, 8)
    clip = Clip(torch.ones(1, 8, 8), latents, tiny.draw(2, 16, 4, 8, 8), tiny.draw(3, 16, 50, 16))
    short = Clip(clip.mask, clip.masked[:3], clip.reference[:3], clip.audio[:3])
    noise = tiny.draw(4, 1, 4, 8, 8)
    net = open_unet(silent=guidance > 1, parts=min(every, 2))
    for some in (clip, short):
        results = []
        for one in (net.unet, net):
            sampler = Sampler(one, 2, guidance, every, together)
            with torch.inference_mode():
                results.append(sampler.denoise(some, noise)[0])
        assert float((results[1] - results[0]).abs().max()) < 2e-5
        assert float(results[0].std()) > 0.1
    assert pretended.built == ["latentsync, UNet", "latentsync, UNet, outermost layers"][:built]


def test_nothing_is_compiled_while_frames_are_processed(
    pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form with little memory has other shapes: the network runs as it is, also where there is
    no compiler."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    net = CompiledUNet(tiny.build_unet(), 2, 8, 50, ModelCache())
    net.opened[True, True] = net.opened[False, True] = None  # type: ignore[assignment]  # not used
    x, audio = tiny.draw(1, 1, 2, 13, 8, 8), net.project_audio(tiny.draw(2, 1, 2, 50, 16))
    with torch.inference_mode():
        made, inner = net(x, 951, audio)
        assert torch.equal(made, net.unet(x, 951, audio)[0])
        refined, _ = net.refine(x, 901, audio, inner)
        assert torch.equal(refined, net.unet.refine(x, 901, audio, inner)[0])
    assert (float(refined.std()) > 0, pretended.built) == (True, [])


def test_faces_are_decoded_one_at_a_time(pretended: Pretended) -> None:
    vae, latents = tiny.build_autoencoder(), tiny.draw(5, 3, 4, 8, 8)
    decoder = CompiledDecoder.open(vae, 8, ModelCache())
    with torch.inference_mode():
        difference = decoder.decode(latents) - vae.decode(latents)
    assert float(difference.abs().max()) < 2e-5


@pytest.mark.slow
def test_laws_of_lipsync_hold_with_compiled_networks(pretended: Pretended) -> None:
    """The shapes are those of complete clips wherever a stream is cut, and at its end."""
    chain = build(overlap=4, sampler=Sampler(open_unet(4), 2, 1.5, 2))
    laws.check_stage(chain, make_video(), total=Fraction(34, 25), tries=1)


# --- personalive ----------------------------------------------------------------------------------


def test_a_stack_is_denoised_with_any_number_of_keyframes(pretended: Pretended) -> None:
    unet, stack = fill(DenoisingUnet(SHAPE), "denoising_unet/"), 4
    compiled = CompiledNetworks.open(unet, torch.nn.Conv2d(4, 3, 1), stack, 64, 1, ModelCache())
    assert pretended.built == ["personalive, UNet, 0 keyframes", "personalive, UNet, 1 keyframes",
                               "personalive, decoder"]  # fmt: skip
    levels = torch.tensor([0, 333, 666, 999])
    inputs = tiny.draw(1, stack, 4, 8, 8), levels
    more = tiny.draw(2, stack, 32, 16), tiny.draw(3, stack, SHAPE.channels[0], 8, 8)
    for count, denoiser in enumerate(compiled.denoisers, 1):
        seen = [tiny.draw(10 + k, *one.shape) for k, one in enumerate(denoiser.network.inputs[4:])]
        blocks = len(seen) // 3
        banks = tuple(zip(seen[blocks::2], seen[blocks + 1 :: 2], strict=True))
        portrait = Portrait(tuple(seen[:blocks]), banks)
        assert banks[0][0].shape[2] == 64 * count
        with torch.inference_mode():
            wanted = unet(*inputs, portrait, *more)
            made = compiled.predict_noise(*inputs, compiled.settle(portrait), *more)
        assert float((made - wanted).abs().max()) < 2e-5


# --- runs -----------------------------------------------------------------------------------------


def measure_largest(a: object, b: object) -> int:
    """Return by how many codes two images differ at most."""
    assert isinstance(a, Planes)
    assert isinstance(b, Planes)
    pairs = zip(a.arrays, b.arrays, strict=True)
    return max(int(np.abs(x.astype(int) - y.astype(int)).max()) for x, y in pairs)


def make_job(folder: Path, **own: Any) -> fg.Job:
    source = folder / "in.mp4"
    if not source.exists():
        make(Video(frames=12, size=(48, 32)), source)
    task = Upscale(options=CompactOptions(**own))
    return fg.Job(fg.VideoFile(source), fg.VideoOutput(folder / "out.mkv", codec="ffv1"), (task,))


def list_phases(job: fg.Job) -> list[str]:
    """Run a job; return the phases of its profile that are about compiled networks."""
    *_, profile = (event for event in fg.events(job, profile=True)
                   if isinstance(event, fg.Profiled))  # fmt: skip
    names = [phase.name for phase in profile.phases]
    assert all(name[0] == "load" for name in names if "compact, x" in name[-1])
    return [name[-1] for name in names if "compact, x" in name[-1]]


def test_a_run_says_that_it_compiled_and_resumes_only_compiled(
    pretended: Pretended, tmp_path: Path
) -> None:
    job, plan = make_job(tmp_path, compile=True), fg.Plan(chunk=1, segment_frames=2)
    paused = fg.ResumeOptions(pause_after=Fraction(0))
    events = list[fg.Event]()
    with pytest.raises(Interrupted):
        events.extend(fg.events(job, plan, resume_options=paused))
    with pytest.raises(BadSetting, match=r"--compile was true, is .*--restart"):
        list(fg.events(make_job(tmp_path), plan))
    warned = [event.message for event in fg.events(job, plan) if isinstance(event, fg.Warned)]
    assert not [message for message in warned if "compiled" in message]  # it was there
    assert pretended.built == ["compact, x2"]
    frames = [frame.image for frame in fg.frames((), tmp_path / "out.mkv")]
    plain = [frame.image for frame in fg.frames((Upscale(),), tmp_path / "in.mp4")]
    for old, new in zip(plain, frames, strict=True):
        assert measure_largest(old, new) <= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("film", "--frame-size", "64x48"), "'film' has no networks that can be compiled: pass"),
        (("dis", "--scale", "2"), "pass one of compact, latentsync, personalive"),
        (("compact",), "--frame-size 1920x1080"),
        (("compact", "--frame-size", "1920"), "frame_size is '1920', wanted width and height"),
        (("compact", "--frame-size", "0x48"), "frame_size is '0x48'"),
        (("compact", "--frame-size", "64x48", "--scale", "3"), "scale is 3"),
        (("latentsync", "--weights", "missing.pt"), "missing.pt"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused(
    words: tuple[str, ...], said: str, pretended: Pretended, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "build", *words]) == Exit.USER
    assert said in " ".join(capsys.readouterr().err.split())
    assert not pretended.built


def test_models_build_makes_what_a_run_loads(
    pretended: Pretended, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["models", "build", "compact", "--frame-size", "48x32"]
    assert main(words) == Exit.DONE
    assert "compact, x2: compiled in " in capsys.readouterr().out
    assert main([*words, "--scale", "2"]) == Exit.DONE
    assert "compact, x2: was here, " in capsys.readouterr().out
    assert list_phases(make_job(tmp_path, compile=True)) == ["compiled compact, x2"]
    assert pretended.built == ["compact, x2"]
    task = Upscale(scale=4, options=CompactOptions(compile=True))
    larger = replace(make_job(tmp_path), tasks=(task,), sink=fg.VideoOutput(tmp_path / "4.mkv"))
    assert list_phases(larger) == ["compiled compact, x4", "compile compact, x4"]
    assert main(["cache"]) == Exit.DONE
    assert "compiled   2 networks in 44 bytes" in capsys.readouterr().out
    assert main(["cache", "clean"]) == Exit.DONE
    assert "freed 44 bytes of compiled networks in " in capsys.readouterr().out
    assert main(["cache"]) == Exit.DONE
    assert "networks" not in capsys.readouterr().out


def test_the_option_is_part_of_a_job_and_of_cache_keys() -> None:
    for task, options in ((Upscale, CompactOptions), (LipSync, LatentSyncOptions)):
        plain, compiled = (task(options=options(compile=on)) for on in (False, True))
        assert plain.describe_settings(plain.place(None)) != compiled.describe_settings(
            compiled.place(None)
        )
    assert Animate(size=256, keyframes=1).fix_shapes((9, 9)).size == 256
    assert Upscale(scale=4).fix_shapes((9, 8)).known_frame == (9, 8)


# --- a real package -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_package_keeps_the_laws_and_runs_in_a_worker_that_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only native code can break them: by what it keeps between calls, or threads that share it."""
    monkeypatch.setenv("FILMGATE_CACHE", str(tmp_path / "cache"))
    job, plan = make_job(tmp_path, compile=True), fg.Plan(chunk=2, segment_frames=2)
    with job.source.open() as video:
        (stage,) = job.tasks[0].stages(video.spec)
    laws.check_stage(stage, tmp_path / "in.mp4", tries=2)
    paused = fg.ResumeOptions(pause_after=Fraction(0))
    with pytest.raises(Interrupted):
        list(fg.events(job, plan, resume_options=paused, worker=True))
    events = list(fg.events(job, plan, worker=True))
    assert not [one for one in events if isinstance(one, fg.Warned) and "compiled" in one.message]
    compiled = [frame.image for frame in fg.frames((), tmp_path / "out.mkv")]
    plain = [frame.image for frame in fg.frames((Upscale(),), tmp_path / "in.mp4")]
    again = [frame.image for frame in fg.frames(job.tasks, tmp_path / "in.mp4")]
    assert len(compiled) == 12
    assert max(map(measure_largest, plain, compiled)) <= 1
    assert max(map(measure_largest, again, compiled)) == 0


@pytest.mark.slow
def test_lipsync_compiled_makes_the_same_video(pretended: Pretended, tmp_path: Path) -> None:
    """The task opens what models build has built, and its frames are those of the networks."""
    options = tiny.build_options()
    files = [f"--{name}={getattr(options, name)}" for name in ("weights", "whisper", "vae")]
    assert main(["models", "build", "latentsync", "--side", "64", "--steps", "1", *files]) == 0
    assert pretended.built == ["latentsync, UNet", "latentsync, decoder"]
    results = []
    for on in (False, True):
        job = make_lipsync(tmp_path, options=replace(options, compile=on))
        results.append([frame.image for frame in fg.frames(job.tasks, tmp_path / "in.mkv")])
    assert len(results[0]) == 20
    assert max(map(measure_largest, *results)) <= 1
    assert len(pretended.built) == 2


@pytest.mark.slow
def test_animate_compiled_makes_the_same_video(pretended: Pretended, tmp_path: Path) -> None:
    """As for lipsync; keys and values of the portrait reach the network contiguous."""
    weights = tiny_personalive.folder()
    words = ["--size", "64", "--keyframes", "0", "--weights", str(weights)]
    assert main(["models", "build", "personalive", *words]) == Exit.DONE
    assert pretended.built == ["personalive, UNet, 0 keyframes", "personalive, decoder"]
    portrait = ImageFile(write_portrait(tmp_path / "face.png"))
    make(Video(frames=3), tmp_path / "drive.mp4")
    results = []
    for on in (False, True):
        task = Animate(portrait=portrait, size=64, keyframes=0, finder="own",
                       options=PersonaLiveOptions(weights=weights, compile=on))  # fmt: skip
        frames = fg.frames((task,), tmp_path / "drive.mp4")
        results.append([frame.image for frame in frames])
    assert len(results[0]) == 3
    assert max(map(measure_largest, *results)) <= 1
    assert len(pretended.built) == 2
