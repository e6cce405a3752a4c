"""What do the old ways to interpolate cost beside one pass? Seconds, peak memory, peak disk.

The same film, the same model (`dis`, factor 2, on planes as 4:2:0) and the same encoder, each way
in a process of its own, in turns, some rounds.
  png files: every frame as a PNG, every frame between as a PNG, and the folder encoded
  frames in a list: all of them, in and out, as float32 RGB, as graphs of nodes hand them on
  one pass: filmgate, which looks for cuts and writes what a resume needs besides
Seconds of the clock, and of the processor, which a busy machine changes less. Memory is what lies
in RAM of the process and its children, disk what lies in its work folder with the result in it;
both are looked at every 50 ms. Sound is copied where the film has any.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import av
import cv2
import numpy as np
import psutil
from _film import clips, moving_texture, write_result

CRF, PRESET, HALF = 18, "medium", Fraction(1, 2)
LOOKED_S = 0.05
Rgb = Any  # (H, W, 3), uint8, or float32 in [0, 1]
PEAKS = ("memory_mb", "disk_mb")
FIGURES = ("seconds", "cpu_seconds", *PEAKS)


def decoded(source: Path) -> Iterator[Rgb]:
    with av.open(str(source)) as film:
        film.streams.video[0].thread_type = "AUTO"
        for frame in film.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def between(a: Rgb, b: Rgb) -> Rgb:
    """The picture in the middle of two, by the model that one pass has too."""
    from filmgate.core.frame import ColorTags
    from filmgate.media.pixels.av_frames import planes_of, rows_of
    from filmgate.models.families.dis import Dis

    ends = (av.VideoFrame.from_ndarray(x, "rgb24").reformat(format="yuv420p") for x in (a, b))
    first, second = (planes_of(frame, "yuv420p", ColorTags()) for frame in ends)
    (made,) = Dis().between(first, second, [HALF])
    frame = av.VideoFrame(a.shape[1], a.shape[0], "yuv420p")
    for plane, array in zip(frame.planes, made.arrays, strict=True):
        rows_of(plane, array.dtype)[: array.shape[0], : array.shape[1]] = array
    return frame.to_ndarray(format="rgb24")


def encoded(pictures: Iterator[Rgb], source: Path, sink: Path) -> int:
    """A film of pictures, at twice the rate of the source and with its sound; how many."""
    with av.open(str(source)) as given, av.open(str(sink), "w") as film:
        rate, count = given.streams.video[0].average_rate, 0
        options = {"preset": PRESET, "crf": str(CRF)}
        stream = film.add_stream("libx264", rate=2 * (rate or 25), options=options)
        assert isinstance(stream, av.VideoStream)
        heard = given.streams.audio[:1]
        sounds = {sound.index: film.add_stream_from_template(sound) for sound in heard}
        for picture in pictures:
            if not count:
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            count += 1
        film.mux(stream.encode(None))
        for packet in given.demux(*heard) if heard else ():
            if packet.dts is not None:
                packet.stream = sounds[packet.stream.index]
                film.mux(packet)
    return count


def png_files(source: Path, folder: Path) -> int:
    """Decode to a folder, read pairs from it and write between them, encode the folder."""
    (pngs := folder / "frames").mkdir()
    count = 0
    for count, picture in enumerate(decoded(source), 1):
        _write(pngs / f"{2 * count:08d}.png", picture)
    for n in range(1, count):
        made = between(*(_read(pngs / f"{2 * k:08d}.png") for k in (n, n + 1)))
        _write(pngs / f"{2 * n + 1:08d}.png", made)
    return encoded(map(_read, sorted(pngs.iterdir())), source, folder / "out.mp4")


def _write(path: Path, picture: Rgb) -> None:
    assert cv2.imwrite(str(path), picture[..., ::-1]), path


def _read(path: Path) -> Rgb:
    return cv2.imread(str(path))[..., ::-1].copy()  # type: ignore[index]


def in_a_list(source: Path, folder: Path) -> int:
    """Everything that went in and everything that comes out is held until the film is encoded."""
    given = [_float(picture) for picture in decoded(source)]
    middles = (_float(between(_bytes(a), _bytes(b))) for a, b in pairwise(given))
    made = [*chain.from_iterable(zip(given, middles, strict=False)), given[-1]]
    return encoded(map(_bytes, made), source, folder / "out.mp4")


def _float(picture: Rgb) -> Rgb:
    return picture.astype(np.float32) / np.float32(255)


def _bytes(picture: Rgb) -> Rgb:
    return (picture * 255).round().astype(np.uint8)


def one_pass(source: Path, folder: Path) -> int:
    import filmgate as fg

    sink = fg.VideoOutput(folder / "out.mp4", crf=CRF, preset=PRESET)
    return fg.run(fg.Interpolate(factor=2), source, sink).written


WAYS: dict[str, Callable[[Path, Path], int]] = {
    "one pass": one_pass, "png files": png_files, "frames in a list": in_a_list
}  # fmt: skip


def watched(way: str, source: Path) -> dict[str, float]:
    """One way in a process of its own, looked at while it runs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--way", way, str(source), folder]
        began, memory, disk = perf_counter(), 0, 0
        cpu = _children_seconds()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            seen = psutil.Process(child.pid)
            while child.poll() is None:
                memory, disk = max(memory, _resident(seen)), max(disk, _lying(Path(folder)))
                sleep(LOOKED_S)
            seconds = perf_counter() - began
            said = child.stdout.read() if child.stdout else ""
        if child.returncode:
            raise SystemExit(f"{way} ended with {child.returncode}: see above")
        disk = max(disk, _lying(Path(folder)))
    return {
        "seconds": seconds,
        "cpu_seconds": _children_seconds() - cpu,
        "memory_mb": memory / 1e6,
        "disk_mb": disk / 1e6,
        "frames": json.loads(said),
    }


