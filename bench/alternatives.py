"""What do the usual scripts cost, compared with one pass? Seconds, peak memory, peak disk.

The same video, model (`dis`, factor 2, on 4:2:0 planes) and encoder. Each method runs in a process
of its own, in turns, for some rounds.
  png files: every frame as a PNG, every interpolated frame as a PNG, and the folder encoded
  frames in a list: all frames, in and out, as float32 RGB, as node graphs pass them on
  one pass: filmgate, which also detects shot boundaries and writes checkpoints
Wall seconds, and CPU seconds, which a busy machine changes less. Memory is the resident memory of
the process and its children; disk is the work folder with the result in it. Both are sampled every
50 ms. Audio is copied if the video has any.
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
from _common import find_clips, make_video, write_result

CRF, PRESET, HALF = 18, "medium", Fraction(1, 2)
SAMPLE_S = 0.05
Rgb = Any  # (H, W, 3), uint8, or float32 in [0, 1]
PEAKS = ("memory_mb", "disk_mb")
FIGURES = ("seconds", "cpu_seconds", *PEAKS)


def read_frames(source: Path) -> Iterator[Rgb]:
    with av.open(str(source)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def interpolate(a: Rgb, b: Rgb) -> Rgb:
    """Return the image between two, by the model that one pass uses."""
    from filmgate.core.frame import ColorTags
    from filmgate.media.pixels.av_frames import extract_planes, view_rows
    from filmgate.models.families.dis.interpolator import DisInterpolator

    ends = (av.VideoFrame.from_ndarray(x, "rgb24").reformat(format="yuv420p") for x in (a, b))
    first, second = (extract_planes(frame, "yuv420p", ColorTags()) for frame in ends)
    (result,) = DisInterpolator().interpolate(first, second, [HALF])
    frame = av.VideoFrame(a.shape[1], a.shape[0], "yuv420p")
    for plane, array in zip(frame.planes, result.arrays, strict=True):
        view_rows(plane, array.dtype)[: array.shape[0], : array.shape[1]] = array
    return frame.to_ndarray(format="rgb24")


def encode(images: Iterator[Rgb], source: Path, sink: Path) -> int:
    """Write a video at twice the source's rate with its audio; return the number of frames."""
    with av.open(str(source)) as original, av.open(str(sink), "w") as container:
        rate, count = original.streams.video[0].average_rate, 0
        options = {"preset": PRESET, "crf": str(CRF)}
        stream = container.add_stream("libx264", rate=2 * (rate or 25), options=options)
        assert isinstance(stream, av.VideoStream)
        tracks = original.streams.audio[:1]
        audio = {track.index: container.add_stream_from_template(track) for track in tracks}
        for image in images:
            if not count:
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            count += 1
        container.mux(stream.encode(None))
        for packet in original.demux(*tracks) if tracks else ():
            if packet.dts is not None:
                packet.stream = audio[packet.stream.index]
                container.mux(packet)
    return count


def use_png_files(source: Path, folder: Path) -> int:
    """Decode to a folder, interpolate between pairs of its files, encode the folder."""
    (pngs := folder / "frames").mkdir()
    count = 0
    for count, image in enumerate(read_frames(source), 1):
        _write(pngs / f"{2 * count:08d}.png", image)
    for n in range(1, count):
        result = interpolate(*(_read(pngs / f"{2 * k:08d}.png") for k in (n, n + 1)))
        _write(pngs / f"{2 * n + 1:08d}.png", result)
    return encode(map(_read, sorted(pngs.iterdir())), source, folder / "out.mp4")


def _write(path: Path, image: Rgb) -> None:
    assert cv2.imwrite(str(path), image[..., ::-1]), path


def _read(path: Path) -> Rgb:
    return cv2.imread(str(path))[..., ::-1].copy()  # type: ignore[index]


def use_list(source: Path, folder: Path) -> int:
    """Hold all input and output frames in lists until the video is encoded."""
    inputs = [_to_float(image) for image in read_frames(source)]
    middles = (_to_float(interpolate(_to_bytes(a), _to_bytes(b))) for a, b in pairwise(inputs))
    outputs = [*chain.from_iterable(zip(inputs, middles, strict=False)), inputs[-1]]
    return encode(map(_to_bytes, outputs), source, folder / "out.mp4")


