"""Codecs for outputs: FFmpeg's encoders with their options for quality and speed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_X26X = ("ultrafast", "superfast", "veryfast", "faster", "fast",
         "medium", "slow", "slower", "veryslow", "placebo")  # fmt: skip
_PRORES = ("proxy", "lt", "standard", "hq", "4444", "4444xq")

# Other names of codecs: those of encoders, and those that people use.
_OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("x264", "libx264", "avc", "avc1", "h.264", "264", "openh264"), "h264"),
        **dict.fromkeys(("h265", "x265", "libx265", "h.265", "265", "hvc1", "hev1"), "hevc"),
        **dict.fromkeys(("libsvtav1", "svtav1", "svt-av1", "libaom-av1", "aom", "librav1e", "rav1e",
                         "av01", "libdav1d"), "av1"),
        **dict.fromkeys(("libvpx-vp9", "libvpx", "vp09", "vpx"), "vp9"),
        **dict.fromkeys(("prores_ks", "prores_aw", "apple_prores", "prores422"), "prores"),
        **dict.fromkeys(("nvenc", "h264_cuda", "nvenc_h264", "h264_cuvid"), "h264_nvenc"),
        **dict.fromkeys(("nvenc_hevc", "h265_nvenc", "hevc_cuvid"), "hevc_nvenc"),
        **dict.fromkeys(("h265_qsv",), "hevc_qsv"),
        **dict.fromkeys(("h265_videotoolbox", "videotoolbox"), "hevc_videotoolbox"),
        **dict.fromkeys(("raw", "yuv4mpegpipe"), "rawvideo"),
        **dict.fromkeys(("lossless", "huffyuv", "ffvhuff", "utvideo"), "ffv1"),
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One codec: FFmpeg's `encoder`, and the names of its options for quality and speed.

    `crf` is the default quality and `worst` the largest allowed one (None: the codec has none).
    `options` are passed to the encoder. `exact`: the same frames and threads give the same packets.
    """

    encoder: str
    quality: str = "crf"
    crf: int | None = None
    worst: int = 51
    effort: str = "preset"
    preset: str | None = None
    presets: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    exact: bool = True


def _define_gpu_codec(encoder: str, quality: str, **options: str) -> Codec:
    """Return a GPU encoder: its packets may differ between runs."""
    return Codec(encoder=encoder, quality=quality, crf=23, options=options, exact=False)


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        "h264": Codec(encoder="libx264", crf=18, preset="medium", presets=_X26X),
        "hevc": Codec(encoder="libx265", crf=18, preset="medium", presets=_X26X),
        "av1": Codec(encoder="libsvtav1", crf=25, worst=63, preset="8",
                     presets=tuple(map(str, range(14)))),
        "vp9": Codec(encoder="libvpx-vp9", crf=24, worst=63, effort="cpu-used", preset="4",
                     presets=tuple(map(str, range(9))), options={"b": "0", "deadline": "good"}),
        "prores": Codec(encoder="prores_ks", effort="profile", presets=_PRORES,
                        options={"vendor": "apl0"}),
        "ffv1": Codec(encoder="ffv1", options={"level": "3", "slicecrc": "1", "g": "1"}),
        "rawvideo": Codec(encoder="rawvideo"),
        "h264_nvenc": _define_gpu_codec("h264_nvenc", "cq", rc="vbr", b="0", forced_idr="1"),
        "hevc_nvenc": _define_gpu_codec("hevc_nvenc", "cq", rc="vbr", b="0", forced_idr="1"),
        "av1_nvenc": _define_gpu_codec("av1_nvenc", "cq", rc="vbr", b="0"),
        "h264_qsv": _define_gpu_codec("h264_qsv", "global_quality"),
        "hevc_qsv": _define_gpu_codec("hevc_qsv", "global_quality"),
        "av1_qsv": _define_gpu_codec("av1_qsv", "global_quality"),
        "h264_videotoolbox": _define_gpu_codec("h264_videotoolbox", "q"),
        "hevc_videotoolbox": _define_gpu_codec("hevc_videotoolbox", "q"),
    }
)  # fmt: skip


def suggest_codec(name: str) -> str:
    """Return what to pass in place of a codec that is none of CODECS; "" if nothing is known."""
    if name.lower() == "copy":
        return "frames are always encoded again; pass one of " + ", ".join(CODECS)
    other = name.lower() if name.lower() in CODECS else _OTHER_NAMES.get(name.lower(), "")
    return f"it is called {other} here, pass {other}" if other else ""
