"""How much of a film that was made small comes back? `compact` beside Lanczos.

Clips that the networks were not trained on, made small by Pillow's antialiased bicubic (also by
area; also encoded by x264 at crf 20), enlarged, and held against what they were: PSNR and SSIM of
luma. Flicker is what is left of a frame when the one before it has been moved to its place, by the
motion of the true film: in 8-bit levels, less what the true film leaves.
"""

import argparse
import io
from collections.abc import Callable
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import av
import numpy as np
import torch
from _film import CLIPS, write_result
from PIL import Image

from filmgate.core.frame import Frame, Position
from filmgate.flow.temporal_blend import Steady
from filmgate.media.pixels.av_frames import planes_of, rows_of
from filmgate.media.pixels.planes import Planes
from filmgate.media.sources import VideoFile
from filmgate.models.families.compact import Enlarge, opened
from filmgate.models.families.compact.net import Compact
from filmgate.quality.metrics.motion_residual import flow, luma, warped, with_cuts
from filmgate.quality.metrics.psnr_ssim import psnr, ssim

HELD_OUT = ("io_cockatoo", "ls_demo1", "phalp_vid", "pl_driving", "sam2_bedroom", "sk_bikes")
WEIGHTS = Path(__file__).parents[1] / "src/filmgate/models/families/compact"
SKIPPED = 30  # films begin with black
Video = list[Frame]


def shown(clip: Path, count: int, multiple: int) -> Video:
    """Some frames of a film, cut to sides that are multiples, with their cuts."""
    with VideoFile(clip).open() as film:
        frames = with_cuts(film.spec, (frames for frames, _ in film.read(None, 16)))
        some = list(islice(frames, SKIPPED, SKIPPED + count))
        frames.close()  # type: ignore[attr-defined]
    return [frame.made(_cut(frame.image, multiple), keep=("cut",)) for frame in some]


