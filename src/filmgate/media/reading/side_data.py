"""Side data of decoded frames and of streams: what is kept, and what to report about the rest."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import cos, radians, sin
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from filmgate.errors import Unsupported
from filmgate.media.reading.decoded_frame import DecodedFrame
from filmgate.media.reading.stream_header import DolbyVision, StreamHeader

UNKNOWN = "UNKNOWN"  # a kind that FFmpeg has and PyAV has no name for


@dataclass(frozen=True, slots=True)
class SideDataKind:
    """What one kind of side data is, in words, and whether outputs keep it.

    `is_content` tells from the bytes whether it says something; codecs add some to every frame.
    """

    text: str
    kept: bool = False
    is_content: Callable[[bytes], bool] = bool


# What the bytes of a kind say; sources are the structures of libavutil.
def _is_pan_scan(data: bytes) -> bool:
    """Whether the window is moved (AVPanScan: id, width, height, then 3 positions of 16 bits)."""
    return any(data[12:24])


def _is_active_format(data: bytes) -> bool:
    """Whether it is not the full frame (ETSI TS 101 154, annex B)."""
    return data[:1] not in (b"", b"\0", b"\x08")


def _is_no_content(data: bytes) -> bool:
    """Every group of MPEG-2 frames has a time code, which mostly just counts frames."""
    return False


def _is_stereo(data: bytes) -> bool:
    """Whether there is more than one view (AVStereo3D starts with its type)."""
    return any(data[:4])


def _is_user_data(data: bytes) -> bool:
    """Whether it is more than an encoder's own settings, which x264 and x265 write."""
    return data[:16].hex() not in (
        "dc45e9bde6d948b7962cd820d923eeef", "2ca2de09b51747dbbb55a4fe7fc2fc4e",
    )  # fmt: skip


# Every kind that PyAV shows, by its name there.
FRAME_KINDS: Mapping[str, SideDataKind] = MappingProxyType(
    {
        "DISPLAYMATRIX": SideDataKind("rotation", kept=True),
        "MASTERING_DISPLAY_METADATA": SideDataKind("the mastering display", kept=True),
        "CONTENT_LIGHT_LEVEL": SideDataKind("the light level", kept=True),
        "A53_CC": SideDataKind("closed captions", kept=True),
        "PANSCAN": SideDataKind("pan and scan positions", is_content=_is_pan_scan),
        "STEREO3D": SideDataKind("the layout of the two views of 3D", is_content=_is_stereo),
        "SPHERICAL": SideDataKind("the projection of 360 degree video"),
        "AFD": SideDataKind("the active format description", is_content=_is_active_format),
        "GOP_TIMECODE": SideDataKind("time codes in groups", is_content=_is_no_content),
        "S12M_TIMECODE": SideDataKind("time codes in frames"),
        "ICC_PROFILE": SideDataKind("the ICC colour profile"),
        "DYNAMIC_HDR_PLUS": SideDataKind("HDR10+ metadata of each scene"),
        "DYNAMIC_HDR_VIVID": SideDataKind("HDR Vivid metadata of each scene"),
        "DOVI_RPU_BUFFER": SideDataKind("Dolby Vision metadata"),
        "DOVI_METADATA": SideDataKind("Dolby Vision metadata"),
        "AMBIENT_VIEWING_ENVIRONMENT": SideDataKind("the ambient light of the viewing environment"),
        "FILM_GRAIN_PARAMS": SideDataKind("grain parameters"),
        "SEI_UNREGISTERED": SideDataKind("user data in SEI messages", is_content=_is_user_data),
        "REGIONS_OF_INTEREST": SideDataKind("regions of interest"),
        "DETECTION_BBOXES": SideDataKind("boxes of detected objects"),
        "MOTION_VECTORS": SideDataKind("motion vectors"),
        "VIDEO_ENC_PARAMS": SideDataKind("encoder parameters"),
        "VIDEO_HINT": SideDataKind("hints for encoders"),
        "MATRIXENCODING": SideDataKind("the matrix encoding of audio"),
        "DOWNMIX_INFO": SideDataKind("downmix levels of audio"),
        "REPLAYGAIN": SideDataKind("the replay gain of audio"),
        "SKIP_SAMPLES": SideDataKind("audio samples to skip"),
        "AUDIO_SERVICE_TYPE": SideDataKind("the service type of audio"),
        "LCEVC": SideDataKind("the LCEVC layer, which adds resolution"),
        "VIEW_ID": SideDataKind("the number of the view"),
        "REFERENCE_DISPLAYS": SideDataKind("reference displays"),
        "EXIF": SideDataKind("EXIF metadata"),
    }
)
_UNKNOWN_KIND = SideDataKind("side data of a kind that PyAV does not know")
# Kinds of FFmpeg 8 that PyAV 18.1 has no name for, by number.
_UNNAMED = MappingProxyType({28: "LCEVC", 29: "VIEW_ID", 30: "REFERENCE_DISPLAYS", 31: "EXIF"})
_OWN_COLOURS = frozenset({5, 10, 20})  # profiles that may have a base layer for no other system
_BASE_LAYERS = MappingProxyType({1: "HDR10", 2: "SDR", 4: "HLG", 6: "HDR10"})