def _children_seconds() -> float:
    """Of the processor, of all children that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def _resident(process: Any) -> int:
    total = 0
    try:
        for one in (process, *process.children(recursive=True)):
            total += one.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def _lying(folder: Path) -> int:
    """Bytes of the files below it; one that goes while we look counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def shortened(source: Path, sink: Path, frames: int) -> Path:
    """The first packets of a film, with its sound for as long; nothing is encoded again."""
    with av.open(str(source)) as given, av.open(str(sink), "w") as film:
        video = given.streams.video[0]
        end = frames / (video.average_rate or 25)
        kept = [video, *given.streams.audio[:1]]
        made = {stream.index: film.add_stream_from_template(stream) for stream in kept}
        for packet in given.demux(*kept):
            pts, base = packet.pts, packet.time_base
            if pts is not None and base is not None and pts * base < end:
                packet.stream = made[packet.stream.index]
                film.mux(packet)
    return sink


def table(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Seconds are medians; peaks the highest of all rounds, since a look now and then misses some.

    Ratios to one pass: of seconds the median of those within a round, of peaks that of the peaks.
    """
    rows = dict[str, dict[str, Any]]()
    for way in WAYS:
        rows[way] = {}
        for key in FIGURES:
            ours, own = ([one[w][key] for one in rounds] for w in ("one pass", way))
            if key in PEAKS:
                most, ratio = max(own), max(own) / max(ours)
            else:
                most, ratio = median(own), median(a / b for a, b in zip(own, ours, strict=True))
            rows[way] |= {key: round(most, 1), f"{key.removesuffix('_mb')}_x": round(ratio, 2)}
        rows[way]["frames_out"] = int(rounds[0][way]["frames"])
    return rows


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--way", nargs=3, help="one way, source and folder: a child of this bench")
    wanted.add_argument("--film", type=Path, help="another one than sam2_bedroom")
    wanted.add_argument("--frames", type=int, default=100, help="the first ones of the film")
    wanted.add_argument("--rounds", type=int, default=3)
    options = wanted.parse_args()
    if options.way:
        way, source, folder = options.way
        print(json.dumps(WAYS[way](Path(source), Path(folder))))
        return
    load = os.getloadavg()[0]  # of others, before ours
    with tempfile.TemporaryDirectory() as name:
        real = [options.film] if options.film else clips("sam2_bedroom")
        make = (
            partial(shortened, real[0]) if real else partial(moving_texture, width=960, height=540)
        )
        source = make(sink := Path(name) / "in.mp4", frames=options.frames)
        rounds = list[dict[str, dict[str, float]]]()
        for k in range(options.rounds):
            order = list(WAYS)[k % 3 :] + list(WAYS)[: k % 3]
            rounds.append({way: watched(way, sink) for way in order})
            print(json.dumps(rounds[-1]), flush=True)
        with av.open(str(source)) as film:
            size = "{0.width}x{0.height}".format(film.streams.video[0])
    shown = real[0].name if real else "made: a sliding texture with grain"
    result = {
        "question": "what do the old ways to interpolate cost beside one pass?",
        "film": f"{shown}, its first {options.frames} frames, {size}",
        "load_before": round(load, 1),
        "ways": table(rounds),
        "rounds": rounds,
    }
    print(write_result("old_ways", result).read_text())


if __name__ == "__main__":
    main()
