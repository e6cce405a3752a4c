"""Fields: who marks them, what is made of them, and combs that nothing marks."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from filmgate.core.frame import Frame
from filmgate.core.snapshot import Cursor
from filmgate.errors import Unsupported
from filmgate.media.sources import VideoFile
from tests.media.old_videos import (
    NTSC,
    OldVideo,
    count_combed,
    draw_bar,
    make_old,
    pull_down,
    weave,
)

BARS = [draw_bar(n) for n in range(40)]
LOSSLESS = OldVideo("ffv1", size=(128, 96), options={})
MPEG = OldVideo("mpeg2video", size=(128, 96), options={"qscale": "2", "g": "6", "bf": "2"})
# name, how it is made, which field is first, who says so
MARKED = {
    "disc.vob": (replace(MPEG, marks="tff"), "top", "stream"),
    "broadcast.ts": (replace(MPEG, marks="bff"), "bottom", "stream"),
    "editor.mov": (OldVideo("prores_ks", size=(128, 96), pixels="yuv422p10le", options={},
                            marks="tff"), "top", "stream"),
    "capture.mkv": (replace(LOSSLESS, field_order=3), "bottom", "container"),
    "lossless.mov": (replace(LOSSLESS, codec="png", pixels="gray", field_order=2), "top",
                     "container"),
    "capture.avi": (replace(LOSSLESS, codec="huffyuv", pixels="yuv422p"), "bottom", "images"),
    "camera.avi": (OldVideo("mjpeg", size=(128, 96), pixels="yuvj422p", options={"qscale": "2"}),
                   "top", "images"),
}  # fmt: skip


def read(path: Path, cursor: Cursor | None = None, **settings: object) -> list[Frame]:
    reader = VideoFile(path, **settings).open(threads=1)  # type: ignore[arg-type]
    return [frame for frames, _ in reader.read(cursor, 4) for frame in frames]


def luma_of(frame: Frame) -> bytes:
    return bytes(frame.image.arrays[0].tobytes())  # type: ignore[attr-defined]


def find_bar(frame: Frame) -> float:
    """Return where the bright bar is, in columns."""
    luma = frame.image.arrays[0]  # type: ignore[attr-defined]
    return float(np.nonzero(luma > luma.max() // 2)[1].mean())


@pytest.mark.parametrize("name", MARKED)
def test_fields_are_found_and_become_frames(name: str, tmp_path: Path) -> None:
    spec, first, source = MARKED[name]
    path = make_old(spec, tmp_path / name, weave(BARS, first))
    plain = read(path)
    assert count_combed(plain) == 20
    if source != "images":
        assert f"{first} field first, by its {source}" in str(plain[0].extras["notice"])
    made = read(path, deinterlace=True)
    assert [frame.time for frame in made] == [n / spec.rate for n in range(20)]
    assert count_combed(made) == 0
    split = read(path, deinterlace="fields")
    assert [frame.time for frame in split] == [n / spec.rate / 2 for n in range(40)]
    assert count_combed(split) == 0
    places = [find_bar(frame) for frame in split[1:30]]  # in the right order, it moves on
    assert all(1 < after - before < 5 for before, after in pairwise(places))


@pytest.mark.parametrize("name", ["disc.vob", "capture.mkv"])
def test_fields_are_the_same_from_any_place(name: str, tmp_path: Path) -> None:
    spec, first, _ = MARKED[name]
    path = make_old(spec, tmp_path / name, weave(BARS, first))
    reader = VideoFile(path, deinterlace="fields").open(threads=1)
    assert reader.spec.rate == 50
    chunks = list(reader.read(None, 3))
    complete = [luma_of(frame) for frames, _ in chunks for frame in frames]
    for _, cursor in chunks[4:-1:3]:
        found = [luma_of(f) for f in read(path, cursor, deinterlace="fields")]
        assert found == complete[cursor.index :]
    start = Fraction(17, 50)
    assert [luma_of(f) for f in read(path, deinterlace="fields", start=start)] == complete[17:]


def test_dv_is_bottom_field_first(tmp_path: Path) -> None:
    spec = OldVideo("dvvideo", size=(720, 576), options={}, marks="bff")
    images = weave([draw_bar(n, spec.size, 9) for n in range(12)], "bottom")
    path = make_old(spec, tmp_path / "tape.dv", images)
    assert "bottom field first, by its stream" in str(read(path)[0].extras["notice"])
    places = [find_bar(frame) for frame in read(path, deinterlace="fields")]
    assert all(3 < after - before < 15 for before, after in pairwise(places))


@pytest.mark.parametrize(("name", "marks"), [("film.vob", "tff"), ("film.mkv", "")])
def test_film_gets_its_own_frames_back(name: str, marks: str, tmp_path: Path) -> None:
    film = [draw_bar(n) for n in range(48)]
    spec = replace(LOSSLESS, rate=NTSC) if not marks else replace(MPEG, rate=NTSC, marks=marks)
    path = make_old(spec, tmp_path / name, pull_down(film))
    reader = VideoFile(path, deinterlace="film").open(threads=1)
    assert reader.spec.rate == Fraction(24000, 1001)
    found = read(path, deinterlace="film")
    assert [frame.time for frame in found] == [n * Fraction(1001, 24000) for n in range(48)]
    assert count_combed(found) == 0
    if not marks:
        own = read(make_old(spec, tmp_path / "own.mkv", film))
        assert [luma_of(frame) for frame in found] == [luma_of(frame) for frame in own]
    chunks = list(reader.read(None, 5))
    resumed = read(path, chunks[3][1], deinterlace="film")
    assert [luma_of(frame) for frame in resumed] == [luma_of(frame) for frame in found[20:]]
    later = read(path, deinterlace="film", start=Fraction(1), max_frames=3)
    assert [luma_of(frame) for frame in later] == [luma_of(frame) for frame in found[24:27]]


@pytest.mark.parametrize("left_out", range(1, 5))
def test_film_of_any_length_keeps_its_last_frames(left_out: int, tmp_path: Path) -> None:
    images = pull_down([draw_bar(n) for n in range(16)])[:-left_out]
    path = make_old(replace(LOSSLESS, rate=NTSC), tmp_path / "a.mkv", images)
    found = read(path, deinterlace="film")
    assert len(found) == -(-len(images) * 4 // 5)
    assert count_combed(found[:-1]) == 0  # the other field of the last one may be cut off


def test_film_at_another_rate_is_refused(tmp_path: Path) -> None:
    path = make_old(LOSSLESS, tmp_path / "a.mkv", BARS[:10])
    with pytest.raises(Unsupported, match="has 25 frames a second, wanted 30000/1001 or 30"):
        read(path, deinterlace="film")


def test_combs_that_nothing_marks_are_reported_once(tmp_path: Path) -> None:
    path = make_old(replace(LOSSLESS, codec="mpeg4", options={"qscale": "2"}),
                    tmp_path / "a.avi", weave(BARS, "top"))  # fmt: skip
    notices = [str(frame.extras.get("notice", "")) for frame in read(path)]
    assert sum("are combed" in text for text in notices) == 1
    assert "combed" not in "".join(str(f.extras) for f in read(path, deinterlace="off"))


def test_interlacing_that_begins_later_is_reported(tmp_path: Path) -> None:
    progressive = [draw_bar(n) for n in range(70)]
    combed = weave([draw_bar(n) for n in range(200)], "bottom")
    path = make_old(LOSSLESS, tmp_path / "a.mkv", [*progressive, *combed])
    reported = [frame for frame in read(path) if "combed" in str(frame.extras)]
    assert len(reported) == 1
    assert reported[0].time > Fraction(70, 25)


def test_film_that_nothing_marks_is_not_called_interlaced(tmp_path: Path) -> None:
    images = pull_down([draw_bar(n) for n in range(24)])
    path = make_old(replace(LOSSLESS, rate=NTSC), tmp_path / "a.mkv", images)
    reported = "".join(str(frame.extras.get("notice", "")) for frame in read(path))
    assert "pass --deinterlace film" in reported
    assert "as interlaced ones are" not in reported
