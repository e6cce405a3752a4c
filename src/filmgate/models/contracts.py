"""What a model family provides, and the options it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from filmgate.core.frame import StreamSpec
from filmgate.errors import BadSetting


@dataclass(frozen=True, slots=True)
class MemoryPrediction:
    """What a family would hold on a card: predicted, not measured.

    `way`: "ours", or "plain", the usual loop. `batch`: frames at a time, None for any. `parts`:
    bytes at most while each part is at work, the weights and all else that is held among them.
    """

    way: str
    dtype: str
    flow_scale: Fraction
    batch: int | None
    parts: Mapping[str, int]

    @property
    def peak(self) -> int:
        """Bytes at most."""
        return max(self.parts.values())


@runtime_checkable
class PredictsMemory(Protocol):
    """A task that can say what it would hold on a card, without its weights."""

    def foreseen(self, spec: StreamSpec) -> Sequence[MemoryPrediction]:
        """Predicted for the stream `spec`; empty: nobody can say. Raises UserError."""
        ...


Dtype = Literal["float32", "float16", "bfloat16"]
Flow = Literal["raft_large", "raft_small", "dis"]


@dataclass(frozen=True, slots=True)
class Knobs:
    """What a person may say of a network; None is left to its family.

    `weights`: a file or a folder with it (None: the models folder). `dtype`: of its numbers.
    `tile`: rows of the picture that it looks at at a time, a multiple of 64. `steps`: in which a
    frame is drawn. `flow`: who finds motion for it, with `flow_weights` (None: the models folder),
    on pictures whose sides are `flow_scale` (1 to 1/16) of those of its result.
    """

    weights: Path | None = None
    dtype: Dtype | None = None
    tile: int | None = None
    steps: int | None = None
    flow: Flow | None = None
    flow_weights: Path | None = None
    flow_scale: Fraction | int | None = None

    def __post_init__(self) -> None:
        if self.tile is not None and (self.tile < 64 or self.tile % 64):
            raise BadSetting(f"tile is {self.tile}: wanted 64, 128, 192 ... rows")
        if self.flow == "dis" and self.flow_weights is not None:
            raise BadSetting(f"flow_weights is {self.flow_weights}, and dis has none: leave it out")
        if self.flow_scale is not None and not Fraction(1, 16) <= self.flow_scale <= 1:
            raise BadSetting(f"flow_scale is {self.flow_scale}: wanted 1 to 1/16")


@dataclass(frozen=True, slots=True)
class ByHand:
    """Weights that a person gets and names with --weights: how, and under which licence."""

    how: str
    licence: str


class FrameInterpolator(Protocol):
    """Draws the pictures at `positions` (0 to 1, both excluded) of the way from `a` to `b`.

    Raises FloatingPointError for pictures that are not finite.
    """

    def __call__(
        self, a: object, b: object, positions: Sequence[Fraction], /
    ) -> Sequence[object]: ...


class ImageUpscaler(Protocol):
    """Draws a picture larger: planes to planes of the same format."""

    def __call__(self, image: object, /) -> object: ...
