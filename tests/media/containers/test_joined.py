"""Parts of one video, read as one."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import pytest

from filmgate.cli.main import main
from filmgate.core.frame import Frame
from filmgate.errors import BadInput, Exit
from filmgate.media.containers.open import open_container
from filmgate.media.probe import probe
from filmgate.media.sources import VideoFile
from tests.cases import mark_slow_cases
from tests.media.old_videos import CONTAINERS, OldVideo, make_old
from tests.videos import read_number

GROUPS = CONTAINERS["camera.h264"].options
SPEC = OldVideo("libx264", frames=18, options={**GROUPS, "bf": "2"}, audio="aac")


def split(path: Path, suffix: str) -> tuple[Path, ...]:
    """Write the parts of a video between keyframes, without re-encoding, each from time 0."""
    with av.open(str(path)) as source:
        packets: list[Any] = [p for p in source.demux() if p.size]
        streams = list(source.streams)
        video = source.streams.video[0]
        cuts = [p.pts * p.time_base for p in packets if p.stream is video and p.is_keyframe]
        parts = []
        for n, start in enumerate(cuts):
            end = cuts[n + 1] if n + 1 < len(cuts) else Fraction(1000)
            parts.append(path.with_name(f"part{n}{suffix}"))
            with av.open(str(parts[-1]), "w") as out:
                made = {s: out.add_stream_from_template(s) for s in streams}
                for packet in packets:
                    decoded = packet.pts if packet.dts is None else packet.dts
                    time = decoded * packet.time_base
                    if packet.stream is video:
                        inside = start <= packet.pts * packet.time_base < end
                    else:
                        inside = start <= time < end or (n == 0 and time < start)
                    if inside:
                        shift = round(start / packet.time_base)
                        copy = av.Packet(bytes(packet))
                        copy.pts, copy.dts = packet.pts - shift, decoded - shift
                        copy.duration, copy.time_base = packet.duration, packet.time_base
                        copy.is_keyframe, copy.stream = packet.is_keyframe, made[packet.stream]
                        out.mux(copy)
    return tuple(parts)


def read(path: Path, **settings: object) -> list[Frame]:
    reader = VideoFile(path, **settings).open(threads=1)  # type: ignore[arg-type]
    return [frame for frames, _ in reader.read(None, 4) for frame in frames]


def describe(frames: list[Frame]) -> list[tuple[int, Fraction, Fraction, bytes]]:
    return [
        (read_number(f), f.time, f.end, f.image.arrays[0].tobytes())  # type: ignore[attr-defined]
        for f in frames
    ]


@pytest.mark.parametrize(
    "suffix", mark_slow_cases([".mp4", ".avi", ".flv"], [".mp4", ".mkv", ".avi", ".flv"])
)
def test_parts_give_the_frames_of_the_complete_video(suffix: str, tmp_path: Path) -> None:
    mjpeg = OldVideo("mjpeg", frames=6, pixels="yuvj420p", options={})
    plain = replace(SPEC, options={**GROUPS, "bf": "0"})  # PyAV writes no other mkv from packets
    spec = {".avi": mjpeg, ".mkv": plain}.get(suffix, SPEC)
    path = make_old(spec, tmp_path / f"all{suffix}")
    first, *rest = split(path, suffix)
    assert len(rest) >= 2
    complete = describe(read(path))
    joined = VideoFile(first, join=tuple(rest)).open(threads=1)
    assert joined.spec.frames in (None, spec.frames)
    assert describe(read(first, join=tuple(rest))) == complete
    chunks = list(joined.read(None, 4))
    for _, cursor in chunks[:-1]:
        found = [frame for frames, _ in joined.read(cursor, 4) for frame in frames]
        assert describe(found) == complete[cursor.index :]
    start = complete[spec.frames // 2][1]
    later = describe(read(first, join=tuple(rest), start=start))
    assert [one[3] for one in later] == [one[3] for one in complete[spec.frames // 2 :]]


@pytest.mark.parametrize("name", ["download.wmv", "old.flv", "server.gxf", "page.ogv"])
def test_parts_of_containers_without_durations_follow_evenly(name: str, tmp_path: Path) -> None:
    spec = replace(CONTAINERS[name], frames=4)
    paths = [make_old(spec, tmp_path / f"{n}{name}") for n in range(2)]
    frames = describe(read(paths[0], join=(paths[1],)))
    assert [number for number, *_ in frames] == [*range(4), *range(4)]
    assert [time for _, time, *_ in frames] == [n / spec.rate for n in range(8)]


def test_a_disc_title_that_is_cut_at_any_byte_is_one_video(tmp_path: Path) -> None:
    path = make_old(CONTAINERS["disc.vob"], tmp_path / "VTS_01_1.VOB")
    data, complete = path.read_bytes(), describe(read(path))
    other = tmp_path / "VTS_01_2.VOB"
    path.write_bytes(data[: 2048 * 3])
    other.write_bytes(data[2048 * 3 :])
    assert describe(read(path, join=(other,), keep_going=True))[:10] == complete[:10]
    assert describe(read(path, join=(other,))) == complete


def test_parts_are_looked_at_once(tmp_path: Path) -> None:
    parts = split(make_old(SPEC, tmp_path / "all.mp4"), ".mp4")
    opened: list[str] = []
    av_open = av.open

    def count(file: Any, *args: Any, **options: Any) -> Any:
        opened.append(Path(file.name).name)
        return av_open(file, *args, **options)

    with patch.object(av, "open", count):
        for _ in range(5):
            with open_container(parts[0], parts=parts[1:]) as container:
                assert container.duration == pytest.approx(18 / 25 * av.time_base, rel=0.01)
    assert sorted(opened) == ["part0.mp4"] * 5 + [part.name for part in parts]


def test_streams_that_do_not_match_are_named(tmp_path: Path) -> None:
    first = make_old(SPEC, tmp_path / "a.mp4")
    other = make_old(OldVideo("libx264", size=(96, 64), options=GROUPS, audio="aac"),
                     tmp_path / "b.mp4")  # fmt: skip
    with pytest.raises(BadInput, match=r"b\.mp4 is no part .*: stream 0 is h264 video 96x64"):
        read(first, join=(other,))
    silent = make_old(OldVideo("libx264", options=GROUPS), tmp_path / "c.mp4")
    with pytest.raises(BadInput, match="it has 1 streams, the first has 2"):
        read(first, join=(silent,))


def test_probe_shows_the_length_of_all_parts(tmp_path: Path) -> None:
    first, *rest = split(make_old(SPEC, tmp_path / "all.mp4"), ".mp4")
    found = probe(first, parts=tuple(rest))
    assert found.duration is not None
    assert abs(found.duration - Fraction(18, 25)) < Fraction(1, 20)


def test_parts_become_one_result_with_their_audio(tmp_path: Path) -> None:
    original = make_old(replace(SPEC, frames=24), tmp_path / "all.mp4")
    parts = split(original, ".mp4")
    results = [tmp_path / "joined.mkv", tmp_path / "complete.mkv"]
    flags = ["--codec", "ffv1", "--quiet", "--in-process"]
    assert main(["convert", *map(str, parts), str(results[0]), "--join", *flags]) == Exit.DONE
    assert main(["convert", str(original), str(results[1]), *flags]) == Exit.DONE
    assert describe(read(results[0])) == describe(read(results[1]))
    sounds: list[dict[bytes, int]] = []
    for result in results:
        with av.open(str(result)) as container:
            sounds.append({bytes(p): p.pts or 0 for p in container.demux(audio=0) if p.size})
    assert set(sounds[1]) <= set(sounds[0])
    start = [VideoFile(result).open().offset for result in results]
    moved = {sounds[0][data] - pts for data, pts in sounds[1].items()}
    assert all(abs(Fraction(ms, 1000) - start[0] + start[1]) <= Fraction(1, 1000) for ms in moved)
    against = [word for part in parts for word in ("--against", str(part))]
    assert main(["check", str(results[0]), *against]) == Exit.DONE


def test_folder_of_a_disc_gives_its_longest_title(tmp_path: Path) -> None:
    folder = tmp_path / "VIDEO_TS"
    folder.mkdir()
    title = make_old(CONTAINERS["disc.vob"], folder / "VTS_02_1.VOB")
    data = title.read_bytes()
    title.write_bytes(data[: 2048 * 2])
    (folder / "VTS_02_2.VOB").write_bytes(data[2048 * 2 :])
    make_old(replace(CONTAINERS["disc.vob"], frames=5), folder / "VTS_01_1.VOB")
    (folder / "VTS_02_0.VOB").write_bytes(b"menu")
    out = tmp_path / "out.mkv"
    flags = ["--codec", "ffv1", "--quiet", "--in-process"]
    assert main(["convert", str(tmp_path), str(out), *flags]) == Exit.DONE
    assert [number for number, *_ in describe(read(out))] == list(range(20))


def test_join_needs_two_parts_and_a_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_old(SPEC, tmp_path / "a.mp4")
    assert main(["convert", str(path), str(tmp_path / "o.mp4"), "--join"]) == Exit.USER
    assert "join is for parts of one video and there are 2 paths" in capsys.readouterr().err