def _to_float(image: Rgb) -> Rgb:
    return image.astype(np.float32) / np.float32(255)


def _to_bytes(image: Rgb) -> Rgb:
    return (image * 255).round().astype(np.uint8)


def use_filmgate(source: Path, folder: Path) -> int:
    import filmgate as fg

    sink = fg.VideoOutput(folder / "out.mp4", crf=CRF, preset=PRESET)
    return fg.run(fg.Interpolate(factor=2), source, sink).written


METHODS: dict[str, Callable[[Path, Path], int]] = {
    "one pass": use_filmgate, "png files": use_png_files, "frames in a list": use_list
}  # fmt: skip


def run_method(way: str, source: Path) -> dict[str, float]:
    """Run one method in a process of its own and sample its memory and disk use."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--way", way, str(source), folder]
        began, memory, disk = perf_counter(), 0, 0
        cpu = _children_seconds()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            process = psutil.Process(child.pid)
            while child.poll() is None:
                memory, disk = (
                    max(memory, _resident_bytes(process)),
                    max(disk, _folder_bytes(Path(folder))),
                )
                sleep(SAMPLE_S)
            seconds = perf_counter() - began
            output = child.stdout.read() if child.stdout else ""
        if child.returncode:
            raise SystemExit(f"{way} ended with exit code {child.returncode}: see above")
        disk = max(disk, _folder_bytes(Path(folder)))
    return {
        "seconds": seconds,
        "cpu_seconds": _children_seconds() - cpu,
        "memory_mb": memory / 1e6,
        "disk_mb": disk / 1e6,
        "frames": json.loads(output),
    }


def _children_seconds() -> float:
    """Return the CPU seconds of all children that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def _resident_bytes(process: Any) -> int:
    total = 0
    try:
        for part in (process, *process.children(recursive=True)):
            total += part.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def _folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def shorten(source: Path, sink: Path, frames: int) -> Path:
    """Copy the first packets of a video and its audio, without encoding."""
    with av.open(str(source)) as original, av.open(str(sink), "w") as container:
        video = original.streams.video[0]
        end = frames / (video.average_rate or 25)
        streams = [video, *original.streams.audio[:1]]
        outputs = {stream.index: container.add_stream_from_template(stream) for stream in streams}
        for packet in original.demux(*streams):
            pts, base = packet.pts, packet.time_base
            if pts is not None and base is not None and pts * base < end:
                packet.stream = outputs[packet.stream.index]
                container.mux(packet)
    return sink


def make_table(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Return medians of seconds, and the highest peaks, since sampling misses some.

    Ratios to one pass: for seconds the median of the ratios in each round, else of the peaks.
    """
    rows = dict[str, dict[str, Any]]()
    for way in METHODS:
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", nargs=3, help="internal: one method, source and folder")
    parser.add_argument("--video", type=Path, help="Default: sam2_bedroom")
    parser.add_argument("--frames", type=int, default=100, help="how many frames")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.way:
        way, source, folder = options.way
        print(json.dumps(METHODS[way](Path(source), Path(folder))))
        return
    if sys.platform == "win32":
        raise SystemExit("skipped: Windows has no such counters")
    load = os.getloadavg()[0]  # of other processes
    with tempfile.TemporaryDirectory() as name:
        real = [options.video] if options.video else find_clips("sam2_bedroom")
        make = partial(shorten, real[0]) if real else partial(make_video, width=960, height=540)
        source = make(sink := Path(name) / "in.mp4", frames=options.frames)
        rounds = list[dict[str, dict[str, float]]]()
        for k in range(options.rounds):
            order = list(METHODS)[k % 3 :] + list(METHODS)[: k % 3]
            rounds.append({way: run_method(way, sink) for way in order})
            print(json.dumps(rounds[-1]), flush=True)
        with av.open(str(source)) as container:
            size = "{0.width}x{0.height}".format(container.streams.video[0])
    shown = real[0].name if real else "generated: a sliding texture with grain"
    result = {
        "question": "what do the usual scripts cost, compared with one pass?",
        "video": f"{shown}, its first {options.frames} frames, {size}",
        "load_before": round(load, 1),
        "ways": make_table(rounds),
        "rounds": rounds,
    }
    print(write_result("alternatives", result).read_text())


if __name__ == "__main__":
    main()
