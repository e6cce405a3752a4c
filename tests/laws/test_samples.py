"""Laws 1 to 7 on every task, model family and stage in the package.

A module's `samples()` returns tasks or stages to check; a task or a family without fails a test.
"""

import pkgutil
from fractions import Fraction as F
from functools import cache
from importlib import import_module
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import filmgate
from filmgate.core.chain import Chain
from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import Stage
from filmgate.errors import Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.models import flow_model, registry
from filmgate.models.flow_model import Guide
from filmgate.tasks import registry as task_registry
from filmgate.tasks.model_task import ModelTask
from filmgate.testing import SampleVideo, laws
from tests.cases import mark_slow_cases
from tests.models import tiny

WIDE, HIGH, TICKS = 32, 24, (25, 25, 10, 40, 25, 25, 25, 60, 5, 25, 25, 25)
COLOUR = ColorTags(matrix="bt709", range="tv")
MODELS = ModelCache()  # each network is made once, not for each spec
SPEC = StreamSpec(width=WIDE, height=HIGH, rate=None, time_base=F(1, 600), pixels="yuv420p",
            colour=COLOUR)  # fmt: skip
# Its libraries take ten seconds to import: its laws are slow tests in tests/models.
HEAVY = frozenset({"diffvsr"})
# In the slow suite only, since others find the same faults. Of interpolate the quick suite keeps a
# fraction, fewer frames and a rate with slow motion; of guide DIS.
REDUNDANT = frozenset(
    [f"tasks.interpolate {n}" for n in (0, 3, 4, 6, 7, 8)]
    + [f"models.flow_model {n}" for n in (1, 2, 3)]
    + ["tasks.upscale 1", "tasks.track 0"]
    + ["flow.temporal_blend 1", "media.pixels.tonemap 1"]
)


def draw_texture(seed: int, shift: int, shape: tuple[int, int]) -> Any:
    coarse = np.random.default_rng(seed).integers(30, 220, (shape[0] // 8 + 1, 12), np.uint8)
    wide = np.kron(coarse, np.ones((8, 8), np.uint8))
    return np.ascontiguousarray(np.roll(wide, shift, axis=1)[: shape[0], : shape[1]])


@cache
def video() -> SampleVideo:
    """Return 12 images of variable rate: one texture moves, then, in a new shot, another."""
    frames, time = [], F(0)
    for i, ticks in enumerate(TICKS):
        seed = 1 if i < 5 else 2
        luma = draw_texture(seed, i, (HIGH, WIDE))
        chroma = draw_texture(seed + 5, i // 2, (HIGH // 2, WIDE // 2))
        image = Planes((luma, chroma, 255 - chroma), "yuv420p", COLOUR)
        frames.append(Frame(i, time, F(ticks, 600), image))
        time += F(ticks, 600)
    return SampleVideo(SPEC, tuple(frames))


def list_modules() -> list[str]:
    return [module.name for module in pkgutil.walk_packages(filmgate.__path__, "filmgate.")]


def load_samples(module: str) -> tuple[Any, ...]:
    found = getattr(import_module(module), "samples", None)  # a package may have a module of it
    return tuple(found()) if callable(found) else ()


@cache
def samples() -> dict[str, Any]:
    """Return every sample task and stage in the package by name; tasks have small weights."""
    by_name: dict[str, Any] = {}
    for module in list_modules():
        for i, sample in enumerate(load_samples(module)):
            if getattr(sample, "model", None) in HEAVY:
                continue
            if isinstance(sample, ModelTask | Guide):
                sample = tiny.with_weights(sample)
            by_name[f"{module.removeprefix('filmgate.')} {i}"] = sample
    return by_name


@cache  # many samples have the same output spec
def build_chain(name: str, spec: StreamSpec) -> Chain:
    """Return a sample as a chain for the input `spec`."""
    sample = samples()[name]
    return Chain((sample,)) if isinstance(sample, Stage) else Chain(sample.stages(spec, MODELS))


@cache
def build_samples() -> dict[str, tuple[Chain, F]]:
    """Return every sample as a chain, with the duration of its result."""
    assert samples().keys() >= REDUNDANT
    chains: dict[str, tuple[Chain, F]] = {}
    for name, sample in samples().items():
        frames = video().frames
        *_, last = frames if isinstance(sample, Stage) else sample.timeline(frames)
        chains[name] = (build_chain(name, SPEC), last.end)
    return chains


def join(a: str, b: str) -> Chain:
    """Return two samples as one chain. Raises Unsupported if the second refuses the first."""
    first = build_samples()[a][0]
    return Chain((first, build_chain(b, first.output(SPEC))))


@cache
def find_pairs() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the pairs of samples that can be joined, and those that refuse each other."""
    fit: list[tuple[str, str]] = []
    refused: list[tuple[str, str]] = []
    for a, b in product(sorted(build_samples()), repeat=2):
        try:
            join(a, b).specs(SPEC)
        except Unsupported:
            refused.append((a, b))
        else:
            fit.append((a, b))
    return fit, refused


# deferred, since every test run imports this file
names = st.deferred(lambda: st.sampled_from(sorted(build_samples())))
few = settings(max_examples=settings().max_examples // 20 + 2)


def test_every_task_and_every_family_is_checked() -> None:
    checked = {key.split()[0] for key in build_samples()}
    for module in list_modules():
        adapters = {"each", "windowed", "blocks"} & vars(import_module(module)).keys()
        if adapters and not module.startswith("filmgate.core."):
            assert module.removeprefix("filmgate.") in checked, f"{module} has no samples()"
    samples = [
        s for name in task_registry.load_tasks() for s in load_samples(f"filmgate.tasks.{name}")
    ]
    models = {task.model for task in samples}
    assert {*registry.list_interpolators(), *registry.list_upscalers()} <= models
    assert {guide.model for guide in flow_model.samples()} == {*registry.list_flow_models()}


@pytest.mark.parametrize("name", mark_slow_cases(samples().keys() - REDUNDANT, sorted(samples())))
def test_each_sample_passes_check_stage(name: str) -> None:
    chain, total = build_samples()[name]
    laws.check_stage(chain, video(), total=total, tries=1)


@few
@given(names, st.lists(st.integers(0, 12), max_size=5), st.sets(st.integers(0, 5)))
def test_laws_1_and_2_exact(name: str, cuts: list[int], sleeps: set[int]) -> None:
    chain, _ = build_samples()[name]
    laws.check_cut(chain, video(), cuts)
    laws.check_sleep(chain, video(), cuts, sleeps)


@few
@given(names, st.integers(1, 4), st.sampled_from([2, 4, 8]))
def test_laws_3_and_4_exact_and_close(name: str, fits: int, batch: int) -> None:
    chain, _ = build_samples()[name]
    laws.check_retry(chain, video(), fits, batch)
    laws.check_batch(chain, video(), batch)


@few
@given(names, names)
def test_law_5_exact_in_a_row(a: str, b: str) -> None:
    try:
        chain = join(a, b)
        chain.specs(SPEC)
    except Unsupported:
        reject()
    outputs = laws.run_chain(chain, video())
    for one, following in pairwise(outputs):
        assert (following.index, following.time) == (one.index + 1, one.end)


def test_samples_that_do_not_fit_are_refused_before_the_first_frame() -> None:
    fit, refused = find_pairs()
    assert len(fit) > 10 * len(refused) > 0
    for pair in refused:
        with pytest.raises(Unsupported):
            join(*pair).start(SPEC, video().frames[0].position)
