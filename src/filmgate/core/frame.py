"""The values that pass through a chain: a frame, its position, and the format of its stream."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from types import MappingProxyType

# What stages may attach to a frame and pass on. A model family may add "family.key".
EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "cut": "bool; true on the first frame of a new shot, never on the first of the video",
        "flow_prev": "tensor (2, H, W) float32, x first; pixels from here to the previous frame",
        "concealed": "str; the source is damaged here and this is a replacement frame: the reason",
        "occluded": "tensor (H, W) bool; pixels that were not visible in the previous frame",
        "notice": "str; what the user should know about the source from this frame on",
        "remark": "str; what the user should know about the result around this frame",
        "captions": "bytes; closed captions that come with the frame, as in ATSC A/53, part 4",
        "records": "tuple of dicts of plain values; what a task found in this frame",
    }
)


@dataclass(frozen=True, slots=True)
class Position:
    """A frame's index in its stream (from 0) and its time (exact seconds)."""

    index: int
    time: Fraction


@dataclass(frozen=True, slots=True, repr=False)
class ColorTags:
    """Colour metadata in FFmpeg's names ("bt709", "tv", ...); "unknown" if the file has none.

    `matrix` (colorspace), `primaries`, `transfer` (trc), `range` ("tv" limited, "pc" full),
    `siting` (chroma sample location: "left", "center", "topleft"). Source: ITU-T H.273.
    """

    matrix: str = "unknown"
    primaries: str = "unknown"
    transfer: str = "unknown"
    range: str = "unknown"
    siting: str = "unknown"

    def __repr__(self) -> str:
        values = ((item.name, getattr(self, item.name)) for item in fields(self))
        known = [f"{name}={value!r}" for name, value in values if value != "unknown"]
        return f"ColorTags({', '.join(known)})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class StreamSpec:
    """The format of a stream, known before its first frame.

    `rate` is in frames per second, None if it varies; every time is a multiple of `time_base`
    (seconds). `pixels` is FFmpeg's pixel format ("yuv420p10le"), or "rgb" for tensors (3, H, W)
    in [0, 1]. `frames` is an estimate of the frame count. `seed` is the job's: all noise in its
    stages derives from it (see models/diffusion/noise.py).
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

    def __repr__(self) -> str:
        rate = "variable rate" if self.rate is None else f"{float(self.rate):.6g} fps"
        parts = [f"{self.width}x{self.height} {self.pixels} {self.dtype}", rate]
        parts += [] if self.frames is None else [f"about {self.frames} frames"]
        parts += [] if self.device == "cpu" else [self.device]
        return f"StreamSpec({', '.join(parts)})"


@dataclass(frozen=True, slots=True, repr=False)
class Frame:
    """An image and when it is shown. Never write into `image`: frames are shared.

    `index` is absolute and consecutive in its stream; adapters set it, user functions need not.
    `time` and `duration` are exact seconds, time 0 is the first frame. A frame lasts until the
    next one's time, the last one as long as its packet says. `image` holds decoded planes or a
    tensor. `extras` is what stages attached to the frame; keys are listed in EXTRAS.
    """

    index: int
    time: Fraction
    duration: Fraction
    image: object
    extras: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in self.extras:
            if key not in EXTRAS and "." not in key:
                raise KeyError(f"unknown extra {key!r}: use one of {sorted(EXTRAS)}, or name it "
                               f"'family.{key}' for a model family's own")  # fmt: skip

    def __repr__(self) -> str:
        times = f"{float(self.time):.6g} s + {float(self.duration):.6g} s"
        extras = "".join(f", {name}" for name in self.extras)
        return f"Frame({self.index}: {times}, {_describe_image(self.image)}{extras})"

    @property
    def end(self) -> Fraction:
        """The time at which the frame is no longer shown, in seconds."""
        return self.time + self.duration

    @property
    def position(self) -> Position:
        """The frame's index and time."""
        return Position(self.index, self.time)

    def with_image(
        self,
        image: object,
        *,
        time: Fraction | None = None,
        duration: Fraction | None = None,
        keep: tuple[str, ...] = (),
    ) -> "Frame":
        """Return a copy with another image; extras are dropped unless named in `keep`."""
        return replace(
            self,
            image=image,
            time=self.time if time is None else time,
            duration=self.duration if duration is None else duration,
            extras={key: self.extras[key] for key in keep if key in self.extras},
        )

    def with_extras(self, **extras: object) -> "Frame":
        """Return a copy with these extras added or replaced."""
        return replace(self, extras={**self.extras, **extras})

    def with_remark(self, text: str) -> "Frame":
        """Return a copy with a remark, after those it has; a run reports it when it leaves."""
        earlier = str(self.extras.get("remark", ""))
        return self.with_extras(remark="; ".join(filter(None, (earlier, text))))


def _describe_image(image: object) -> str:
    """Return an array or tensor as its type, shape and dtype: its values are thousands."""
    shape = getattr(image, "shape", None)
    if shape is None:
        return f"{image!r:.60}"
    dtype = str(getattr(image, "dtype", "")).removeprefix("torch.")
    return f"{type(image).__name__}{tuple(shape)} {dtype}"
