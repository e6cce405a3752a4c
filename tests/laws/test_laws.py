"""Laws 1 to 7 over synthetic stages of every kind, in chains drawn at random."""

from fractions import Fraction as F

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filmgate.core.chain import Chain
from filmgate.testing import SampleVideo, laws
from tests.cases import mark_slow_cases
from tests.laws.synthetic import PAIRS, STAGES, STORE, make_video, videos

stages = st.sampled_from(sorted(STAGES))
chains = st.lists(stages, min_size=1, max_size=4)
batches = st.sampled_from([1, 2, 4, 8])
places = st.lists(st.integers(0, 45), max_size=8)


def make_chain(names: list[str], sizes: list[int]) -> Chain:
    return Chain(tuple(STAGES[name]() for name in names), tuple(sizes))


def draw_batches(names: list[str]) -> st.SearchStrategy[list[int]]:
    return st.lists(batches, min_size=len(names), max_size=len(names))


@given(videos(), chains, st.data(), places)
def test_law_1_cut_exact(
    video: SampleVideo, names: list[str], data: st.DataObject, cuts: list[int]
) -> None:
    laws.check_cut(make_chain(names, data.draw(draw_batches(names))), video, cuts)


@given(videos(), chains, places, st.sets(st.integers(0, 8)))
def test_law_2_sleep_exact(
    video: SampleVideo, names: list[str], cuts: list[int], sleeps: set[int]
) -> None:
    laws.check_sleep(make_chain(names, [1] * len(names)), video, cuts, sleeps)


@given(videos(), stages, st.integers(1, 4), batches)
def test_law_3_retry_exact(video: SampleVideo, name: str, fits: int, batch: int) -> None:
    # The bits of a network depend on its batch: a retry with a smaller one is close, not exact.
    tolerance = laws.TOLERANCE if "depends on its batch" in name else 0.0
    laws.check_retry(STAGES[name](), video, fits, batch, tolerance)


@given(videos(), stages, batches)
def test_law_4_batch_close(video: SampleVideo, name: str, batch: int) -> None:
    laws.check_batch(STAGES[name](), video, batch)


@given(videos(), chains)
def test_law_5_time_exact(video: SampleVideo, names: list[str]) -> None:
    laws.check_time(make_chain(names, [1] * len(names)), video)


@pytest.mark.parametrize("pair", sorted(PAIRS))
@given(video=videos(1))
def test_law_5_time_exact_where_frames_are_dropped(pair: str, video: SampleVideo) -> None:
    laws.check_time(Chain(PAIRS[pair]()), video)


@given(videos(30, 40), chains, st.data(), st.booleans())
def test_law_6_bound(video: SampleVideo, names: list[str], data: st.DataObject, warm: bool) -> None:
    chain = make_chain(names, data.draw(draw_batches(names)))
    STORE.entries.clear()  # entries of other videos would be found in one half of this one
    if warm:
        laws.run_chain(chain, video.repeat().repeat())
    laws.check_bound(chain, video)


@given(videos(most=25), stages, stages, stages)
def test_law_7_chain_exact(video: SampleVideo, a: str, b: str, c: str) -> None:
    laws.check_chain(STAGES[a](), STAGES[b](), STAGES[c](), video)


# The others differ from one of these in what a wrapper holds, and are drawn above.
ALL_LAWS = STAGES.keys() - {
    "each, depends on its batch", "windowed, doubles", "windowed, marks its ends", "blocks",
    "cached, doubles", "cached, depends on its batch", "checked, cached",
}  # fmt: skip


@pytest.mark.parametrize("name", mark_slow_cases(ALL_LAWS, sorted(STAGES)))
def test_a_stage_passes_check_stage(name: str) -> None:
    laws.check_stage(STAGES[name](), make_video([25] * 14, 3, frozenset({5})), total=F(14, 24))
