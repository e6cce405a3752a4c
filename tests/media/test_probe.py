"""Probing: all that a file says of itself, and where its first picture and sound lie."""

from fractions import Fraction

import pytest

from filmgate.media.probe import first_sound, probe, times
from filmgate.media.reading.video_reader import VideoReader
from tests.media.conftest import Reel
from tests.videos import VIDEOS


def test_every_track_is_named_with_what_it_is(reel: Reel) -> None:
    found = probe(reel("rich"))
    assert [(t.index, t.kind, t.codec, t.language) for t in found.tracks] == [
        (0, "video", "h264", "deu"), (1, "audio", "aac", "fra"), (2, "audio", "opus", "fra"),
        (3, "subtitle", "subrip", "eng"), (4, "attachment", "font.ttf", None),
    ]  # fmt: skip
    assert (found.best, found.tracks[1].sample_rate, found.tracks[1].channels) == (0, 48000, 1)
    assert [(c.start, c.end, c.metadata["title"]) for c in found.chapters] == [
        (0, Fraction(1, 5), "part 0"), (Fraction(1, 5), Fraction(2, 5), "part 1"),
    ]  # fmt: skip
    assert found.size_bytes == reel("rich").stat().st_size
    assert found.metadata["MY_OWN_KEY"] == "kept"


def test_a_picture_is_told_with_rotation_unless_only_the_header_is_read(reel: Reel) -> None:
    picture = probe(reel("turned")).tracks[0].picture
    assert picture is not None
    assert (picture.width, picture.height, picture.turn) == (64, 48, 90)
    quick = probe(reel("turned"), header=True).tracks[0].picture
    assert quick is not None
    assert quick.turn is None


def test_sound_without_a_picture_can_be_probed(reel: Reel) -> None:
    found = probe(reel("mute.mp4"))
    assert (found.best, [t.kind for t in found.tracks]) == (None, ["audio"])


@pytest.mark.parametrize(
    ("name", "offset"),
    [("even", Fraction(0)), ("late_start", Fraction(1, 2)), ("late_start_mkv", Fraction(1, 2)),
     ("hidden_start", Fraction(0))],
)  # fmt: skip
def test_film_time_begins_at_nought_and_the_offset_says_where_that_is(
    name: str, offset: Fraction, reel: Reel
) -> None:
    assert VideoReader.of(reel(name)).offset == offset
    assert list(times(reel(name))) == [(time, length) for time, length, _ in VIDEOS[name].shown]


def test_the_first_sound_is_found(reel: Reel) -> None:
    assert first_sound(reel("late_start")) == 0
    assert first_sound(reel("rich"), track=2) is not None
    assert first_sound(reel("even")) is None
