"""Laws 1 to 7 over synthetic stages of every kind, in chains drawn at random."""

from fractions import Fraction as F

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filmgate.core.chain import Chain
from filmgate.testing import laws
from tests.laws.synthetic import PAIRS, SHELF, STAGES, videos

stages = st.sampled_from(sorted(STAGES))
lines = st.lists(stages, min_size=1, max_size=4)
batches = st.sampled_from([1, 2, 4, 8])
places = st.lists(st.integers(0, 45), max_size=8)


def chain_of(names: list[str], sizes: list[int]) -> Chain:
    return Chain(tuple(STAGES[name]() for name in names), tuple(sizes))


def sizes_for(names: list[str]) -> st.SearchStrategy[list[int]]:
    return st.lists(batches, min_size=len(names), max_size=len(names))


@given(videos(), lines, st.data(), places)
def test_law_1_cut_exact(
    video: laws.SampleVideo, names: list[str], data: st.DataObject, cuts: list[int]
) -> None:
    laws.check_cut(chain_of(names, data.draw(sizes_for(names))), video, cuts)


@given(videos(), lines, places, st.sets(st.integers(0, 8)))
def test_law_2_sleep_exact(
    video: laws.SampleVideo, names: list[str], cuts: list[int], sleeps: set[int]
) -> None:
    laws.check_sleep(chain_of(names, [1] * len(names)), video, cuts, sleeps)


@given(videos(), stages, st.integers(1, 4), batches)
def test_law_3_retry_exact(video: laws.SampleVideo, name: str, fits: int, batch: int) -> None:
    # A network's bits follow its batch: there, done again with a smaller one is close.
    tolerance = laws.CLOSE if "feels its batch" in name else 0.0
    laws.check_retry(STAGES[name](), video, fits, batch, tolerance)


@given(videos(), stages, batches)
def test_law_4_batch_close(video: laws.SampleVideo, name: str, batch: int) -> None:
    laws.check_batch(STAGES[name](), video, batch)


@given(videos(), lines)
def test_law_5_time_exact(video: laws.SampleVideo, names: list[str]) -> None:
    laws.check_time(chain_of(names, [1] * len(names)), video)


@pytest.mark.parametrize("pair", sorted(PAIRS))
@given(video=videos(1))
def test_law_5_time_exact_where_frames_are_left_out(pair: str, video: laws.SampleVideo) -> None:
    laws.check_time(Chain(PAIRS[pair]()), video)


@given(videos(30, 40), lines, st.data(), st.booleans())
def test_law_6_bound(
    video: laws.SampleVideo, names: list[str], data: st.DataObject, warm: bool
) -> None:
    chain = chain_of(names, data.draw(sizes_for(names)))
    SHELF.held.clear()  # what other films left there would be found in one half of this one
    if warm:
        laws.play(chain, video.twice().twice())
    laws.check_bound(chain, video)


@given(videos(most=25), stages, stages, stages)
def test_law_7_chain_exact(video: laws.SampleVideo, a: str, b: str, c: str) -> None:
    laws.check_chain(STAGES[a](), STAGES[b](), STAGES[c](), video)


@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_stage_passes_all_laws_in_one_line(name: str) -> None:
    from tests.laws.synthetic import film_of

    laws.check_stage(STAGES[name](), film_of([25] * 20, 3, frozenset({7})), total=F(20, 24))
