"""The task `lipsync`: new speech for a video; the lips of one person follow it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import Task
from filmgate.core.join import Join
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage
from filmgate.errors import BadSetting
from filmgate.flow.constant_rate import ConstantRate
from filmgate.media.audio.audio_file import AudioFile
from filmgate.media.records.record_file import RecordFile
from filmgate.models.contracts import Family, LipSyncRequest, LipSyncTiming, MemoryPrediction
from filmgate.models.lip_sync import build_lip_sync, predict_lip_sync, time_lip_sync
from filmgate.models.registry import hash_weights
from filmgate.tasks.model_task import ModelTask
from filmgate.tasks.settings import FLAT

FINDER = "face_mesh"
_MIN_SIDE = 8  # pixels of a box


@dataclass(frozen=True, slots=True, kw_only=True)
class LipSync(ModelTask):
    """Give a video new speech: the lips of one person follow it."""

    speech: AudioFile | None = None
    """The speech: a file of audio, or a video that has some."""

    model: str = "latentsync"
    """The model: a family (filmgate models lists all)."""

    options: Any = field(default=None, metadata=FLAT)
    """Options of the model's family. Default: the family's defaults."""

    faces: RecordFile | None = None
    """Boxes of the face in place of finding it: JSON Lines with "frame" and "box" (left, top, width
    and height, from hair to chin), or text of the MOT challenge."""

    box: str | None = None
    """The box of the face in the first frame, in place of finding it: left,top,width,height in
    pixels, from hair to chin. It is followed by its motion."""

    face: int | None = None
    """The number of the face, of those that were found or are in the file. Default: the largest in
    each frame."""

    device: str = "auto"
    """Where the model runs: auto (the GPU if there is one), cpu, cuda, cuda:1 or mps."""

    inputs: ClassVar[tuple[str, ...]] = ("in", "speech")

    def __post_init__(self) -> None:
        self.check_model()
        if self.box is not None and (self.faces is not None or self.face is not None):
            raise BadSetting(f"box is {self.box!r} and there are faces too: omit one of them")
        if self.box is not None:
            parse_box(self.box)

    @property
    def time_scale(self) -> None:
        return None

    @classmethod
    def supports(cls, family: Family) -> bool:
        """Return whether the family makes lips follow speech."""
        return family.build_lip_sync is not None

    def iter_models(self) -> Iterator[tuple[str, Any]]:
        """See `ModelTask.iter_models`; what finds faces is one of them."""
        yield self.model, self.options
        if self.box is None and self.faces is None:
            yield FINDER, None

    def check_weights(self) -> None:
        """See `ModelTask.check_weights`."""
        list(self.find_weight_files())

    def joins(self) -> tuple[Join, ...]:
        """Return the speech, whose seconds come with the frames."""
        if self.speech is None:
            return ()
        path, timing = Path(self.speech.path), self._time()
        end = None if timing.frames is None else timing.frames / timing.fps
        return (Join(timing.key, self.speech, after=timing.ahead, audio=path, end=end),)

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        """Find shot boundaries and the face, encode it, hear the speech, generate the lips."""
        from filmgate.flow.shot_detection import detect_shots

        rate = self._make_rate()
        request, placement = self._make_request(), self.place(models)
        built = build_lip_sync(self.model, rate.output(spec), request, self.options, placement)
        return (detect_shots(), rate, *built)

    def describe_output(self, spec: StreamSpec) -> StreamSpec:
        """Return the stream that comes out: of 25 frames a second, as long as the speech."""
        return self._make_rate().output(spec)

    def predict_memory(self, spec: StreamSpec) -> tuple[MemoryPrediction, ...]:
        """Predict the model's memory on a GPU, without weights; empty if unknown."""
        return predict_lip_sync(self.model, spec, self.options)

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the frames at 25 a second, as long as there is speech."""
        return self._make_rate().convert_times(frames)

    def _time(self) -> LipSyncTiming:
        return time_lip_sync(self.model, Path(self.speech.path) if self.speech else None)

    def _make_rate(self) -> ConstantRate:
        timing = self._time()
        return ConstantRate(timing.fps, timing.frames)

    def _make_request(self) -> LipSyncRequest:
        boxes = Path(self.faces.path) if self.faces else None
        found = boxes is None and self.box is None
        return LipSyncRequest(
            audio=Path(self.speech.path) if self.speech else None,
            finder=FINDER,
            boxes=boxes,
            box=parse_box(self.box) if self.box else None,
            face=self.face,
            hash=hash_weights(FINDER) if found else "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareLipSync(LipSync):
    """Find and encode the face in a video, for lipsync --cache with any speech."""

    speech: None = field(default=None, init=False, metadata=FLAT)

    inputs: ClassVar[tuple[str, ...]] = ("in",)


def parse_box(text: str) -> tuple[float, float, float, float]:
    """Return left, top, width and height of a box that is written as such. Raises BadSetting."""
    try:
        left, top, width, height = (float(part) for part in text.split(","))
    except ValueError:
        left = top = width = height = float("nan")
    if not all(abs(value) < 1e6 for value in (left, top)) or not (
        _MIN_SIDE <= width < 1e6 and _MIN_SIDE <= height < 1e6
    ):
        raise BadSetting(f"box is {text!r:.60}, wanted left,top,width,height of a face in pixels, "
                         f"at least {_MIN_SIDE} wide and high, such as 9,9,99,99")  # fmt: skip
    return left, top, width, height


TASK: type[Task] = LipSync
