"""Which take a speech is put on, and the way through it: its length, its turns, where it ends."""

from collections.abc import Sequence
from fractions import Fraction as F
from itertools import pairwise

import pytest

from filmgate.errors import BadSetting
from filmgate.media.sources import VideoPipe
from filmgate.tasks.lipsync import LipSync
from filmgate.tasks.takes import Place, Way, choose_way, find_place

FRAME = F(1, 25)


def lead(lengths: Sequence[int], way: Way, count: int) -> list[tuple[int, int]]:
    """Return the take and its frame that each frame of a result shows, of takes of `lengths`."""
    order = [(way.take + n) % len(lengths) for n in range(len(lengths) if way.others else 1)]
    shown = [(take, n) for take in order for n in range(lengths[take])]
    turn = F(len(shown), 25) if way.turn is None else way.turn
    places = [(way.begin + F(2 * n + 1, 50)) % (2 * turn) for n in range(count)]
    return [shown[int(min(place, 2 * turn - place) * 25)] for place in places]


@pytest.mark.parametrize(
    ("wanted", "way"),
    [
        (3, Way(1)),  # the shortest that is long enough
        (4, Way(1)),
        (5, Way(0)),
        (9, Way(2)),
        (11, Way(2, others=True)),  # none is: the longest, then those after it
    ],
)
def test_the_take_is_chosen_by_its_length(wanted: int, way: Way) -> None:
    assert choose_way([F(6), F(4), F(10)], F(wanted), step=FRAME) == way


@pytest.mark.parametrize("count", [1, 2, 10, 49, 50, 51, 99, 100, 101, 237])
def test_a_neutral_ending_is_the_first_frame(count: int) -> None:
    way = choose_way([F(2)], count * FRAME, neutral=True, step=FRAME)
    assert not way.others
    assert way.turn is not None
    assert way.turn <= 2
    shown = lead([50], way, count)
    assert shown[0] == (0, 0)
    assert shown[-1][1] == 0
    assert all(abs(a[1] - b[1]) <= 1 for a, b in pairwise(shown))  # no jump


@pytest.mark.parametrize("frames", [2, 3, 5])  # 2: the shortest speech
@pytest.mark.parametrize("at", [0, 1, 2, 49])
def test_turns_of_short_speeches_are_settings_of_a_task(frames: int, at: int) -> None:
    for backwards in (False, True):
        before = Place(0, at * FRAME, backwards)
        way = choose_way([F(2)], frames * FRAME, neutral=True, before=before, step=FRAME)
        LipSync(begin=way.begin, turn=way.turn)


def test_a_take_that_is_half_as_long_is_enough_to_come_back() -> None:
    assert choose_way([F(3), F(9)], F(6), neutral=True, step=FRAME) == Way(0, turn=F(3))


@pytest.mark.parametrize("first", [10, 49, 50, 51, 60, 99, 100, 130])
@pytest.mark.parametrize("second", [5, 60])
def test_the_next_sentence_follows_without_a_jump(first: int, second: int) -> None:
    """However long the first one is, the second has the same direction."""
    way = choose_way([F(2)], first * FRAME, step=FRAME)
    place = find_place([F(2)], way, first * FRAME)
    following = choose_way([F(2)], second * FRAME, before=place, step=FRAME)
    both = lead([50], way, first) + lead([50], following, second)
    assert both == lead([50], way, first + second)


def test_after_a_neutral_ending_the_next_sentence_begins_at_the_start() -> None:
    way = choose_way([F(2)], F(3, 2), neutral=True, step=FRAME)
    assert find_place([F(2)], way, F(3, 2)).at == 0
    for at in (F(1, 2), F(1), F(9, 5)):
        for backwards in (False, True):
            before = Place(0, at, backwards)
            way = choose_way([F(2)], F(2), neutral=True, before=before, step=FRAME)
            assert find_place([F(2)], way, F(2)).at == 0
            assert way.turn is not None
            assert way.turn >= at
    # too short to come back
    way = choose_way([F(2)], F(1, 5), neutral=True, before=Place(0, F(1), True), step=FRAME)
    assert find_place([F(2)], way, F(1, 5)) == Place(0, F(4, 5), True)


def test_the_next_sentence_stays_in_its_take_or_goes_on_through_the_next() -> None:
    lengths = [F(6), F(4), F(10)]
    way = choose_way(lengths, F(7), before=Place(0, F(5)), step=FRAME)
    assert way == Way(0, others=True, begin=F(5))
    assert find_place(lengths, way, F(7)) == Place(2, F(2))
    assert choose_way(lengths, F(7), before=Place(2, F(2)), step=FRAME) == Way(2, begin=F(2))
    assert find_place(lengths, Way(2, begin=F(2)), F(7)) == Place(2, F(9))
    with pytest.raises(BadSetting, match="take 2, and there are 1, counted"):
        find_place(lengths[:1], way := Way(2), F(1))
    with pytest.raises(BadSetting, match="same order"):
        choose_way(lengths[:1], F(1), before=Place(way.take, F(0)))


def test_ways_that_contradict_themselves_are_refused() -> None:
    for own in ({"begin": F(1)}, {"turn": F(1)}):
        with pytest.raises(BadSetting, match="omit one"):
            LipSync(ending="neutral", **own)  # type: ignore[arg-type]
    with pytest.raises(BadSetting, match=r"begin is -1 s: pass 0"):
        LipSync(begin=F(-1))
    with pytest.raises(BadSetting, match=r"turn is 0.001 s: pass 0.02"):
        LipSync(turn=F(1, 1000))
    with pytest.raises(BadSetting, match="a pipe can be read once"):
        LipSync(ending="neutral").choose_source(VideoPipe())
