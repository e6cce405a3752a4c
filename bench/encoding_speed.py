"""How fast are decoding and x264 in one pass, compared with the program ffmpeg?

The same video, preset, CRF and number of threads. Real and drawn videos of 400 and 2,000 frames.
  ffmpeg: the program, its own build of FFmpeg and x264
  one pass: filmgate, from the first frame to the complete file
  one pass, process: the same with the start of Python and all imports
  plain loop: PyAV alone, decoding and encoding in turns, with frame threads
  plain loop, slices: the same as PyAV opens x264 by itself, each frame cut into slices

Each way runs in a process of its own, in turns, for some rounds; each round gives ratios to ffmpeg,
of which the median is kept. CPU seconds are what a busy machine changes least; size is of the
file, memory the peak of the process.

Where the rest over ffmpeg is, by `perf` (200 frames of 960x540, 2 cores): no more of x264's own
code, and no more CPU time with short segments than with one; Python's work for each frame (times,
checks for damage and for fields, 0.3 ms to read one, of which decoding is 0.16), a copy of each
frame to the encoder, and new memory: 66,000 page faults against 11,000, a third of them because
each segment has an x264 of its own, the rest for frames in the two queues and the start. Two
cores are less busy where a segment ends and the next begins: with one every 4 s they did 1.58 s of
work a second on a drawn video, with one every 20 s 1.69, as ffmpeg does; but a run that is paused,
or whose worker is needed elsewhere, continues to the end of its segment.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import av
from _common import find_clips, make_video, write_result

CRF, PRESET, THREADS = "18", "medium", 2
CLIP = "pl_driving"
COUNTS = (400, 2000)
FIGURES = ("seconds", "cpu_seconds", "size_mb", "memory_mb")
Row = dict[str, float]


def repeat_clip(source: Path, sink: Path, frames: int) -> Path:
    """Copy a video's packets, from the start again until there are enough; nothing is encoded."""
    with av.open(str(sink), "w") as container:
        copied, start = 0, 0
        while copied < frames:
            with av.open(str(source)) as original:
                video = original.streams.video[0]
                if not copied:
                    output = container.add_stream_from_template(video)
                shift, end = None, start
                for packet in original.demux(video):
                    if packet.dts is None or packet.pts is None or copied == frames:
                        continue
                    shift = start - packet.dts if shift is None else shift
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    end = max(end, packet.pts + (packet.duration or 1))
                    packet.stream = output
                    container.mux(packet)
                    copied += 1
                start = end
    return sink


def use_filmgate(source: Path, sink: Path) -> None:
    import filmgate as fg

    output = fg.VideoOutput(sink, crf=int(CRF), preset=PRESET, overwrite=True)
    fg.run((), source, output, limits=fg.Limits(threads=THREADS))


def use_plain_loop(source: Path, sink: Path, threads: str) -> None:
    with av.open(str(source)) as original, av.open(str(sink), "w") as container:
        video = original.streams.video[0]
        video.codec_context.thread_count, video.thread_type = THREADS, "AUTO"
        stream = container.add_stream(
            "libx264", rate=video.average_rate or Fraction(25),
            options={"crf": CRF, "preset": PRESET},
        )  # fmt: skip
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = video.width, video.height, "yuv420p"
        context.thread_count, context.thread_type = THREADS, threads
        for n, frame in enumerate(original.decode(video)):
            frame.pts, frame.time_base = n, 1 / (video.average_rate or Fraction(25))
            frame.pict_type = av.video.frame.PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


WAYS: dict[str, Callable[[Path, Path], None]] = {
    "one pass": use_filmgate,
    "plain loop": lambda source, sink: use_plain_loop(source, sink, "FRAME"),
    "plain loop, slices": lambda source, sink: use_plain_loop(source, sink, "SLICE"),
}


def make_command(way: str, source: Path, sink: Path) -> list[str]:
    if way != "ffmpeg":
        return [sys.executable, __file__, "--way", way, str(source), str(sink)]
    threads = ["-threads", str(THREADS)]
    return [str(shutil.which("ffmpeg")), "-v", "error", "-nostdin", "-y", *threads, "-i",
            str(source), "-c:v", "libx264", "-preset", PRESET, "-crf", CRF, *threads,
            str(sink)]  # fmt: skip


