"""Which of several takes a speech is put on, and the way through it.

A way begins at a place of a take and leads forwards; it turns back at the take's end, or earlier at
`turn`, and forwards again at its start, without a jump. Only where no take is long enough for a
speech does it lead on through the next ones. All places are seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from filmgate.core.job import SourceFile
from filmgate.errors import BadInput, BadSetting

_ZERO = Fraction(0)


@dataclass(frozen=True, slots=True)
class Way:
    """A way: the number of its take, whether the others follow, where it begins, and turns back.

    `begin` counts along the way, forwards and backwards, from the start of the take.
    """

    take: int
    others: bool = False
    begin: Fraction = _ZERO
    turn: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a way has led: `at` seconds into the take number `take`, and in which direction."""

    take: int
    at: Fraction
    backwards: bool = False


def choose_way(
    lengths: Sequence[Fraction], wanted: Fraction, *, neutral: bool = False,
    before: Place | None = None, step: Fraction = _ZERO,
) -> Way:  # fmt: skip
    """Return the way for a speech of `wanted` seconds through takes of these lengths.

    Without a place `before`, the shortest take that is long enough is chosen, else the longest one
    and then the others. `neutral`: it ends where it is at the start of the take, if it can. Places
    are rounded to multiples of `step`, which is the duration of a frame.
    """
    if before is None:
        needed = wanted / 2 if neutral else wanted
        fitting = [n for n, length in enumerate(lengths) if length >= needed]
        longest = max(range(len(lengths)), key=lambda n: lengths[n])
        take = min(fitting, key=lambda n: lengths[n]) if fitting else longest
        others, place = not fitting and len(lengths) > 1, Place(take, _ZERO)
    else:
        if before.take >= len(lengths):
            raise BadSetting(_explain_missing(before.take, len(lengths)))
        place, length = before, lengths[before.take]
        if len(lengths) > 1 and place.backwards:
            place = Place(place.take, place.at)
        others = len(lengths) > 1 and place.at + wanted > length
    complete = sum(lengths, _ZERO) if others else lengths[place.take]
    at = min(max(place.at, _ZERO), complete)
    if neutral:
        found = _end_at_start(complete, wanted, at, place.backwards)
        if found is not None:
            begin, turn = found
            return Way(place.take, others, begin, turn)
    begin = 2 * complete - at if place.backwards else at
    begin = _round(begin, step)
    return Way(place.take, others, begin % max(step, 2 * complete))


def _explain_missing(take: int, count: int) -> str:
    return (f"the result to continue from is of take {take}, and there are {count}, counted from "
            "0: pass the same takes in the same order")  # fmt: skip


def _round(value: Fraction, step: Fraction) -> Fraction:
    return round(value / step) * step if step else value


def _end_at_start(
    length: Fraction, wanted: Fraction, at: Fraction, backwards: bool
) -> tuple[Fraction, Fraction] | None:
    """Return where a way begins and turns that ends at 0; None if there is no such way.

    It goes forwards from `at` to the turn and back, so often as the length requires; or first
    back to 0. The direction it has is kept if it can be.
    """
    ways = list[tuple[Fraction, Fraction]]()
    forwards = ceil((wanted + at) / (2 * length)) or 1
    turn = (wanted + at) / (2 * forwards)
    if turn >= at:
        ways.append((at, turn))
    if wanted > at:
        turns = ceil((wanted - at) / (2 * length))
        turn = (wanted - at) / (2 * turns)
        if turn >= at:
            ways.append((2 * turn - at, turn))
    ways.sort(key=lambda way: (way[0] > way[1]) != backwards)
    return ways[0] if ways else None


def find_place(lengths: Sequence[Fraction], way: Way, seconds: Fraction) -> Place:
    """Return where a way has led after so many seconds; `way.others` is found by its length."""
    if way.take >= len(lengths):
        raise BadSetting(_explain_missing(way.take, len(lengths)))
    end = way.begin + seconds
    farthest = end if way.turn is None else min(end, way.turn)
    order = [(way.take + n) % len(lengths) for n in range(len(lengths))]
    if farthest <= lengths[way.take]:
        order = order[:1]
    turn = sum((lengths[n] for n in order), _ZERO)
    turn = turn if way.turn is None else min(turn, way.turn)
    phase = end % (2 * turn)
    backwards = phase > turn
    at = 2 * turn - phase if backwards else phase
    for take in order[:-1]:
        if at < lengths[take]:
            return Place(take, at, backwards)
        at -= lengths[take]
    return Place(order[-1], at, backwards)


def measure_length(source: SourceFile) -> Fraction:
    """Return the seconds of a source, by its header and index. Raises BadInput if unknown."""
    from filmgate.media.reading.video_reader import VideoReader

    with source.open() as video:
        found = video.duration if isinstance(video, VideoReader) else None
        if found is None and video.spec.frames and video.spec.rate:
            found = video.spec.frames / video.spec.rate
        if not found:
            raise BadInput(f"the length of {video.metadata.path} is not known, wanted one to find "
                           "the way through it: remux it, such as to .mkv")  # fmt: skip
        return Fraction(found)
