"""The task `animate`: a portrait that moves like the person in a video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, ClassVar, Literal

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import Task
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage
from filmgate.core.wrappers.model_stage import ModelStage
from filmgate.errors import BadSetting, FilmgateError
from filmgate.media.images.image_file import ImageFile
from filmgate.media.pixels.color_tags import resize_color_tags
from filmgate.media.records.record_file import RecordFile
from filmgate.models.compiling.shapes import FixedShapes
from filmgate.models.contracts import AnimationRequest, Face, Family, FindFace, MemoryPrediction
from filmgate.models.registry import build_tracker, find_family, find_weight_files
from filmgate.tasks.model_task import ModelTask
from filmgate.tasks.settings import FLAT

_FINDERS = ("face_mesh", "insightface")
SIZES = range(64, 1025, 64)
MOST_KEYFRAMES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Animate(ModelTask):
    """Move a portrait like the person in a video."""

    portrait: ImageFile | None = None
    """The image of a face."""

    model: str = "personalive"
    """The model: a family (filmgate models lists all)."""

    options: Any = field(default=None, metadata=FLAT)
    """Options of the model's family. Default: the family's defaults."""

    size: int = 512
    """Width and height of the animated square in pixels: 64, 128 ... 1024. It was trained for
    512."""

    keyframes: int = MOST_KEYFRAMES
    """How many frames are remembered by their looks when the pose is new: 0 to 3. Fewer take less
    time and memory."""

    paste_back: bool = False
    """Put the animated square back into the portrait: the result has the portrait's size."""

    region: str | None = None
    """The square of the portrait that moves: left,top,side in pixels. Default: the largest one in
    the middle."""

    finder: Literal["auto", "face_mesh", "insightface", "own"] = "auto"
    """What finds the driver's face: face_mesh; insightface, for non-commercial research only; or
    own, the model's own points, for videos of a face in the middle. auto: face_mesh if it is
    installed and its weights are here, own otherwise."""

    faces: RecordFile | None = None
    """Boxes of the driver's face in place of a finder's: JSON Lines with "frame" and "box", or text
    of the MOT challenge. Frames count from the first that is read."""

    box: str | None = None
    """The box of the driver's face in all frames: left,top,width,height in pixels."""

    device: str = "auto"
    """Where the model runs: auto (the GPU if there is one), cpu, cuda, cuda:1 or mps."""

    inputs: ClassVar[tuple[str, ...]] = ("portrait", "driving")

    def __post_init__(self) -> None:
        self.check_model()
        if self.size not in SIZES:
            raise BadSetting(f"size is {self.size}: pass {SIZES[0]}, {SIZES[1]} ... {SIZES[-1]}")
        if not 0 <= self.keyframes <= MOST_KEYFRAMES:
            raise BadSetting(f"keyframes is {self.keyframes}: pass 0 to {MOST_KEYFRAMES}")
        parse_region(self.region)
        parse_box(self.box)
        given = {"faces": self.faces is not None, "box": self.box is not None,
                 "finder": self.finder != "auto"}  # fmt: skip
        names = [name for name, is_given in given.items() if is_given]
        if len(names) > 1:
            raise BadSetting(f"there are {' and '.join(names)}: the driver's face is found in one "
                             "way, so omit the others")  # fmt: skip

    @property
    def time_scale(self) -> Fraction:
        return Fraction(1)

    @classmethod
    def supports(cls, family: Family) -> bool:
        """Return whether the family animates portraits."""
        return family.build_animator is not None

    def iter_models(self) -> Iterator[tuple[str, Any]]:
        """See `ModelTask.iter_models`; what finds faces is one of them."""
        yield self.model, self.options
        if self._chosen_finder:
            yield self._chosen_finder, None

    def check_weights(self) -> None:
        """See `ModelTask.check_weights`."""
        list(self.find_weight_files())

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        """Find the driver's face, then animate the portrait."""
        placement = self.place(models)
        build = find_family(self.model).build_animator
        assert build is not None
        options = self.options or find_family(self.model).options()
        stage = build(spec, self._make_request(spec), options, placement)
        model = ModelStage(
            stage,
            settings=f"{self.describe_settings(placement)} {spec.seed} {self._hash_inputs()}",
            weights=self.hash_weights(),
            checks=("finite",),
            label="animate",
        )
        if not self._chosen_finder:
            return (model,)
        return (build_tracker(self._chosen_finder, None, placement), model)

    @property
    def _chosen_finder(self) -> str:
        """The family that finds the face, "" if there is none."""
        if self.faces is not None or self.box is not None:
            return ""
        if self.finder in _FINDERS:
            return self.finder
        return _FINDERS[0] if self.finder == "auto" and _is_ready(_FINDERS[0]) else ""

    def _make_request(self, spec: StreamSpec) -> AnimationRequest:
        if self.portrait is None:
            raise BadSetting("there is no portrait: pass the path of an image")
        region, box = parse_region(self.region), parse_box(self.box)
        return AnimationRequest(
            portrait=self.portrait.read(), size=self.size, keyframes=self.keyframes,
            region=region, paste_back=self.paste_back, find_face=self._make_finder(box),
        )  # fmt: skip

    def _make_finder(self, box: Face | None) -> FindFace | None:
        """Return what tells where the driver's face is; None: the model does."""
        if self.faces is not None:
            from filmgate.media.records.box_reader import read_boxes

            table = read_boxes(self.faces.path)
            return lambda frame: _find_largest(
                table.boxes[row].tolist() for row in table.find_rows(frame.index)
            )
        if box is not None:
            return lambda frame: box
        return _find_recorded if self._chosen_finder else None

    def _hash_inputs(self) -> str:
        """Return what the contents of the further inputs change in results, for cache keys."""
        from filmgate.storage.fingerprint import sha256_of

        files = [one.path for one in (self.portrait, self.faces) if one is not None]
        return " ".join(map(sha256_of, files))

    def describe_output(self, spec: StreamSpec) -> StreamSpec:
        """Return the stream that comes out: a square, or of the portrait's size."""
        width = height = self.size
        if self.paste_back and self.portrait is not None:
            width, height = self.portrait.read().size
        colour = resize_color_tags(spec, width, height)
        return replace(spec, width=width, height=height, colour=colour)

    def predict_memory(self, spec: StreamSpec) -> tuple[MemoryPrediction, ...]:
        """Predict the model's memory on a GPU, without weights; empty if unknown."""
        family = find_family(self.model)
        if family.predict_animation is None:
            return ()
        options = self.options or family.options()
        return tuple(family.predict_animation(spec, self.size, self.keyframes, options))

    def fix_shapes(self, frame: tuple[int, int] | None) -> FixedShapes:
        """See `ModelTask.fix_shapes`."""
        return FixedShapes(size=self.size, keyframes=self.keyframes)

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the frames: none is added, dropped or moved."""
        yield from frames


def parse_region(text: str | None) -> tuple[int, int, int] | None:
    """Return left, top and side of a square that is written as such. Raises BadSetting."""
    if text is None:
        return None
    numbers = _parse_numbers(text, 3)
    if numbers is None or min(numbers[:2]) < 0 or numbers[2] < 16:
        raise BadSetting(f"region is {text!r:.60}, wanted left,top,side of a square in pixels, 16 "
                         "or more on a side, such as 40,0,480")  # fmt: skip
    left, top, side = (int(number) for number in numbers)
    return left, top, side


def parse_box(text: str | None) -> Face | None:
    """Return left, top, width and height of a box that is written as such. Raises BadSetting."""
    if text is None:
        return None
    numbers = _parse_numbers(text, 4)
    if numbers is None or min(numbers[2:]) < 8:
        raise BadSetting(f"box is {text!r:.60}, wanted left,top,width,height of a face in pixels, "
                         "8 or more wide and high, such as 9,9,99,99")  # fmt: skip
    left, top, width, height = numbers
    return left, top, width, height


def _parse_numbers(text: str, count: int) -> list[float] | None:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return None
    good = len(numbers) == count and all(abs(number) < 1e6 for number in numbers)
    return numbers if good else None


def _find_recorded(frame: Frame) -> Face | None:
    """Return the largest face among the frame's records."""
    records: Any = frame.extras.get("records", ())
    return _find_largest(one["box"] for one in records if one.get("kind") == "face")


def _find_largest(boxes: Iterable[Any]) -> Face | None:
    found = max(boxes, key=lambda box: box[2] * box[3], default=None)
    return None if found is None else (found[0], found[1], found[2], found[3])


def _is_ready(name: str) -> bool:
    """Return whether a family can run here: its libraries and its weights are there."""
    from importlib.util import find_spec

    try:
        list(find_weight_files(name))
    except FilmgateError:
        return False
    return find_spec("ai_edge_litert") is not None


TASK: type[Task] = Animate