def run_way(way: str, source: Path, sink: Path) -> dict[str, Row]:
    """Run one way in a process of its own; return its rows."""
    if sys.platform == "win32":
        raise SystemExit("skipped: Windows has no such counters")
    begin = perf_counter()
    with subprocess.Popen(make_command(way, source, sink), stdout=subprocess.PIPE) as child:
        output = child.stdout.read() if child.stdout else b""
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    seconds = perf_counter() - begin
    if child.returncode:
        raise SystemExit(f"{way} ended with exit code {child.returncode}: see above")
    cpu, size, memory = used.ru_utime + used.ru_stime, sink.stat().st_size, used.ru_maxrss * 1024
    row = {"seconds": seconds, "cpu_seconds": cpu, "size_mb": size / 1e6, "memory_mb": memory / 1e6}
    if way == "ffmpeg":
        return {way: row}
    rows = {way: {**row, **json.loads(output)}}
    return rows | {"one pass, process": row} if way == "one pass" else rows


def measure_here(way: str, source: Path, sink: Path) -> Row:
    """Return seconds of one way in this process, after a video of two frames: all is imported."""
    with tempfile.TemporaryDirectory() as folder:
        short = make_video(Path(folder) / "in.mp4", 64, 64, 2)
        WAYS[way](short, Path(folder) / "out.mp4")
    begin, start = perf_counter(), os.times()
    WAYS[way](source, sink)
    seconds, end = perf_counter() - begin, os.times()
    return {"seconds": seconds, "cpu_seconds": end.user + end.system - start.user - start.system}


def make_table(rounds: list[dict[str, Row]]) -> dict[str, dict[str, Any]]:
    """Return medians, and of each figure the median of its ratios to ffmpeg in each round."""
    rows = dict[str, dict[str, Any]]()
    for way in rounds[0]:
        rows[way] = {}
        for key in FIGURES:
            ratios = [one[way][key] / one["ffmpeg"][key] for one in rounds]
            rows[way] |= {key: round(median(one[way][key] for one in rounds), 2),
                          f"{key.removesuffix('_mb')}_x": round(median(ratios), 3)}  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", nargs=3, help="internal: one way, source and sink")
    parser.add_argument("--rounds", type=int, default=5, help="for 2,000 frames half as many")
    parser.add_argument("--counts", type=int, nargs="*", default=COUNTS, help="of frames")
    options = parser.parse_args()
    if options.way:
        way, source, sink = options.way
        print(json.dumps(measure_here(way, Path(source), Path(sink))))
        return
    if not shutil.which("ffmpeg"):
        print("skipped: the program ffmpeg is not on the PATH")
        return
    if sys.platform == "win32":
        raise SystemExit("skipped: Windows has no such counters")
    result: dict[str, Any] = {
        "question": "how fast are decoding and x264 in one pass, compared with ffmpeg?",
        "settings": f"libx264, preset {PRESET}, crf {CRF}, {THREADS} threads",
        "load_before": round(os.getloadavg()[0], 1),
        "videos": {},
        "rounds": {},
    }
    ways = ["ffmpeg", *WAYS]
    with tempfile.TemporaryDirectory() as name:
        for count in options.counts:
            for kind in ("real", "drawn"):
                source = Path(name) / f"{kind}_{count}.mp4"
                clips = find_clips(CLIP)
                if kind == "real" and not clips:
                    print(f"the clip {CLIP} is not here: only drawn videos are measured")
                    continue
                if kind == "real":
                    repeat_clip(clips[0], source, count)
                else:
                    make_video(source, 640, 360, count)
                rounds = []
                for k in range(options.rounds if count < 1000 else -(-options.rounds // 2)):
                    order = ways[k % len(ways) :] + ways[: k % len(ways)]
                    found = dict[str, Row]()
                    for way in order:
                        found |= run_way(way, source, Path(name) / "out.mp4")
                    rounds.append(dict(sorted(found.items())))
                    print(source.stem, json.dumps(rounds[-1]), flush=True)
                key = f"{kind}_{count}"
                result[key] = make_table(rounds)
                result["rounds"][key] = rounds
                with av.open(str(source)) as container:
                    size = "{0.width}x{0.height}".format(container.streams.video[0])
                shown = f"{CLIP}.mp4, repeated" if kind == "real" else "a texture under grain"
                result["videos"][key] = f"{shown}: {count} frames, {size}"
                path = write_result("encoding_speed", result, ffmpeg=read_version())
    print(json.dumps({key: result[key] for key in result["videos"]}, indent=1), path)


def read_version() -> str:
    """Return the version of the program ffmpeg."""
    said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2]


if __name__ == "__main__":
    main()
