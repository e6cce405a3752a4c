"""How well is a held-out frame predicted? Every other frame, from its two neighbours.

Five ways, all on the planes as decoded (longest side at most 960): frame average, FFmpeg's
minterpolate (motion compensated), a plain blend along OpenCV's flow, and the families `dis` (ours)
and `film`, where its weights are here (filmgate models pull film; or --weights). PSNR (at most
100 dB a frame) and SSIM in 8-bit RGB. A frame that lies across a cut counts like any other.
With --xiph FOLDER the protocol of FILM's published figures is followed instead: bench/_xiph.py.
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
import torch
from _film import CLIPS, write_result
from _xiph import CLIPS as XIPH_CLIPS
from _xiph import measured, videos

from filmgate.core.frame import Frame
from filmgate.flow.shot_detection import cuts
from filmgate.media.pixels.av_frames import planes_of, rows_of
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import to_rgb
from filmgate.media.sources import VideoFile
from filmgate.models.families import film
from filmgate.models.families.dis import Dis
from filmgate.quality.metrics.psnr_ssim import psnr, ssim
from filmgate.weights.store import WeightsStore

LONGEST = 960
HALF = Fraction(1, 2)
MCI = "mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1"
Way = Callable[[Sequence[Planes]], Iterator[Planes]]
Ways = dict[str, Way]
KEYS = ("psnr", "ssim", "seconds")
ABSENT = "not measured: weights not here"
# FILM trained on L1, as its authors published it; read in Papers with Code's copy of their table.
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
    """Ties go up, as they do in `ours`: on still pictures that alone is more than 1 dB."""
    return ((p.astype(np.uint16) + q + 1) >> 1).astype(np.uint8)


def minterpolate(kept: Sequence[Planes]) -> Iterator[Planes]:
    """FFmpeg's filter holds the last frames back: the last one is given twice more."""
    graph, (width, height) = av.filter.Graph(), kept[0].size
    pixels = av.VideoFormat(kept[0].pixels)
    source = graph.add_buffer(width=width, height=height, format=pixels, time_base=Fraction(1, 50))
    graph.link_nodes(source, graph.add("minterpolate", f"fps=50:{MCI}"), graph.add("buffersink"))
    graph.configure()
    for i, picture in enumerate([*kept, kept[-1], kept[-1]]):
        frame = av.VideoFrame(width, height, picture.pixels)
        for plane, array in zip(frame.planes, picture.arrays, strict=True):
            rows_of(plane, array.dtype)[: array.shape[0], : array.shape[1]] = array
        frame.pts, frame.time_base = 2 * i, Fraction(1, 50)
        graph.push(frame)
        for made in _pulled(graph):
            number = round(made.pts * made.time_base * 50)
            if number % 2 and number < 2 * len(kept) - 2:
                yield planes_of(made, picture.pixels, picture.colour)


def _pulled(graph: av.filter.Graph) -> Iterator[Any]:
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def plain(kept: Sequence[Planes]) -> Iterator[Planes]:
    """Both frames fetched along half their flow to the other, and averaged."""
    nothing: Any = None
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for a, b in pairwise(kept):
        ends = []
        for x, y in ((a, b), (b, a)):
            flow = search.calc(x.arrays[0], y.arrays[0], nothing)
            ends.append([_fetched(plane, flow) for plane in x.arrays])
        yield a.with_arrays(tuple(_mean(p, q) for p, q in zip(*ends, strict=True)))


