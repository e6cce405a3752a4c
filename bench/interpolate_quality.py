"""How well is a held-out frame predicted? Every second frame, from its two neighbours.

All methods work on the planes as decoded (longest side at most 960, or --side): the mean of two
frames, FFmpeg's minterpolate (motion compensated), a plain blend along OpenCV's flow, and the
families `dis` (ours), `rife` and `film`, these two if their weights are here (filmgate models pull
rife; for film also --weights). PSNR (at most 100 dB a frame) and SSIM in 8-bit RGB. A frame across
a shot boundary counts like any other. With --xiph FOLDER the protocol of FILM's published figures
is used: bench/_xiph.py.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from _common import CLIPS, write_result
from _xiph import CLIPS as XIPH_CLIPS
from _xiph import find_videos, measure_xiph

from filmgate.core.frame import Frame, StreamSpec
from filmgate.flow.shot_detection import detect_shots
from filmgate.media.pixels.av_frames import extract_planes, view_rows
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import to_rgb
from filmgate.media.sources import VideoFile
from filmgate.models import registry
from filmgate.models.families.dis.interpolator import DisInterpolator
from filmgate.models.families.film import WEIGHTS as FILM
from filmgate.models.families.film import FilmOptions
from filmgate.models.families.rife import WEIGHTS as RIFE
from filmgate.models.families.rife import RifeOptions
from filmgate.quality.metrics.psnr_ssim import psnr, ssim
from filmgate.weights.store import WeightsStore

MAX_SIDE = 960
HALF = Fraction(1, 2)
MCI = "mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1"
Method = Callable[[Sequence[Planes]], Iterator[Planes]]
Methods = dict[str, Method]
KEYS = ("psnr", "ssim", "seconds")
LEARNED = ("RIFE", "FILM")
ABSENT = "not measured: no weights here"
# FILM trained on L1, as its authors published it; copied from their table.
PUBLISHED = {
    "Vimeo-90K": {"psnr": 36.06, "ssim": 0.970},
    "UCF101": {"psnr": 35.32, "ssim": 0.952},
    "Xiph-2K": {"psnr": 36.66, "ssim": 0.951},
    "Xiph-4K": {"psnr": 33.78, "ssim": 0.906},
}


def average(kept: Sequence[Planes]) -> Iterator[Planes]:
    for a, b in pairwise(kept):
        yield a.with_arrays(tuple(_mean(p, q) for p, q in zip(a.arrays, b.arrays, strict=True)))


def _mean(p: Any, q: Any) -> Any:
    """Round ties up, as `dis` does: on static frames that alone is more than 1 dB."""
    return ((p.astype(np.uint16) + q + 1) >> 1).astype(np.uint8)


def minterpolate(kept: Sequence[Planes]) -> Iterator[Planes]:
    """FFmpeg's filter, which delays frames: the last one is passed twice more."""
    graph, (width, height) = av.filter.Graph(), kept[0].size
    pixels = av.VideoFormat(kept[0].pixels)
    source = graph.add_buffer(width=width, height=height, format=pixels, time_base=Fraction(1, 50))
    graph.link_nodes(source, graph.add("minterpolate", f"fps=50:{MCI}"), graph.add("buffersink"))
    graph.configure()
    for i, image in enumerate([*kept, kept[-1], kept[-1]]):
        frame = av.VideoFrame(width, height, image.pixels)
        for plane, array in zip(frame.planes, image.arrays, strict=True):
            view_rows(plane, array.dtype)[: array.shape[0], : array.shape[1]] = array
        frame.pts, frame.time_base = 2 * i, Fraction(1, 50)
        graph.push(frame)
        for output in _pull_frames(graph):
            number = round(output.pts * output.time_base * 50)
            if number % 2 and number < 2 * len(kept) - 2:
                yield extract_planes(output, image.pixels, image.colour)


def _pull_frames(graph: av.filter.Graph) -> Iterator[Any]:
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def blend_along_flow(kept: Sequence[Planes]) -> Iterator[Planes]:
    """Move both frames along half their flow to the other, and average them."""
    no_output: Any = None
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for a, b in pairwise(kept):
        ends = []
        for x, y in ((a, b), (b, a)):
            flow = search.calc(x.arrays[0], y.arrays[0], no_output)
            ends.append([_fetch(plane, flow) for plane in x.arrays])
        yield a.with_arrays(tuple(_mean(p, q) for p, q in zip(*ends, strict=True)))


