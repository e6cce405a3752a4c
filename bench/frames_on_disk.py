"""What does a frame of 832 x 1216 pixels take on disk? MB (exact) and ms of one thread (noisy).

Frames of the videos given by --video, scaled to cover 832 x 1216 and cropped in the middle, as RGB.
Medians over frames, then over videos. Video codecs get consecutive frames of one video, also as
RGB, so that every format here is lossless.
"""

import argparse
import tempfile
from fractions import Fraction
from pathlib import Path
from statistics import median
from time import perf_counter
from types import MappingProxyType

import av
from _common import find_clips, write_result

from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.outputs import open_outputs
from filmgate.core.snapshot import Cursor, Snapshot
from filmgate.core.source_metadata import SourceMetadata
from filmgate.media.pixels.av_frames import extract_planes
from filmgate.media.sinks import ImageOutput

WIDTH, HEIGHT, MB = 832, 1216, 1e6
VIDEOS = ("phalp_vid", "io_cockatoo", "nasa_13013", "sk_bikes", "sam2_bedroom", "pl_driving")
END = Snapshot(Cursor(0, 0), None, (), 0)
IMAGES = (("png", 0), ("png", 1), ("png", 4), ("png", 6), ("png", 9), ("webp", 4), ("tiff", 4))
CODECS = MappingProxyType(
    {
        "ffv1": ("ffv1", "bgr0", {"level": "3", "g": "1", "slicecrc": "1"}),
        "h264, crf 0": ("libx264rgb", "rgb24", {"crf": "0", "preset": "medium"}),
    }
)


def read_frames(path: Path, count: int) -> list[av.VideoFrame]:
    """Return `count` frames spread over the video, in runs of four neighbours."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        scale = max(WIDTH / stream.width, HEIGHT / stream.height)
        wide, high = -(-int(stream.width * scale) // 2) * 2 + 2, int(stream.height * scale) + 2
        left, top = (wide - WIDTH) // 2, (high - HEIGHT) // 2
        taken = []
        for n, frame in enumerate(container.decode(stream)):
            if n % 16 < 4:
                array = frame.reformat(width=wide, height=high, format="rgb24").to_ndarray()
                crop = array[top : top + HEIGHT, left : left + WIDTH].copy()
                taken.append(av.VideoFrame.from_ndarray(crop, "rgb24").reformat(format="gbrp"))
            if len(taken) == count:
                break
    return taken


def write_images(taken: list[av.VideoFrame], kind: str, level: int) -> tuple[float, float]:
    """Return (MB, ms) of a frame written by our image sink with one thread."""
    spec = StreamSpec(
        width=WIDTH, height=HEIGHT, rate=Fraction(25), time_base=Fraction(1, 25), pixels="gbrp"
    )
    with tempfile.TemporaryDirectory() as folder:
        output = ImageOutput(Path(folder) / f"%06d.{kind}", png_level=level)
        times = []
        with open_outputs([output], SourceMetadata(), spec, threads=1) as sink:
            for n, frame in enumerate(taken):
                image = extract_planes(frame, "gbrp", ColorTags())
                begin = perf_counter()
                sink.write([Frame(n, Fraction(n, 25), Fraction(1, 25), image)])
                times.append(perf_counter() - begin)
            sink.commit(END)
        sizes = [path.stat().st_size for path in Path(folder).iterdir()]
    return median(sizes) / MB, median(times) * 1000


def encode_video(taken: list[av.VideoFrame], codec: str) -> tuple[float, float]:
    """Return (MB, ms) of a frame in a video, encoded by one thread."""
    encoder, pixels, options = CODECS[codec]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mkv"
        begin = perf_counter()
        with av.open(str(path), "w") as container:
            stream = container.add_stream(encoder, rate=25, options=options)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
            stream.codec_context.thread_count = 1
            for n, frame in enumerate(taken):
                image = frame.reformat(format=pixels)
                image.pts, image.time_base = n, Fraction(1, 25)
                container.mux(stream.encode(image))
            container.mux(stream.encode(None))
        return path.stat().st_size / len(taken) / MB, (perf_counter() - begin) / len(taken) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, action="append")
    parser.add_argument("--frames", type=int, default=12, help="frames of each video")
    options = parser.parse_args()
    videos = options.video or find_clips(*VIDEOS)
    if not videos:
        print("skipped: no real clips here; pass one with --video")
        return
    rows: dict[str, list[tuple[float, float]]] = {}
    for path in videos:
        taken = read_frames(path, options.frames)
        for kind, level in IMAGES:
            name = f"png {level}" if kind == "png" else kind
            rows.setdefault(name, []).append(write_images(taken, kind, level))
        for codec in CODECS:
            rows.setdefault(codec, []).append(encode_video(taken, codec))
    result = {
        name: {
            "mb": round(median(mb for mb, _ in found), 3),
            "mb_least": round(min(mb for mb, _ in found), 3),
            "mb_most": round(max(mb for mb, _ in found), 3),
            "ms": round(median(ms for _, ms in found), 1),
        }
        for name, found in rows.items()
    }
    for name, row in result.items():
        span = f"({row['mb_least']:.3f} to {row['mb_most']:.3f})"
        print(f"{name:12} {row['mb']:7.3f} MB {span} {row['ms']:8.1f} ms")
    names = [path.name for path in videos]
    print(
        write_result(
            "frames_on_disk", {"videos": names, "frames_each": options.frames, "rows": result}
        )
    )


if __name__ == "__main__":
    main()
