"""What do conversions lose? Planes through RGB and back, and a test chart through each codec.

Code values are those of the format (of 255, 1023, 4095); dB is PSNR of RGB in [0, 1] against the
planes before encoding. `--image` writes the chart, the result and their difference.
"""

import argparse
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch
from _common import find_clips, write_result
from _test_chart import draw_chart

from filmgate.core.frame import ColorTags
from filmgate.media.pixels.av_frames import view_rows
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import to_planes, to_rgb
from filmgate.media.sources import VideoFile

HD = ColorTags("bt709", "bt709", "bt709", "tv", "left")
FORMATS = ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le",
           "yuv444p12le")  # fmt: skip
X265 = {"crf": "18", "x265-params": "log-level=none:pools=1"}
# Encoder, suffix, options and pixel formats.
CODECS: dict[str, tuple[str, str, dict[str, str], tuple[str, ...]]] = {
    "h264": ("libx264", ".mp4", {"crf": "18"}, FORMATS[:6]),
    "hevc": ("libx265", ".mp4", X265, FORMATS),
    "vp9": ("libvpx-vp9", ".mkv", {"crf": "18", "b": "0", "cpu-used": "6"}, FORMATS[:3]),
    "prores": ("prores_ks", ".mov", {}, ("yuv422p10le", "yuv444p10le")),
    "ffv1": ("ffv1", ".mkv", {"level": "3"}, FORMATS),
}
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def measure_difference(one: Planes, other: Planes) -> dict[str, Any]:
    """Return the largest and mean difference in code values, of luma and of chroma."""
    found: dict[str, Any] = {}
    for name, which in (("luma", slice(0, 1)), ("chroma", slice(1, 3))):
        pairs = zip(one.arrays[which], other.arrays[which], strict=True)
        off = np.concatenate([np.abs(a.astype(int) - b).ravel() for a, b in pairs])
        found |= {f"{name} max": int(off.max()), f"{name} mean": round(float(off.mean()), 4)}
    return found


def convert_both_ways(image: Planes, dtype: torch.dtype) -> dict[str, Any]:
    """Convert planes to RGB of `dtype` and back, and return the difference."""
    return measure_difference(image, to_planes(to_rgb(image, dtype), image.pixels, image.colour))


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return round(float(-10 * torch.log10(((one - other) ** 2).mean() + 1e-12)), 2)


def encode(image: Planes, codec: str, folder: Path) -> Planes:
    """Write eight equal frames by FFmpeg's encoder and return the last as read by us."""
    name, suffix, options, _ = CODECS[codec]
    path = folder / f"{codec}-{image.pixels}{suffix}"
    width, height = image.size
    with av.open(str(path), "w") as out:
        stream = out.add_stream(name, rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, image.pixels
        stream.codec_context.thread_count = 1
        for key in ("colorspace", "color_primaries", "color_trc", "color_range"):
            setattr(stream.codec_context, key, 1)  # BT.709, limited
        for n in range(8):
            frame = av.VideoFrame(width, height, image.pixels)
            for plane, array in zip(frame.planes, image.arrays, strict=True):
                view_rows(plane, array.dtype)[: array.shape[0], : array.shape[1]] = array
            # the ProRes encoder reads the tags of frames, not of the stream
            frame.colorspace = frame.color_range = frame.color_primaries = frame.color_trc = 1
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with VideoFile(path).open(1) as video:
        *_, (frames, _) = video.read(None, 8)
    found = frames[-1].image
    assert isinstance(found, Planes)
    if found.pixels != image.pixels:  # FFmpeg reads ProRes 4444 as 12 bits
        assert found.pixels == "yuv444p12le"
        return to_planes(to_rgb(found), image.pixels, found.colour)
    return found


def measure_clip(path: Path, every: int) -> dict[str, Any]:
    """Return the largest and mean difference of every nth frame, through RGB and back."""
    rows = []
    with VideoFile(path).open(1) as video:
        for frames, _ in video.read(None, 8):
            for frame in frames:
                if frame.index % every == 0:
                    assert isinstance(frame.image, Planes)
                    rows.append(convert_both_ways(frame.image, torch.float32))
    return {
        key: max(row[key] for row in rows)
        if "max" in key
        else round(sum(row[key] for row in rows) / len(rows), 4)
        for key in rows[0]
    }


def to_bgr(rgb: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Return a tensor as OpenCV's BGR bytes."""
    return np.ascontiguousarray((rgb * 255).round().byte().numpy()[::-1].transpose(1, 2, 0))


def soften(rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the chart without hard edges, inside the gamut: chroma that 4:2:0 can hold."""
    blurred = [cv2.GaussianBlur(channel, (0, 0), 12) for channel in rgb]
    return np.stack(blurred).clip(0.02, 0.98)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, action="append", help="a real video")
    parser.add_argument(
        "--image", type=Path, help="file for the chart, the result and their difference"
    )
    options = parser.parse_args()
    videos = options.video or find_clips("sam2_bedroom", "io_cockatoo", "sk_bikes")
    torch.set_num_threads(1)
    hard, gentle = torch.from_numpy(draw_chart()), torch.from_numpy(soften(draw_chart()))
    rows: dict[str, Any] = {}
    for pixels in FORMATS:
        for dtype in DTYPES:
            name = f"{pixels}, {str(dtype).removeprefix('torch.')}"
            rows[name] = convert_both_ways(to_planes(gentle, pixels, HD), dtype)
        rows[f"{pixels}, float32, hard edges"] = convert_both_ways(
            to_planes(hard, pixels, HD), torch.float32
        )
    codecs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for codec, (_, _, _, formats) in CODECS.items():
            for pixels in formats:
                image = to_planes(hard, pixels, HD)
                made = encode(image, codec, Path(folder))
                codecs[f"{codec} {pixels}"] = {
                    **measure_difference(image, made),
                    "dB by the codec": psnr(to_rgb(image), to_rgb(made)),
                    "dB to the chart": psnr(hard, to_rgb(made)),
                }
                if (codec, pixels) == ("h264", "yuv420p") and options.image:
                    rgb = to_rgb(made)
                    off = (0.5 + 2 * (rgb - hard)).clamp(0, 1)
                    three = np.hstack([to_bgr(part) for part in (hard, rgb, off)])
                    cv2.imwrite(str(options.image), three, [cv2.IMWRITE_WEBP_QUALITY, 60])
    result = {
        "question": "code values lost through RGB and back; by codecs at crf 18 or their default",
        "through_rgb": rows,
        "videos": {path.name: measure_clip(path, 25) for path in videos},
        "codecs": codecs,
    }
    print(write_result("colour_roundtrip", result).read_text())


if __name__ == "__main__":
    main()
