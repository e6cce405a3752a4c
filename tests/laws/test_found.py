"""Laws 1 to 7 over everything real: each task, family and stage in the package, found by itself.

A module that has `samples()` gives tasks or stages to try; a task or a family without is a failure.
"""

import pkgutil
from dataclasses import replace
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
from filmgate.core.stage import Stage
from filmgate.errors import Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.models import registry
from filmgate.tasks import registry as task_registry
from filmgate.testing import laws
from tests.cases import only
from tests.models import tiny

WIDE, HIGH, TICKS = 48, 40, (25, 25, 25, 10, 40, 25, 25, 25, 60, 5, 25, 25, 25, 25)
COLOUR = ColorTags(matrix="bt709", range="tv")
SPEC = StreamSpec(width=WIDE, height=HIGH, rate=None, time_base=F(1, 600), pixels="yuv420p",
            colour=COLOUR)  # fmt: skip
# Their libraries take ten seconds to import: their laws are slow tests, in tests/models.
HEAVY = frozenset({"diffvsr"})
# Slow, as others find the same faults: a fraction, fewer frames, a rate with slow motion and a
# network stay of interpolate; DIS and RAFT once each of guide; steady is a sample by itself.
ALIKE = frozenset(
    [f"tasks.interpolate {n}" for n in (0, 3, 4, 6)]
    + ["tasks.upscale 1", "models.flow_model 1", "models.flow_model 2"]
)


def texture(seed: int, shift: int, shape: tuple[int, int]) -> Any:
    coarse = np.random.default_rng(seed).integers(30, 220, (shape[0] // 8 + 1, 12), np.uint8)
    wide = np.kron(coarse, np.ones((8, 8), np.uint8))
    return np.ascontiguousarray(np.roll(wide, shift, axis=1)[: shape[0], : shape[1]])


@cache
def video() -> laws.SampleVideo:
    """Fourteen pictures of variable rate: one texture slides, then, after a cut, another."""
    frames, time = [], F(0)
    for i, ticks in enumerate(TICKS):
        seed = 1 if i < 7 else 2
        luma = texture(seed, 2 * i, (HIGH, WIDE))
        chroma = texture(seed + 5, i, (HIGH // 2, WIDE // 2))
        image = Planes((luma, chroma, 255 - chroma), "yuv420p", COLOUR)
        frames.append(Frame(i, time, F(ticks, 600), image))
        time += F(ticks, 600)
    return laws.SampleVideo(SPEC, tuple(frames))


def modules() -> list[str]:
    return [module.name for module in pkgutil.walk_packages(filmgate.__path__, "filmgate.")]


def samples_of(module: str) -> tuple[Any, ...]:
    return tuple(getattr(import_module(module), "samples", tuple)())


@cache
def samples() -> dict[str, Any]:
    """Every task and stage that the package offers for trials, by name; small weights for tasks."""
    named: dict[str, Any] = {}
    for module in modules():
        for i, sample in enumerate(samples_of(module)):
            if getattr(sample, "model", None) in HEAVY:
                continue
            if getattr(sample, "model", None) in tiny.FAMILIES:
                sample = replace(sample, weights=tiny.weights(sample.model))
            named[f"{module.removeprefix('filmgate.')} {i}"] = sample
    return named


@cache  # many samples hand on the same spec
def built(name: str, spec: StreamSpec) -> Chain:
    """The sample as it stands in a line where `spec` comes to it."""
    sample = samples()[name]
    return Chain((sample,)) if isinstance(sample, Stage) else Chain(sample.stages(spec))


@cache
def found() -> dict[str, tuple[Chain, F]]:
    """Every sample in the package as a chain, with how long its result lasts."""
    assert samples().keys() >= ALIKE
    chains: dict[str, tuple[Chain, F]] = {}
    for name, sample in samples().items():
        shown = video().frames
        *_, last = shown if isinstance(sample, Stage) else sample.timeline(shown)
        chains[name] = (built(name, SPEC), last.end)
    return chains


def in_a_row(a: str, b: str) -> Chain:
    """One behind the other; raises Unsupported where they refuse each other."""
    first = found()[a][0]
    return Chain((first, built(b, first.output(SPEC))))


@cache
def pairs() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Every two samples that go in a row, and every two that refuse each other by their specs."""
    fit: list[tuple[str, str]] = []
    refused: list[tuple[str, str]] = []
    for a, b in product(sorted(found()), repeat=2):
        try:
            in_a_row(a, b).specs(SPEC)
        except Unsupported:
            refused.append((a, b))
        else:
            fit.append((a, b))
    return fit, refused


# built when they are first wanted: every run of the suite collects this file
names = st.deferred(lambda: st.sampled_from(sorted(found())))
few = settings(max_examples=settings().max_examples // 20 + 2)


def test_every_task_and_every_family_is_tried() -> None:
    tried = {key.split()[0] for key in found()}
    for module in modules():
        makes = {"each", "windowed", "blocks"} & vars(import_module(module)).keys()
        if makes and not module.startswith("filmgate.core."):
            assert module.removeprefix("filmgate.") in tried, f"{module} has no samples()"
    samples = [s for name in task_registry.registry() for s in samples_of(f"filmgate.tasks.{name}")]
    models = {task.model for task in samples}
    assert set(registry.families()) <= models


@pytest.mark.parametrize("name", only(samples().keys() - ALIKE, sorted(samples())))
def test_it_passes_the_laws_in_one_line(name: str) -> None:
    chain, total = found()[name]
    laws.check_stage(chain, video(), total=total, tries=1)


@few
@given(names, st.lists(st.integers(0, 14), max_size=5), st.sets(st.integers(0, 5)))
def test_laws_1_and_2_exact(name: str, cuts: list[int], sleeps: set[int]) -> None:
    chain, _ = found()[name]
    laws.check_cut(chain, video(), cuts)
    laws.check_sleep(chain, video(), cuts, sleeps)


@few
@given(names, st.integers(1, 4), st.sampled_from([2, 4, 8]))
def test_laws_3_and_4_exact_and_close(name: str, fits: int, batch: int) -> None:
    chain, _ = found()[name]
    laws.check_retry(chain, video(), fits, batch)
    laws.check_batch(chain, video(), batch)


@few
@given(names, names)
def test_law_5_exact_in_a_row(a: str, b: str) -> None:
    try:
        chain = in_a_row(a, b)
        chain.specs(SPEC)
    except Unsupported:
        reject()
    made = laws.play(chain, video())
    for one, following in pairwise(made):
        assert (following.index, following.time) == (one.index + 1, one.end)


def test_what_does_not_go_in_a_row_is_refused_before_a_frame() -> None:
    fit, refused = pairs()
    assert len(fit) > 10 * len(refused) > 0
    for pair in refused:
        with pytest.raises(Unsupported):
            in_a_row(*pair).start(SPEC, video().frames[0].position)
