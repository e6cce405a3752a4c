"""The values that run through the gate: a frame, where it stands, what its stream looks like."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from types import MappingProxyType

# What stages may learn about a frame and pass on. A model family may add "family.key".
EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "cut": "bool; true on the first frame of a new shot, never on the first of the film",
        "flow_prev": "tensor (2, H, W) float32, x first; pixels from here to the frame before",
        "concealed": "str; the source is damaged here and this frame stands in: what is wrong",
        "occluded": "tensor (H, W) bool; what is seen here was not seen in the frame before",
        "noted": "str; what a person should know of the source from this frame on",
    }
)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a frame stands: its number in the stream (from 0) and its time (exact seconds)."""

    index: int
    time: Fraction


@dataclass(frozen=True, slots=True)
class ColorTags:
    """How numbers mean colours, in FFmpeg's words ("bt709", "tv" ...); "unknown" where untold.

    `matrix` (colorspace), `primaries`, `transfer` (trc), `range` ("tv" limited, "pc" full),
    `siting` (where chroma samples lie: "left", "center", "topleft"). ITU-T H.273.
    """

    matrix: str = "unknown"
    primaries: str = "unknown"
    transfer: str = "unknown"
    range: str = "unknown"
    siting: str = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """What a stream looks like, known before its first frame.

    `rate` is frames per second, None where it varies; every time in the stream is a multiple of
    `time_base` (seconds). `pixels` is the pixel format as decoded ("yuv420p10le") or "rgb" for a
    tensor (3, H, W) in [0, 1]. `frames` is a hint: what counts is frames decoded and shown. `seed`
    is the job's: all chance in its stages comes of it (see noise.py).
    """

    width: int
    height: int
    rate: Fraction | None
    time_base: Fraction
    pixels: str
    dtype: str = "uint8"
    device: str = "cpu"
    colour: ColorTags = ColorTags()
    frames: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture and when it is shown.

    `index` is absolute and consecutive in its stream; adapters number frames, users' functions do
    not. `time` and `duration` are exact seconds; time 0 is the first frame shown. A frame lasts
    until the next one's time, the last as its packet says. `image` holds the planes as decoded or
    a tensor; nobody writes into it. `extras` is what was learnt about the frame (keys: EXTRAS).
    """

    index: int
    time: Fraction
    duration: Fraction
    image: object
    extras: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in self.extras:
            if key not in EXTRAS and "." not in key:
                raise KeyError(f"extra {key!r}: the core knows {sorted(EXTRAS)}, a family's own "
                               f"is named 'family.{key}'")  # fmt: skip

    @property
    def end(self) -> Fraction:
        """When it stops being shown, in seconds."""
        return self.time + self.duration

    @property
    def position(self) -> Position:
        """Its number and time."""
        return Position(self.index, self.time)

    def made(
        self,
        image: object,
        *,
        time: Fraction | None = None,
        duration: Fraction | None = None,
        keep: tuple[str, ...] = (),
    ) -> "Frame":
        """A new picture in this one's place; extras are dropped unless `keep` names them."""
        return replace(
            self,
            image=image,
            time=self.time if time is None else time,
            duration=self.duration if duration is None else duration,
            extras={key: self.extras[key] for key in keep if key in self.extras},
        )

    def learnt(self, **extras: object) -> "Frame":
        """The same picture, with more known about it."""
        return replace(self, extras={**self.extras, **extras})
