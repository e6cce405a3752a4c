"""How much of a downscaled video is restored? `compact` compared with Lanczos.

Clips that the networks were not trained on are downscaled by Pillow's antialiased bicubic filter
(also by area; also encoded by x264 at crf 20), upscaled, and compared with the originals: PSNR and
SSIM of luma. Flicker is the residual after motion compensation along the motion of the true video,
in 8-bit levels, less that of the true video itself.
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
from _common import CLIPS, write_result
from PIL import Image

from filmgate.core.frame import Frame, Position
from filmgate.flow.temporal_blend import Steady
from filmgate.media.pixels.av_frames import extract_planes, view_rows
from filmgate.media.pixels.planes import Planes
from filmgate.media.sources import VideoFile
from filmgate.models.families.compact.net import Compact
from filmgate.models.families.compact.upscaler import CompactUpscaler, open_network
from filmgate.quality.metrics.motion_residual import estimate_flow, get_luma, mark_shots, warp
from filmgate.quality.metrics.psnr_ssim import psnr, ssim

HELD_OUT = ("io_cockatoo", "ls_demo1", "phalp_vid", "pl_driving", "sam2_bedroom", "sk_bikes")
WEIGHTS = Path(__file__).parents[1] / "src/filmgate/models/families/compact"
SKIPPED = 30  # frames; videos start with black
Video = list[Frame]


def read_frames(clip: Path, count: int, multiple: int) -> Video:
    """Return some frames of a video, cropped to multiples, with shot boundaries marked."""
    with VideoFile(clip).open() as video:
        frames = mark_shots(video.spec, (frames for frames, _ in video.read(None, 16)))
        some = list(islice(frames, SKIPPED, SKIPPED + count))
        frames.close()  # type: ignore[attr-defined]
    return [frame.with_image(_crop(frame.image, multiple), keep=("cut",)) for frame in some]


def _crop(image: Any, multiple: int) -> Planes:
    size = [n // multiple * multiple for n in image.size]
    return _each(image, size, lambda plane, wide, high: plane[:high, :wide])


def _each(image: Planes, size: Any, fn: Callable[[Any, int, int], Any]) -> Planes:
    """Apply `fn` to every plane, with its share of the image's new size."""
    part = [
        [round(n / m) for n, m in zip(image.size, plane.shape[::-1], strict=True)]
        for plane in image.arrays
    ]
    pairs = zip(image.arrays, part, strict=True)
    return image.with_arrays(
        tuple(np.ascontiguousarray(fn(p, size[0] // s[0], size[1] // s[1])) for p, s in pairs)
    )


def downscale(video: Video, scale: int, method: Image.Resampling) -> Video:
    def one(plane: Any, wide: int, high: int) -> Any:
        return np.asarray(Image.fromarray(plane).resize((wide, high), method))

    made = []
    for frame in video:
        assert isinstance(frame.image, Planes)
        size = [n // scale for n in frame.image.size]
        made.append(frame.with_image(_each(frame.image, size, one), keep=("cut",)))
    return made


def encode(video: Video) -> Video:
    """Return the video after encoding by x264."""
    first, buffer = video[0].image, io.BytesIO()
    assert isinstance(first, Planes)
    with av.open(buffer, "w", format="matroska") as container:
        options = {"crf": "20", "preset": "medium", "threads": "1"}
        stream: Any = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *first.size, first.pixels
        for n, frame in enumerate(video):
            image: Any = frame.image
            coded = av.VideoFrame(image.size[0], image.size[1], image.pixels)
            for plane, array in zip(coded.planes, image.arrays, strict=True):
                view_rows(plane, array.dtype)[: array.shape[0], : array.shape[1]] = array
            coded.pts, coded.time_base = n, Fraction(1, 25)
            container.mux(stream.encode(coded))
        container.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer, "r") as container:
        images = [extract_planes(f, first.pixels, first.colour) for f in container.decode(video=0)]
    return [
        frame.with_image(image, keep=("cut",)) for frame, image in zip(video, images, strict=True)
    ]


def upscale(video: Video, upscaler: CompactUpscaler) -> tuple[Video, float]:
    """Return the upscaled video, and seconds per frame."""
    begin = perf_counter()
    made = [frame.with_image(upscaler.upscale(frame.image), keep=("cut",)) for frame in video]
    return made, (perf_counter() - begin) / len(video)


def apply_steady(video: Video, scale: int) -> tuple[Video, float]:
    stage, begin = Steady(cell=scale), perf_counter()
    spec: Any = None
    _, made = stage.step(stage.start(spec, Position(0, Fraction(0))), video)
    return made, (perf_counter() - begin) / len(video)


def measure_flicker(video: Video, truth: Video) -> float:
    """Return the residual of luma after motion compensation along the true motion, in levels."""
    left = []
    for (a, b), (x, y) in zip(pairwise(video), pairwise(truth), strict=True):
        if not y.extras.get("cut"):
            moved = warp(get_luma(a), estimate_flow(get_luma(x), get_luma(y)))
            left.append(float(np.abs(get_luma(b) - moved).mean()))
    return mean(left)


def measure_quality(video: Video, truth: Video) -> tuple[float, float]:
    """Return the mean PSNR and SSIM of luma."""
    lumas = [(get_luma(a), get_luma(b)) for a, b in zip(video, truth, strict=True)]
    return mean(min(100.0, psnr(a, b)) for a, b in lumas), mean(ssim(a, b) for a, b in lumas)


def measure(clip: Path, scale: int, count: int) -> dict[str, dict[str, Any]]:
    """Return one clip's rows of the tables of quality, other ways of downscaling, and flicker."""
    net = open_network(WEIGHTS / f"x{scale}.safetensors")
    ours, lanczos = CompactUpscaler(net), CompactUpscaler(Compact(net.shape).requires_grad_(False))
    truth = read_frames(clip, count, 2 * scale)
    first: Any = truth[0].image
    small = downscale(truth, scale, Image.Resampling.BICUBIC)
    (plain, _), (learnt, seconds) = (upscale(small, upscaler) for upscaler in (lanczos, ours))
    steady, more = apply_steady(learnt, scale)
    (low, low_ssim), (high, high_ssim) = (
        measure_quality(plain, truth),
        measure_quality(learnt, truth),
    )
    (still, _), own = measure_quality(steady, truth), measure_flicker(truth, truth)
    row = {
        "size": "{}x{}".format(*first.size), "lanczos_db": low, "compact_db": high,
        "more_db": high - low, "lanczos_ssim": low_ssim, "compact_ssim": high_ssim,
        "seconds": seconds,
    }  # fmt: skip
    others = {}
    for name, video in (
        ("area", downscale(truth, scale, Image.Resampling.BOX)), ("encoded", encode(small))
    ):  # fmt: skip
        found = [
            measure_quality(upscale(video, upscaler)[0], truth) for upscaler in (lanczos, ours)
        ]
        others[f"{name}_more_db"] = found[1][0] - found[0][0]
        others[f"{name}_more_ssim"] = found[1][1] - found[0][1]
    rest = {
        "lanczos": measure_flicker(plain, truth) - own,
        "compact": measure_flicker(learnt, truth) - own,
        "steady": measure_flicker(steady, truth) - own, "steady_more_db": still - high,
        "seconds": more,
    }  # fmt: skip
    return {"quality": row, "others": others, "flicker": rest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, default=CLIPS, help="folder of the clips")
    parser.add_argument("--only", nargs="*", default=HELD_OUT, help="names of clips")
    parser.add_argument("--frames", type=int, default=10, help="frames of each clip")
    parser.add_argument("--scales", type=int, nargs="*", default=(2, 4))
    parser.add_argument("--dry", action="store_true", help="write no result")
    options = parser.parse_args()
    torch.set_num_threads(1)
    clips = [path for name in options.only if (path := options.clips / f"{name}.mp4").is_file()]
    if not clips:
        print(f"skipped: none of {', '.join(options.only)} is in {options.clips}")
        return
    result: dict[str, Any] = {
        "question": "how much of a downscaled video is restored?",
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
