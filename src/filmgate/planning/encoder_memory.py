"""What an encoder holds in memory, by formula: filled to its depth it could burst the budget."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from filmgate.core.frame import StreamSpec
from filmgate.media.pixels.planes import bits_of
from filmgate.media.sinks import VideoOutput
from filmgate.planning.costs import LinearCost

PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
)  # fmt: skip
# (MB, bytes for each sample), 8 bits, 2 threads, as bench/codec_memory.py measures them.
TABLE: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "h264 ultrafast": (2, 13),
        "h264 superfast": (3, 34),
        "h264 veryfast": (3, 54),
        "h264 faster": (4, 79),
        "h264 fast": (5, 102),
        "h264 medium": (4, 129),
        "h264 slow": (6, 156),
        "h264 slower": (8, 193),
        "h264 veryslow": (0, 276),
        "hevc ultrafast": (23, 81),
        "hevc superfast": (25, 97),
        "hevc veryfast": (37, 122),
        "hevc faster": (38, 121),
        "hevc fast": (38, 120),
        "hevc medium": (42, 138),
        "hevc slow": (45, 154),
        "av1 4": (46, 351),
        "av1 6": (57, 313),
        "av1 8": (33, 273),
        "av1 10": (28, 138),
        "av1 12": (27, 136),
        "vp9": (21, 98),
        "prores": (0, 6),
        "ffv1": (0, 26),
    }
)
USUAL = MappingProxyType({"h264": "medium", "hevc": "medium", "av1": "8"})
MARGIN = 1.03  # over the table: other builds of a codec, other numbers of references
DEEP = 1.77  # what samples of more than 8 bits weigh, measured
THREAD_BYTES = 3.0  # that each thread adds for each pixel, measured


def padded_samples(width: int, height: int, pixels: str) -> float:
    """Samples that weigh like luma: encoders pad pictures, and keep less of the other planes."""
    chroma = 2.0 if "444" in pixels or "gbr" in pixels else 1.0 if "422" in pixels else 0.5
    chroma = 0.0 if "gray" in pixels else chroma
    return (width + 64) * (height + 64) * (1 + 0.56 * chroma)


def held(output: VideoOutput, spec: StreamSpec) -> LinearCost:
    """Bytes that the encoder holds at most, over its threads; of unknown ones as of the largest."""
    codec = output.codec or ("vp9" if output.path.suffix == ".webm" else "h264")
    preset = output.preset or USUAL.get(codec, "")
    same = [row for name, row in TABLE.items() if name.split()[0] == codec]
    fixed_mb, each = TABLE.get(
        f"{codec} {preset}".strip(), max(same or TABLE.values(), key=lambda row: row[1])
    )
    deep = DEEP if bits_of(spec.pixels) > 8 and codec not in ("prores", "ffv1") else 1.0
    deep = 2.0 if bits_of(spec.pixels) > 8 and codec == "ffv1" else deep
    size = MARGIN * (
        fixed_mb * 1e6 + deep * each * padded_samples(spec.width, spec.height, spec.pixels)
    )
    thread = THREAD_BYTES * spec.width * spec.height
    return LinearCost(max(0.0, size - 2 * thread), thread)


def cheaper(output: VideoOutput, spec: StreamSpec) -> Iterator[tuple[str, LinearCost]]:
    """Presets of the same codec that hold less, each with what it holds; the nearest, the last."""
    codec = output.codec or "h264"
    if codec not in ("h264", "hevc"):
        return
    mine = output.preset or USUAL[codec]
    quicker = PRESETS[: PRESETS.index(mine)] if mine in PRESETS else ()
    for preset in dict.fromkeys((quicker[-1], quicker[0]) if quicker else ()):
        yield preset, held(VideoOutput(output.path, codec=codec, preset=preset), spec)