def _fetched(plane: Any, flow: Any) -> Any:
    rows, columns = plane.shape
    scale = np.array([columns / flow.shape[1], rows / flow.shape[0]], np.float32)
    own = cv2.resize(flow, (columns, rows), interpolation=cv2.INTER_AREA) * scale * -0.5
    x, y = np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)[:, None]
    return cv2.remap(
        plane, own[..., 0] + x, own[..., 1] + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def dis(kept: Sequence[Planes]) -> Iterator[Planes]:
    for a, b in pairwise(kept):
        yield from Dis().between(a, b, [HALF])


WAYS: Ways = {"average": average, "minterpolate": minterpolate, "plain dis": plain, "ours": dis}


def film_way(given: Path | None) -> Way | None:
    """FILM's way, float32 on the CPU and float16 on a GPU; None where its weights are not here."""
    shelf, (published,) = WeightsStore.here(), film.weights()
    if given is None and not shelf.place(published).is_file():
        return None
    path = shelf.verified(published, given)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float16 if device == "cuda" else torch.float32
    between = film.Draw(film.opened(path, dtype, device), device, dtype).between

    def way(kept: Sequence[Planes]) -> Iterator[Planes]:
        for a, b in pairwise(kept):
            yield from between(a, b, [HALF])

    return way


def shown(clip: Path, count: int) -> list[Frame]:
    """The first frames of a film, made small, with their cuts."""
    with VideoFile(clip).open() as video:
        chunks = (frames for frames, _ in video.read(None, 16))
        frames = list(islice((frame for chunk in chunks for frame in chunk), count))
        width, height = video.spec.width, video.spec.height
        scale = min(1.0, LONGEST / max(width, height))
        size = [2 * round(n * scale / 2) for n in (width, height)] if scale < 1 else (width, height)
        small = [frame.made(_resized(frame.image, size)) for frame in frames]
        finder = cuts()
        state, marked = finder.step(finder.start(video.spec, frames[0].position), small)
        while state is not None:
            state, rest = finder.finish(state)
            marked += rest
    return marked


def _resized(image: Any, size: Sequence[int]) -> Planes:
    def one(plane: Any) -> Any:
        steps = [round(n / m) for n, m in zip(image.size, plane.shape[::-1], strict=True)]
        wanted = [-(-n // step) for n, step in zip(size, steps, strict=True)]
        return cv2.resize(plane, wanted, interpolation=cv2.INTER_AREA)

    assert isinstance(image, Planes)
    return image.with_arrays(tuple(one(plane) for plane in image.arrays))


def rgb(picture: Planes) -> npt.NDArray[np.uint8]:
    return (to_rgb(picture) * 255).round().byte().permute(1, 2, 0).numpy()


def measure(clip: Path, held_out: int, ways: Ways) -> dict[str, Any]:
    """PSNR, SSIM and seconds per frame of each way on one clip."""
    frames = shown(clip, 2 * held_out + 1)
    pictures = [frame.image for frame in frames if isinstance(frame.image, Planes)]
    kept, truth = pictures[::2], [rgb(picture) for picture in pictures[1:-1:2]]
    kept = kept[: len(truth) + 1]
    cut = [bool(frame.extras.get("cut")) for frame in frames]
    across = sum(any(cut[i : i + 2]) for i in range(1, len(frames) - 1, 2))
    row: dict[str, Any] = {
        "size": "{}x{}".format(*kept[0].size), "frames": len(truth), "across_cuts": across
    }  # fmt: skip
    for name, way in ways.items():
        begin = perf_counter()
        made = list(way(kept))
        seconds = (perf_counter() - begin) / len(made)
        found = [rgb(picture) for picture in made]
        row[name] = {
            "psnr": mean(min(100.0, psnr(a, b)) for a, b in zip(found, truth, strict=True)),
            "ssim": mean(ssim(a, b) for a, b in zip(found, truth, strict=True)),
            "seconds": seconds,
        }
    return row


def xiph(folder: Path, learned: Way | None) -> None:
    """The protocol on a folder with one film for each clip."""
    clips = videos(folder)
    if not clips:
        raise SystemExit(f"there are no films in {folder}: wanted the eight clips, as .y4m or .mp4")
    if len(clips) != XIPH_CLIPS:
        print(
            f"{len(clips)} films in {folder}; the protocol has {XIPH_CLIPS}: no figure to compare"
        )
    rows = measured(
        clips, {"average": average, "ours": dis, **({"film": learned} if learned else {})}
    )
    result = {
        "question": "how well are even frames of 4K films predicted from their odd neighbours?",
        "clips": [clip.name for clip in clips],
        "xiph": rows
        if learned
        else rows | {f"{cut} film": unmeasured(rows) for cut in ("2K", "4K")},
        "published": PUBLISHED,
    }
    print(write_result("interpolate_quality_xiph", result).read_text())


def unmeasured(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The row of one that could not be tried, with the columns of the others."""
    first, *others = next(iter(rows.values()))
    return {first: ABSENT, **dict.fromkeys(others, "")}


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--clips", type=Path, default=CLIPS, help="a folder of .mp4 films")
    wanted.add_argument("--frames", type=int, default=60, help="held out per clip, at most")
    wanted.add_argument("--threads", type=int, default=2, help="of OpenCV; minterpolate has one")
    wanted.add_argument("--weights", type=Path, help="FILM's, if not in the models folder")
    wanted.add_argument("--xiph", type=Path, help="a folder with the eight films of that protocol")
    options = wanted.parse_args()
    cv2.setNumThreads(options.threads)
    learned = film_way(options.weights)
    if options.xiph:
        xiph(options.xiph, learned)
        return
    clips = sorted(options.clips.glob("*.mp4"))
    if not clips:
        print(f"skipped: there are no .mp4 films in {options.clips}; --clips says where they are")
        return
    ways = WAYS | ({"film": learned} if learned else {})
    print(" " * 16 + "".join(f"{name:>22}" for name in ways), flush=True)
    rows = dict[str, dict[str, Any]]()
    for clip in clips:
        rows[clip.stem] = measure(clip, options.frames, ways)
        print(_line(clip.stem, rows[clip.stem], ways), flush=True)
    total = {
        name: {key: mean(row[name][key] for row in rows.values()) for key in KEYS} for name in ways
    }
    print(_line("mean", total, ways))
    result = {
        "question": "how well is a held-out frame predicted from its two neighbours?",
        "longest_side": LONGEST,
        "opencv_threads": options.threads,
        "mean": total if learned else {**total, "film": unmeasured(total)},
        "published": PUBLISHED,
        "clips": rows,
    }
    print(write_result("interpolate_quality", result))


def _line(name: str, row: dict[str, Any], ways: Ways) -> str:
    cells = ("{psnr:.2f} {ssim:.4f} {seconds:.3f}s".format(**row[way]) for way in ways)
    return f"{name:<16}" + "".join(f"{cell:>22}" for cell in cells)


if __name__ == "__main__":
    main()
