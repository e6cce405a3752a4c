"""Try encoders: one may be in the library and not open, as those of GPUs without a driver."""

from __future__ import annotations

import os
from fractions import Fraction

import av
import av.logging
from av.video.codeccontext import VideoCodecContext

from filmgate.media.codecs import CODECS
from filmgate.media.writing.thread_priority import keep_priority

# Every encoder takes this size; those of GPUs refuse small ones.
_WIDTH, _HEIGHT = 640, 384
_PREFERRED = ("nv12", "yuv420p", "yuv422p10le")
_REMEDIES = {
    "nvenc": "it needs an NVIDIA GPU and its driver",
    "qsv": "it needs an Intel GPU and its driver",
    "videotoolbox": "it needs macOS",
}


def explain_encoder(codec: str) -> str:
    """Return why the encoder of a codec cannot be used here, "" if it can: it is opened to see."""
    encoder = CODECS[codec].encoder
    needs = _REMEDIES.get(encoder.partition("_")[2], "this FFmpeg was built without it")
    if encoder not in av.codecs_available:
        return f"{encoder} is not in this FFmpeg: {needs}"
    formats = [one.name for one in av.Codec(encoder, "w").video_formats or ()]
    pixels = next((name for name in _PREFERRED if name in formats), formats[0] if formats else "")
    os.environ.setdefault("SVT_LOG", "1")  # else it prints a banner
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        context = VideoCodecContext.create(encoder, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.pix_fmt = _WIDTH, _HEIGHT, pixels or "yuv420p"
        context.time_base = Fraction(1, 30)
        context.thread_count = 1
        if encoder == "libx265":
            context.options = {"x265-params": "log-level=none"}
        with av.logging.Capture() as lines, keep_priority():
            context.open()
    except (av.FFmpegError, OSError, ValueError) as error:
        said = [text.strip() for _, name, text in lines if name == encoder and text.strip()]
        reason = said[0] if said else getattr(error, "strerror", "") or str(error)
        return f"{encoder} does not open, FFmpeg says {reason[:200].rstrip('.')!r}: {needs}"
    finally:
        av.logging.set_level(level)
    return ""