def read_side_data(
    frame: VideoFrame, reformatter: VideoReformatter | None = None
) -> dict[str, bytes]:
    """Return the frame's side data by PyAV's name of the kind, without what says nothing.

    Where a frame has a kind that PyAV has no name for, it shows none: that kind and the rotation
    are returned, the kind as UNKNOWN if it is not one of FFmpeg 8. Faster with a `reformatter`
    that is used again.
    """
    try:
        # PyAV's side data and its frame hold each other: a tiny copy is left to the collector.
        tiny = (reformatter or VideoReformatter()).reformat(
            frame, 16, 16, "gray", interpolation="POINT", threads=1
        )
    except (av.FFmpegError, ValueError):  # a format that cannot be converted
        tiny = frame
    try:
        items: Any = list(tiny.side_data)  # by type a mapping, despite its stub
    except ValueError as error:  # "31 is not a valid Type"
        number = str(error).partition(" ")[0]
        unnamed = _UNNAMED.get(int(number), UNKNOWN) if number.isdecimal() else UNKNOWN
        turned = {"DISPLAYMATRIX": _make_matrix(frame.rotation)} if frame.rotation else {}
        return {unnamed: number.encode(), **turned}
    found = {item.type.name: bytes(item) for item in items}
    return {name: data for name, data in found.items() if find_kind(name).is_content(data)}


def find_kind(name: str) -> SideDataKind:
    """Return what is known of a kind of side data."""
    return FRAME_KINDS.get(name, _UNKNOWN_KIND)


class SideDataWatch:
    """Notices each kind of side data when it first appears; those `reported` are known."""

    def __init__(self, reported: frozenset[str] = frozenset()) -> None:
        self._known, self._reformatter = set(reported), VideoReformatter()

    def check(self, frame: VideoFrame) -> tuple[list[str], bytes]:
        """Return messages about the kinds that are new in this frame and left out, and captions."""
        found = read_side_data(frame, self._reformatter)
        new = found.keys() - self._known
        self._known |= new
        return describe_losses(new), found.get("A53_CC", b"")


@dataclass(frozen=True, slots=True)
class LostProperties:
    """What outputs do not keep: the `kinds` in the first frame, and messages about the header."""

    kinds: frozenset[str]
    header: tuple[str, ...]

    @property
    def messages(self) -> tuple[str, ...]:
        """What to report about the start of the video."""
        return (*self.header, *describe_losses(self.kinds))


def report_side_data(
    frames: Iterator[DecodedFrame], reported: frozenset[str]
) -> Iterator[DecodedFrame]:
    """Yield the frames with captions, and notices of what is left out, but of kinds `reported`."""
    watch = SideDataWatch(reported)
    for decoded in frames:
        losses, captions = watch.check(decoded.frame)
        if losses or captions:
            notice = "; ".join(filter(None, (decoded.notice, *losses)))
            # a frame that repeats another one does not say its captions again
            decoded = replace(decoded, notice=notice, captions=captions * decoded.original)
        yield decoded


def describe_losses(names: Iterable[str]) -> list[str]:
    """Return a message about each kind of side data in `names` that outputs do not keep."""
    lost = [find_kind(name) for name in sorted(names)]
    texts = dict.fromkeys(kind.text for kind in lost if not kind.kept)
    return [f"{text} {_verb(text)} left out: outputs do not store this" for text in texts]


def _verb(text: str) -> str:
    return "are" if text.endswith("s") else "is"


def describe_header(header: StreamHeader) -> list[str]:
    """Return messages about what the header says and outputs do not keep."""
    messages = []
    if header.crop:
        sides = ", ".join(f"{count} at the {side}" for side, count in header.crop)
        messages.append(f"the header crops pixels ({sides}): they are kept and processed")
    dolby = header.dolby_vision
    if dolby is not None:
        base = _BASE_LAYERS.get(dolby.compatibility, "by its colour tags")
        messages.append(f"Dolby Vision (profile {dolby.profile}) is left out: its base layer is "
                        f"processed, which is {base}")  # fmt: skip
    return messages


def check_dolby_vision(path: Path, header: StreamHeader, side_data: Mapping[str, bytes]) -> None:
    """Raise Unsupported if colours are wrong without the Dolby Vision metadata, as in profile 5."""
    dolby = header.dolby_vision or _guess_profile(side_data.get("DOVI_METADATA", b""))
    if dolby is not None and dolby.profile in _OWN_COLOURS and dolby.compatibility == 0:
        raise Unsupported(
            f"{path} is Dolby Vision of profile {dolby.profile}, wanted one with a base layer in "
            "HDR10, HLG or SDR: its colours are only right with metadata that is not applied here. "
            "Convert it to HDR10 first, for example with ffmpeg -vf libplacebo"
        )


def _guess_profile(metadata: bytes) -> DolbyVision | None:
    """Return profile 5 if FFmpeg's metadata of a frame (AVDOVIMetadata) is of it, else None.

    Its RPU header names profile 0 and a base layer of full range.
    """
    if len(metadata) < 8:
        return None
    (at,) = struct.unpack_from("=Q", metadata)
    header = metadata[at : at + 11]
    return DolbyVision(5, 0) if len(header) == 11 and not header[4] and header[10] else None


def _make_matrix(rotation: int) -> bytes:
    """Return FFmpeg's display matrix that rotates by so many degrees counter-clockwise."""
    angle = radians(rotation)
    across, down = round(cos(angle) * 65536), round(sin(angle) * 65536)
    return struct.pack("=9i", across, -down, 0, down, across, 0, 0, 0, 1 << 30)
