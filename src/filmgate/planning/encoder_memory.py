"""Predict an encoder's memory from a table: to measure it would mean to fill it first."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from filmgate.core.frame import StreamSpec
from filmgate.media.pixels.format_names import get_bit_depth
from filmgate.media.sinks import VideoOutput
from filmgate.planning.costs import LinearCost

PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
)  # fmt: skip
# (MB, bytes per sample) for 8 bits and 2 threads, measured by bench/codec_memory.py.
TABLE: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "h264 ultrafast": (3, 19),
        "h264 superfast": (4, 46),
        "h264 veryfast": (4, 73),
        "h264 faster": (4, 96),
        "h264 fast": (5, 121),
        "h264 medium": (5, 148),
        "h264 slow": (7, 174),
        "h264 slower": (9, 210),
        "h264 veryslow": (0, 310),
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
DEFAULT_PRESETS = MappingProxyType({"h264": "medium", "hevc": "medium", "av1": "8"})
MARGIN = 1.03  # over the table: other builds of a codec, other numbers of references
DEEP_FACTOR = 1.77  # memory of samples of more than 8 bits, measured
# That each thread adds per pixel, measured: x264's threads have a frame each.
THREAD_BYTES = MappingProxyType({"h264": 11.0})
OTHER_THREAD_BYTES = 3.0


def count_padded_samples(width: int, height: int, pixels: str) -> float:
    """Return the number of luma samples that weigh as much as a frame with its encoder's padding.

    Encoders keep less of the chroma planes.
    """
    chroma = 2.0 if "444" in pixels or "gbr" in pixels else 1.0 if "422" in pixels else 0.5
    chroma = 0.0 if "gray" in pixels else chroma
    return (width + 64) * (height + 64) * (1 + 0.56 * chroma)


def predict_encoder_memory(output: VideoOutput, spec: StreamSpec) -> LinearCost:
    """Return the peak bytes of the encoder over its threads.

    A preset that is not in the table costs as much as the largest of its codec.
    """
    codec = output.codec or ("vp9" if output.path.suffix == ".webm" else "h264")
    preset = output.preset or DEFAULT_PRESETS.get(codec, "")
    same = [row for name, row in TABLE.items() if name.split()[0] == codec]
    fixed_mb, per_sample = TABLE.get(
        f"{codec} {preset}".strip(), max(same or TABLE.values(), key=lambda row: row[1])
    )
    deep = 1.0
    if get_bit_depth(spec.pixels) > 8:
        deep = {"prores": 1.0, "ffv1": 2.0}.get(codec, DEEP_FACTOR)
    samples = count_padded_samples(spec.width, spec.height, spec.pixels)
    size = MARGIN * (fixed_mb * 1e6 + deep * per_sample * samples)
    thread = THREAD_BYTES.get(codec, OTHER_THREAD_BYTES) * spec.width * spec.height
    return LinearCost(max(0.0, size - 2 * thread), thread)


def iter_cheaper_presets(output: VideoOutput, spec: StreamSpec) -> Iterator[tuple[str, LinearCost]]:
    """Yield two presets of the same codec that hold less, with what they hold: nearest, smallest.

    Nothing for codecs whose presets are not names of x264 and x265.
    """
    codec = output.codec or "h264"
    if codec not in ("h264", "hevc"):
        return
    current = output.preset or DEFAULT_PRESETS[codec]
    faster = PRESETS[: PRESETS.index(current)] if current in PRESETS else ()
    for preset in dict.fromkeys((faster[-1], faster[0]) if faster else ()):
        cheaper = VideoOutput(output.path, codec=codec, preset=preset)
        yield preset, predict_encoder_memory(cheaper, spec)