def _fetch(plane: Any, flow: Any) -> Any:
    rows, columns = plane.shape
    scale = np.array([columns / flow.shape[1], rows / flow.shape[0]], np.float32)
    own = cv2.resize(flow, (columns, rows), interpolation=cv2.INTER_AREA) * scale * -0.5
    x, y = np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)[:, None]
    return cv2.remap(
        plane, own[..., 0] + x, own[..., 1] + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def dis(kept: Sequence[Planes]) -> Iterator[Planes]:
    for a, b in pairwise(kept):
        yield from DisInterpolator().interpolate(a, b, [HALF])


METHODS: Methods = {
    "average": average,
    "minterpolate": minterpolate,
    "plain dis": blend_along_flow,
    "dis (ours)": dis,
}


def make_learned_methods(film_weights: Path | None) -> Methods:
    """Return RIFE and FILM, float32 on the CPU, float16 on a GPU, as far as weights are here."""
    store, methods = WeightsStore.open_default(), Methods()
    if store.get_path(RIFE).is_file():
        methods["RIFE"] = make_learned_method("rife", RifeOptions())
    if film_weights or store.get_path(FILM).is_file():
        methods["FILM"] = make_learned_method("film", FilmOptions(weights=film_weights))
    return methods


def make_learned_method(family: str, options: Any) -> Method:
    """Return the method of a family with weights."""
    networks: dict[StreamSpec, Any] = {}

    def interpolate(kept: Sequence[Planes]) -> Iterator[Planes]:
        width, height = kept[0].size
        spec = StreamSpec(
            width=width, height=height, rate=Fraction(25), time_base=Fraction(1, 25),
            pixels=kept[0].pixels, colour=kept[0].colour,
        )  # fmt: skip
        between = networks.setdefault(spec, registry.build_interpolator(family, spec, options))
        for a, b in pairwise(kept):
            yield from between(a, b, [HALF])

    return interpolate


def read_frames(clip: Path, count: int, side: int) -> list[Frame]:
    """Return the first frames of a video, downscaled, with shot boundaries marked."""
    with VideoFile(clip).open() as video:
        chunks = (frames for frames, _ in video.read(None, 16))
        frames = list(islice((frame for chunk in chunks for frame in chunk), count))
        width, height = video.spec.width, video.spec.height
        scale = min(1.0, side / max(width, height))
        size = [2 * round(n * scale / 2) for n in (width, height)] if scale < 1 else (width, height)
        small = [frame.with_image(_resize(frame.image, size)) for frame in frames]
        finder = detect_shots()
        state, marked = finder.step(finder.start(video.spec, frames[0].position), small)
        while state is not None:
            state, rest = finder.finish(state)
            marked += rest
    return marked


def _resize(image: Any, size: Sequence[int]) -> Planes:
    def resize(plane: Any) -> Any:
        steps = [round(n / m) for n, m in zip(image.size, plane.shape[::-1], strict=True)]
        wanted = [-(-n // step) for n, step in zip(size, steps, strict=True)]
        return cv2.resize(plane, wanted, interpolation=cv2.INTER_AREA)

    assert isinstance(image, Planes)
    return image.with_arrays(tuple(resize(plane) for plane in image.arrays))


def to_rgb_bytes(image: Planes) -> npt.NDArray[np.uint8]:
    return (to_rgb(image) * 255).round().byte().permute(1, 2, 0).numpy()


def measure(clip: Path, held_out: int, side: int, methods: Methods) -> dict[str, Any]:
    """Return PSNR, SSIM and seconds per frame of each method on one clip."""
    frames = read_frames(clip, 2 * held_out + 1, side)
    images = [frame.image for frame in frames if isinstance(frame.image, Planes)]
    kept, truth = images[::2], [to_rgb_bytes(image) for image in images[1:-1:2]]
    kept = kept[: len(truth) + 1]
    cut = [bool(frame.extras.get("cut")) for frame in frames]
    across = sum(any(cut[i : i + 2]) for i in range(1, len(frames) - 1, 2))
    row: dict[str, Any] = {
        "size": "{}x{}".format(*kept[0].size), "frames": len(truth), "across_cuts": across
    }  # fmt: skip
    for name, method in methods.items():
        begin = perf_counter()
        outputs = list(method(kept))
        seconds = (perf_counter() - begin) / len(outputs)
        results = [to_rgb_bytes(image) for image in outputs]
        row[name] = {
            "psnr": mean(min(100.0, psnr(a, b)) for a, b in zip(results, truth, strict=True)),
            "ssim": mean(ssim(a, b) for a, b in zip(results, truth, strict=True)),
            "seconds": seconds,
        }
    return row


def run_xiph(folder: Path, learned: Methods) -> None:
    """Run the Xiph protocol on a folder with one video for each clip."""
    clips = find_videos(folder)
    if not clips:
        raise SystemExit(
            f"no videos in {folder}: pass a folder of the eight clips, as .y4m or .mp4"
        )
    if len(clips) != XIPH_CLIPS:
        print(f"{len(clips)} videos in {folder}; the protocol has {XIPH_CLIPS}: not comparable")
    rows = measure_xiph(
        clips,
        {
            "average": average,
            "dis (ours)": dis,
            **learned,
        },
    )
    result = {
        "question": "how well are even frames of 4K videos predicted from their odd neighbours?",
        "clips": [clip.name for clip in clips],
        "xiph": rows
        if "FILM" in learned
        else rows | {f"{crop} FILM": make_empty_row(rows) for crop in ("2K", "4K")},
        "published": PUBLISHED,
    }
    print(write_result("interpolate_quality_xiph", result).read_text())


def make_empty_row(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return a row for a method without weights, with the columns of the others."""
    first, *others = next(iter(rows.values()))
    return {first: ABSENT, **dict.fromkeys(others, "")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, default=CLIPS, help="a folder of .mp4 videos")
    parser.add_argument(
        "--frames", type=int, default=60, help="frames held out in each clip, at most"
    )
    parser.add_argument("--side", type=int, default=MAX_SIDE, help="longest side, at most")
    parser.add_argument(
        "--name", default="", help="what the result's name ends in; its means have no seconds"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="threads of OpenCV; minterpolate has one"
    )
    parser.add_argument("--weights", type=Path, help="weights of FILM, if not in the models folder")
    parser.add_argument("--xiph", type=Path, help="a folder with the eight videos of that protocol")
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    learned = make_learned_methods(options.weights)
    if options.xiph:
        run_xiph(options.xiph, learned)
        return
    clips = sorted(options.clips.glob("*.mp4"))
    if not clips:
        print(f"skipped: no .mp4 files in {options.clips}; pass their folder with --clips")
        return
    methods = METHODS | learned
    print(" " * 16 + "".join(f"{name:>22}" for name in methods), flush=True)
    rows = dict[str, dict[str, Any]]()
    for clip in clips:
        rows[clip.stem] = measure(clip, options.frames, options.side, methods)
        print(_format_row(clip.stem, rows[clip.stem], methods), flush=True)
    total = {
        name: {key: mean(row[name][key] for row in rows.values()) for key in KEYS}
        for name in methods
    }
    print(_format_row("mean", total, methods))
    if options.name:
        total = {name: {key: row[key] for key in KEYS[:2]} for name, row in total.items()}
    result = {
        "question": "how well is a held-out frame predicted from its two neighbours?",
        "longest_side": options.side,
        "opencv_threads": options.threads,
        "mean": total | {name: make_empty_row(total) for name in LEARNED if name not in learned},
        "published": PUBLISHED,
        "clips": rows,
    }
    ending = ""
    if options.name:
        ending = f"_{options.name}"
        result["measured_by"] = f"bench/interpolate_quality.py --clips FOLDER --name {options.name}"
    elif options.side != MAX_SIDE:
        ending = f"_{options.side}"
        result["measured_by"] = f"bench/interpolate_quality.py --side {options.side}"
    print(write_result(f"interpolate_quality{ending}", result))


def _format_row(name: str, row: dict[str, Any], methods: Methods) -> str:
    cells = ("{psnr:.2f} {ssim:.4f} {seconds:.3f}s".format(**row[method]) for method in methods)
    return f"{name:<16}" + "".join(f"{cell:>22}" for cell in cells)


if __name__ == "__main__":
    main()
