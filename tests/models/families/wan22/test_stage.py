"""The stage that generates, with networks that only count: no library of models is loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction as F
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from filmgate.core.chain import Chain
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.serialization import dumps, loads
from filmgate.errors import OutOfMemory
from filmgate.flow.constant_rate import SkipFrames
from filmgate.models.families.wan22.preview import draw_preview, fit_colours
from filmgate.models.families.wan22.published import TI2V_5B
from filmgate.models.families.wan22.request import OVERLAP, Window, split_windows
from filmgate.models.families.wan22.sampler import SamplerState, draw_noise
from filmgate.models.families.wan22.stage import Generator
from filmgate.testing import laws
from filmgate.testing.laws import run_chain
from filmgate.testing.sample_video import SampleVideo

STEPS, SIZE, FPS = 2, (64, 32), F(16)
IMAGE = torch.linspace(0, 1, 3 * SIZE[0] * SIZE[1]).reshape(3, SIZE[1], SIZE[0])


@dataclass(frozen=True)
class AddingSampler:
    """A step adds 1 to the noise; the condition replaces the first latent frames."""

    variant: Any = TI2V_5B
    steps: int = STEPS

    def start(self, noise: Tensor) -> SamplerState:
        return SamplerState(noise)

    def step(self, state: SamplerState, experts: Any, condition: Tensor, embeddings: Tensor) -> Any:
        assert experts == "experts"
        assert embeddings.shape == (2, 1, 1)
        return SamplerState(state.latents + 1, state.step + 1)

    def finish(self, state: SamplerState, condition: Tensor) -> Tensor:
        return torch.cat([condition, state.latents[:, :, condition.shape[2] :]], 2)


@dataclass
class CountingNetworks:
    """Frames are the means of their latent frame; `fits`: bands from which a decode fits."""

    fits: int = 1
    calls: list[str] = field(default_factory=list)

    def embed(self, prompts: Sequence[str]) -> Tensor:
        self.calls.append("embed")
        return torch.zeros(len(prompts), 1, 1)

    def explain_length(self, prompts: Sequence[str]) -> str:
        return ""

    def encode(self, image: Tensor, last: Tensor | None, frames: int, bands: int) -> Tensor:
        count = 1 if image.ndim == 3 else len(image) // 4 + 1
        self.calls.append(f"encode {frames}")
        value = image.mean() if image.ndim == 3 else image[-1].mean()
        return torch.full((1, 48, count, SIZE[1] // 16, SIZE[0] // 16), float(value))

    def open_experts(self, sliced: bool) -> Any:
        self.calls.append("step")
        return "experts"

    def open_decoder(self, bands: int) -> Any:
        self.calls.append(f"decode {bands}")
        networks = self

        class Decoder:
            def stream(self, latents: Tensor) -> Iterator[Tensor]:
                for k in range(latents.shape[2]):
                    if k == 1 and bands < networks.fits:
                        raise MemoryError("the decoder is too large")
                    mean = latents[:, :, k].mean()
                    frames = torch.arange(1 if not k else 4) * 1e-3 + mean
                    yield frames[:, None, None, None].expand(-1, 3, SIZE[1], SIZE[0])

        return Decoder()

    def release(self, part: str) -> None:
        self.calls.append(f"release {part}")


def make_stage(frames: int, networks: CountingNetworks, longest: int = 121, **more: Any) -> Any:
    sampler: Any = AddingSampler()
    windows = split_windows(frames, longest, 4)
    return Generator(networks, sampler, ("a", "b"), IMAGE, None, windows, seed=3, fps=FPS, **more)


def make_counter(frames: int) -> SampleVideo:
    spec = StreamSpec(width=0, height=0, rate=FPS, time_base=1 / FPS, pixels="empty", frames=frames)
    return SampleVideo(spec, tuple(Frame(n, n / FPS, 1 / FPS, ()) for n in range(frames)))


def read_images(frames: Sequence[Frame]) -> list[bytes]:
    return [dumps((frame.image,)) for frame in frames]


def test_parts_are_used_one_after_the_other_and_given_back() -> None:
    networks = CountingNetworks()
    frames = run_chain(Chain((make_stage(9, networks),)), make_counter(9))
    assert networks.calls == ["embed", "release text", "encode 9", "release vae",
                              "step", "step", "release experts", "decode 1"]  # fmt: skip
    assert [frame.index for frame in frames] == list(range(9))
    assert [frame.time for frame in frames] == [n / FPS for n in range(9)]


@pytest.mark.parametrize(("asked", "made"), [(1, 1), (2, 5), (8, 9), (9, 9), (10, 13)])
def test_frames_that_were_not_asked_for_follow_at_the_end(asked: int, made: int) -> None:
    frames = run_chain(Chain((make_stage(made, CountingNetworks()),)), make_counter(asked))
    assert [(frame.index, frame.end) for frame in frames] == [
        (n, (n + 1) / FPS) for n in range(made)
    ]


@pytest.mark.parametrize("longest", [121, 13])
def test_cuts_and_sleep_change_nothing(longest: int) -> None:
    """In windows too; every piece of a sleeping run is decoded again from the first frame."""
    video = make_counter(21)
    complete = run_chain(Chain((make_stage(21, CountingNetworks(), longest),)), video)
    for cuts, sleeps in (([1, 2, 3], ()), ([7, 8, 20], (0, 1, 2, 3)), (range(21), range(21))):
        chain = Chain((make_stage(21, CountingNetworks(), longest),))
        assert read_images(run_chain(chain, video, cuts, sleeps)) == read_images(complete)


@pytest.mark.parametrize("longest", [121, 13])
def test_the_other_laws_hold(longest: int) -> None:
    stage, video = make_stage(21, CountingNetworks(), longest), make_counter(21)
    laws.check_retry(stage, video, fits=1, batch=4)
    laws.check_batch(stage, video, 4)
    laws.check_time(stage, video)
    laws.check_chain(stage, SkipFrames(2), SkipFrames(3), video)
    laws.check_memory(stage, video)
    laws.check_output(stage, video)


def test_an_earlier_step_can_be_repeated_without_another_decode() -> None:
    """A stage after it may fail, and the same frames are asked for again."""
    networks = CountingNetworks()
    stage, video = make_stage(17, networks), make_counter(17)
    state = stage.start(video.spec, Position(0, F(0)))
    state, first = stage.step(state, video.frames[:8])
    _, once = stage.step(state, video.frames[8:12])
    _, twice = stage.step(state, video.frames[8:12])
    assert read_images(once) == read_images(twice)
    assert networks.calls.count("decode 1") == 1
    fresh = run_chain(Chain((make_stage(17, CountingNetworks()),)), video)
    assert read_images([*first, *once]) == read_images(fresh[:12])


def test_short_memory_takes_more_bands_and_no_further_step() -> None:
    networks = CountingNetworks(fits=4)
    chain, video = Chain((make_stage(9, networks, most_bands=8),)), make_counter(9)
    frames = run_chain(chain, video)
    assert [call for call in networks.calls if call.startswith("decode")] == [
        "decode 1", "decode 2", "decode 4"
    ]  # fmt: skip
    assert networks.calls.count("step") == STEPS
    plain = run_chain(Chain((make_stage(9, CountingNetworks()),)), video)
    assert read_images(frames) == read_images(plain)


def test_a_decode_that_never_fits_leaves_the_finished_latents() -> None:
    networks = CountingNetworks(fits=99)
    chain, video = Chain((make_stage(9, networks, most_bands=2),)), make_counter(9)
    state = chain.start(video.spec, Position(0, F(0)))
    while (made := chain.prepare(state)) is not None:
        state = made.state
    with pytest.raises(OutOfMemory):
        chain.step(state, video.frames[:2])
    with pytest.raises(OutOfMemory, match="run the same command again, which resumes"):
        chain.halve_batch(0)
    networks.fits, state = 1, loads(dumps(state))
    after, frames = chain.step(state, video.frames[:2])
    assert len(frames) == 2
    assert networks.calls.count("step") == STEPS
    assert after[0].state.embeddings is None, "it is not needed any more"


def test_a_resumed_decode_is_reported_frame_by_frame() -> None:
    chain, video = Chain((make_stage(17, CountingNetworks()),)), make_counter(17)
    state = chain.start(video.spec, Position(0, F(0)))
    state, _ = chain.step(state, video.frames[:10])
    resumed = Chain((make_stage(17, CountingNetworks()),))
    state, moves = loads(dumps(state)), []
    while (made := resumed.prepare(state)) is not None:
        assert made.state is state, "nothing new is to be stored"
        moves.append(made)
    assert [(move.done, move.total) for move in moves] == [(4, 10), (8, 10), (10, 10)]
    assert moves[0].notice.startswith("10 frames are out")
    assert [move.notice for move in moves[1:]] == ["", ""]


@pytest.mark.parametrize("frames", [1, 5, 121, 125, 161, 201, 241, 997])
@pytest.mark.parametrize("longest", [81, 121])
def test_windows_are_together_a_video_of_lengths_that_the_model_takes(
    frames: int, longest: int
) -> None:
    windows = split_windows(frames, longest, 4)
    assert windows[0].start == 0
    assert windows[-1].start + windows[-1].frames == frames
    assert all(w.frames % 4 == 1 and w.frames <= longest and w.start % 4 == 0 for w in windows)
    for one, following in pairwise(windows):
        assert following.start == one.start + one.frames - OVERLAP
        assert following.frames > OVERLAP
    lengths = [window.frames for window in windows]
    assert max(lengths) - min(lengths) <= 4 * len(windows), "about equal"


def test_a_window_begins_with_the_end_of_the_one_before_and_the_shared_noise() -> None:
    networks = CountingNetworks()
    stage = replace(make_stage(21, networks, 13), sampler=AddingSampler())
    assert stage.windows == (Window(0, 13), Window(8, 13))
    state = stage.start(make_counter(21).spec, Position(0, F(0)))
    while (made := stage.prepare(state)) is not None:
        state = made.state
        if state.sampler is not None and len(state.finished) == 1 and not state.sampler.step:
            second = state
    first, last = state.finished
    complete = torch.randn(1, 48, 6, 2, 4, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(first[:, :, 1:], complete[:, :, 1:4] + STEPS)
    assert torch.equal(second.sampler.latents, complete[:, :, 2:6])
    end = first[:, :, 3].mean() + 3e-3  # of the last frame of the window before
    assert torch.allclose(last[:, :, :2], end.expand(1, 48, 2, 2, 4))
    assert networks.calls.count("step") == 2 * STEPS


def test_any_integer_is_a_seed() -> None:
    shape = (1, 4, 2, 2, 2)
    library = torch.Generator().manual_seed(-7)
    assert torch.equal(draw_noise(-7, shape), torch.randn(shape, generator=library))
    assert torch.equal(draw_noise((1 << 64) + 5, shape), draw_noise(5, shape))


def test_a_preview_shows_the_colours_of_the_image() -> None:
    height, width = 6, 8
    image = torch.zeros(3, 16 * height, 16 * width)
    image[0, :, : 8 * width] = 1  # red on the left, blue on the right
    image[2, :, 8 * width :] = 1
    latent = torch.nn.functional.adaptive_avg_pool2d(image, (height, width)).repeat(4, 1, 1) * 3 - 1
    shown = draw_preview(latent[:, None].expand(-1, 5, -1, -1), fit_colours(latent, image))
    assert (shown.width, shown.height) == (3 * width, height)
    left, right = shown.rgb[:3], shown.rgb[3 * (width - 1) : 3 * width]
    assert left[0] > 230 > 25 > left[2]
    assert right[2] > 230 > 25 > right[0]
    wide = draw_preview(torch.full((12, 9, 90, 160), float("nan")), torch.zeros(13, 3))
    assert (wide.width, len(wide.rgb)) == (96, 96 * wide.height * 3)