def _cut(image: Any, multiple: int) -> Planes:
    size = [n // multiple * multiple for n in image.size]
    return _each(image, size, lambda plane, wide, high: plane[:high, :wide])


def _each(image: Planes, size: Any, fn: Callable[[Any, int, int], Any]) -> Planes:
    """Every plane at the picture's new size, by what it is of the first now."""
    part = [
        [round(n / m) for n, m in zip(image.size, plane.shape[::-1], strict=True)]
        for plane in image.arrays
    ]
    pairs = zip(image.arrays, part, strict=True)
    return image.with_arrays(
        tuple(np.ascontiguousarray(fn(p, size[0] // s[0], size[1] // s[1])) for p, s in pairs)
    )


def shrunk(film: Video, scale: int, how: Image.Resampling) -> Video:
    def one(plane: Any, wide: int, high: int) -> Any:
        return np.asarray(Image.fromarray(plane).resize((wide, high), how))

    made = []
    for frame in film:
        assert isinstance(frame.image, Planes)
        size = [n // scale for n in frame.image.size]
        made.append(frame.made(_each(frame.image, size, one), keep=("cut",)))
    return made


def encoded(film: Video) -> Video:
    """The film as x264 leaves it."""
    first, held = film[0].image, io.BytesIO()
    assert isinstance(first, Planes)
    with av.open(held, "w", format="matroska") as container:
        options = {"crf": "20", "preset": "medium", "threads": "1"}
        stream: Any = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *first.size, first.pixels
        for n, frame in enumerate(film):
            image: Any = frame.image
            picture = av.VideoFrame(image.size[0], image.size[1], image.pixels)
            for plane, array in zip(picture.planes, image.arrays, strict=True):
                rows_of(plane, array.dtype)[: array.shape[0], : array.shape[1]] = array
            picture.pts, picture.time_base = n, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    held.seek(0)
    with av.open(held, "r") as made:
        pictures = [planes_of(f, first.pixels, first.colour) for f in made.decode(video=0)]
    return [frame.made(image, keep=("cut",)) for frame, image in zip(film, pictures, strict=True)]


def enlarged(film: Video, way: Enlarge) -> tuple[Video, float]:
    """The film enlarged, and seconds a frame."""
    begin = perf_counter()
    made = [frame.made(way.picture(frame.image), keep=("cut",)) for frame in film]
    return made, (perf_counter() - begin) / len(film)


def steadied(film: Video, scale: int) -> tuple[Video, float]:
    stage, begin = Steady(cell=scale), perf_counter()
    spec: Any = None
    _, made = stage.step(stage.start(spec, Position(0, Fraction(0))), film)
    return made, (perf_counter() - begin) / len(film)


def flicker(film: Video, truth: Video) -> float:
    """Levels that the motion of the true film leaves over in luma."""
    left = []
    for (a, b), (x, y) in zip(pairwise(film), pairwise(truth), strict=True):
        if not y.extras.get("cut"):
            moved = warped(luma(a), flow(luma(x), luma(y)))
            left.append(float(np.abs(luma(b) - moved).mean()))
    return mean(left)


def alike(film: Video, truth: Video) -> tuple[float, float]:
    """Mean PSNR and SSIM of luma."""
    lumas = [(luma(a), luma(b)) for a, b in zip(film, truth, strict=True)]
    return mean(min(100.0, psnr(a, b)) for a, b in lumas), mean(ssim(a, b) for a, b in lumas)


def measure(clip: Path, scale: int, count: int) -> dict[str, dict[str, Any]]:
    """One clip: rows for the table of quality, for other ways to be made small, and for flicker."""
    net = opened(WEIGHTS / f"x{scale}.safetensors")
    ours, lanczos = Enlarge(net), Enlarge(Compact(net.shape).requires_grad_(False))
    truth = shown(clip, count, 2 * scale)
    first: Any = truth[0].image
    small = shrunk(truth, scale, Image.Resampling.BICUBIC)
    (plain, _), (learnt, seconds) = (enlarged(small, way) for way in (lanczos, ours))
    steady, more = steadied(learnt, scale)
    (low, low_ssim), (high, high_ssim) = alike(plain, truth), alike(learnt, truth)
    (still, _), own = alike(steady, truth), flicker(truth, truth)
    row = {
        "size": "{}x{}".format(*first.size), "lanczos_db": low, "compact_db": high,
        "more_db": high - low, "lanczos_ssim": low_ssim, "compact_ssim": high_ssim,
        "seconds": seconds,
    }  # fmt: skip
    others = {}
    for name, film in (
        ("area", shrunk(truth, scale, Image.Resampling.BOX)), ("encoded", encoded(small))
    ):  # fmt: skip
        found = [alike(enlarged(film, way)[0], truth) for way in (lanczos, ours)]
        others[f"{name}_more_db"] = found[1][0] - found[0][0]
        others[f"{name}_more_ssim"] = found[1][1] - found[0][1]
    rest = {
        "lanczos": flicker(plain, truth) - own, "compact": flicker(learnt, truth) - own,
        "steady": flicker(steady, truth) - own, "steady_more_db": still - high,
        "seconds": more,
    }  # fmt: skip
    return {"quality": row, "others": others, "flicker": rest}


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--clips", type=Path, default=CLIPS, help="where the films are")
    wanted.add_argument("--only", nargs="*", default=HELD_OUT, help="films, by name")
    wanted.add_argument("--frames", type=int, default=10, help="of each clip")
    wanted.add_argument("--scales", type=int, nargs="*", default=(2, 4))
    wanted.add_argument("--dry", action="store_true", help="write no result")
    options = wanted.parse_args()
    torch.set_num_threads(1)
    clips = [path for name in options.only if (path := options.clips / f"{name}.mp4").is_file()]
    if not clips:
        print(f"skipped: none of {', '.join(options.only)} is in {options.clips}")
        return
    result: dict[str, Any] = {
        "question": "how much of a film that was made small comes back?",
        "frames": options.frames,
    }
    for scale in options.scales:
        rows = {clip.stem: measure(clip, scale, options.frames) for clip in clips}
        for kind in ("quality", "others", "flicker"):
            found = {name: row[kind] for name, row in rows.items()}
            keys = next(iter(found.values()))
            found["mean"] = {key: "" if key == "size" else mean(r[key] for r in found.values())
                             for key in keys}  # fmt: skip
            result[f"{kind}_x{scale}"] = found
            print(f"x{scale} {kind}")
            for name, row in found.items():
                print(f"  {name:<14}", *(f"{k} {v:.4f}" if v != "" and k != "size" else v
                                         for k, v in row.items()), flush=True)  # fmt: skip
    if not options.dry:
        print(write_result("upscale_quality", result))


if __name__ == "__main__":
    main()
