"""The task `lipsync`: new speech for a video; the lips of one person follow it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Literal

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import SourceFile, Task
from filmgate.core.join import Join
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage
from filmgate.errors import BadInput, BadSetting
from filmgate.flow.constant_rate import ConstantRate, SkipFrames
from filmgate.media.audio.audio_file import AudioFile
from filmgate.media.records.record_file import RecordFile
from filmgate.media.sources import ImageSequence, VideoFile
from filmgate.models.contracts import Family, LipSyncRequest, LipSyncTiming, MemoryPrediction
from filmgate.models.lip_sync import build_lip_sync, predict_lip_sync, time_lip_sync
from filmgate.models.registry import hash_weights
from filmgate.tasks.model_task import ModelTask
from filmgate.tasks.settings import FLAT
from filmgate.tasks.takes import Place, Way, choose_way, find_place, measure_length

_MIN_SIDE = 8  # pixels of a box
_MOST_SECONDS = 1_000_000  # of a take
_MOST_SLACK = 2  # frames by which the same audio may differ: containers count a codec's priming
_SHORTEST_TURN = Fraction(1, 50)  # seconds: less than the shortest speech needs to come back


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

    finder: Literal["face_mesh", "insightface"] = "face_mesh"
    """What finds the face: face_mesh, or insightface as in the published code, whose models are for
    non-commercial research only."""

    face: int | None = None
    """The number of the face, of those that were found or are in the file. Default: the largest in
    each frame."""

    covered: Literal["leave", "paint"] = "leave"
    """Frames in which a hand or something else covers the mouth. leave: they stay as they are, with
    a fade; face_mesh can tell. paint: lips are generated over it."""

    source: tuple[Path, ...] = ()
    """Another take of the same person, of the same size, rate and codec; can be given several
    times. Of IN and these the shortest that is long enough is used; else the longest, then the
    ones after it."""

    ending: Literal["free", "neutral"] = "free"
    """neutral: turn back in time to end with the first frame of the take, where the person is at
    rest. free: wherever the speech ends."""

    continue_from: Path | None = None
    """A result of lipsync: begin where it ended in the source, as for the next sentence. Pass the
    same IN and --source as for that result."""

    begin: Fraction | None = None
    """Where the result begins in the source, in seconds along its way forwards and backwards."""

    turn: Fraction | None = None
    """Where the source turns back, in seconds. Default: at its end."""

    take: int = 0
    """The number of the take, for --continue-from: 0 is IN, and the others count from 1."""

    length: int | None = None
    """How many frames the speech has. A run writes it into its result, for check: the audio there
    may be some samples longer than its file."""

    device: str = "auto"
    """Where the model runs: auto (the GPU if there is one), cpu, cuda, cuda:1 or mps."""

    inputs: ClassVar[tuple[str, ...]] = ("in", "speech")

    def __post_init__(self) -> None:
        self.check_model()
        if self.box is not None and (self.faces is not None or self.face is not None):
            raise BadSetting(f"box is {self.box!r} and there are faces too: omit one of them")
        if self.box is not None:
            parse_box(self.box)
        self._check_way()

    def _check_way(self) -> None:
        """Raise BadSetting for a way through the source that contradicts itself."""
        chosen = {"source": self.source, "continue_from": self.continue_from,
                  "ending neutral": self.ending == "neutral"}  # fmt: skip
        names = [name for name, is_given in chosen.items() if is_given]
        if names and (self.begin is not None or self.turn is not None):
            raise BadSetting(f"begin and turn are places in one take, and {names[0]} chooses them: "
                             "omit one of them")  # fmt: skip
        if self.begin is not None and not 0 <= self.begin <= _MOST_SECONDS:
            raise BadSetting(f"begin is {float(self.begin):g} s: pass 0 to {_MOST_SECONDS}")
        if self.turn is not None and not _SHORTEST_TURN <= self.turn <= _MOST_SECONDS:
            raise BadSetting(f"turn is {float(self.turn):g} s: pass {float(_SHORTEST_TURN):g} to "
                             f"{_MOST_SECONDS}")  # fmt: skip
        if not 0 <= self.take <= 10_000:
            raise BadSetting(f"take is {self.take}: pass 0 to 10000")

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
            yield self.finder, None

    def check_weights(self) -> None:
        """See `ModelTask.check_weights`."""
        list(self.find_weight_files())

    def choose_source(self, source: SourceFile) -> tuple[SourceFile, "LipSync"]:
        """See `ChoosingTask`: the take by its length, and where in it the result begins."""
        if self.speech is not None and self.length is None:
            return replace(self, length=self._time().frames).choose_source(source)
        if not self.source and self.continue_from is None and self.ending == "free":
            return source, self
        takes = self._list_takes(source)
        timing, lengths = self._time(), [measure_length(take) for take in takes]
        before, wanted = None, (timing.frames or 0) / timing.fps
        if self.continue_from is not None:
            before = find_end(self.continue_from, lengths, timing.fps)
        way = choose_way(lengths, wanted, neutral=self.ending == "neutral", before=before,
                         step=1 / timing.fps)  # fmt: skip
        chosen = takes[way.take]
        if way.others and isinstance(chosen, VideoFile):
            following = [*takes[way.take + 1 :], *takes[: way.take]]
            chosen = replace(chosen, join=tuple(path for take in following for path in take.files))
        return chosen, replace(self, source=(), continue_from=None, ending="free",
                               begin=way.begin, turn=way.turn, take=way.take)  # fmt: skip

    def measure_seconds(self) -> Fraction:
        """See `OwnLengthTask`: as long as the speech."""
        timing = self._time()
        return (timing.frames or 0) / timing.fps

    def take_part(self, start: Fraction, end: Fraction, folder: Path) -> "LipSync":
        """See `OwnLengthTask`: a part of the speech, from where its image is in the source."""
        from filmgate.media.audio.part import write_part

        assert self.speech is not None
        part = write_part(Path(self.speech.path), start, end, folder / "speech.wav")
        begin = (self.begin or Fraction(0)) + start
        return replace(self, speech=AudioFile(part), begin=begin, length=None)

    def recover_inputs(self, result: Path) -> "LipSync":
        """See `RecoverableTask`: the audio of a result is the speech."""
        return replace(self, speech=AudioFile(result)) if "speech" in self.inputs else self

    def _list_takes(self, source: SourceFile) -> list[VideoFile | ImageSequence]:
        """Return the source and the other takes. Raises BadSetting for one that is read once."""
        if not isinstance(source, VideoFile | ImageSequence):
            raise BadSetting("the way through the source is chosen, and a pipe can be read once: "
                             "pass a file, or omit source, continue_from and ending")  # fmt: skip
        if not self.source:
            return [source]
        if not isinstance(source, VideoFile) or source.join or source.trim.is_set:
            raise BadSetting(f"there are several takes and {source.path} is joined, trimmed or "
                             "images: pass complete videos")  # fmt: skip
        return [source, *(replace(source, path=path) for path in self.source)]

    def joins(self) -> tuple[Join, ...]:
        """Return the speech, whose seconds come with the frames."""
        if self.speech is None:
            return ()
        path, timing = Path(self.speech.path), self._time()
        begin = self._count_skipped(timing.fps) / timing.fps
        end = None if timing.frames is None else begin + timing.frames / timing.fps
        return (Join(timing.key, self.speech, after=timing.ahead, audio=path, end=end,
                     begin=begin, turn=self.turn),)  # fmt: skip

    def _count_skipped(self, fps: Fraction) -> int:
        """Return how many frames are before the one that the result begins with."""
        return 0 if self.begin is None else round(self.begin * fps)

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        """Find shot boundaries and the face, encode it, hear the speech, generate the lips."""
        from filmgate.flow.shot_detection import detect_shots

        rate, _ = self.choose_frames()
        request, placement = self._make_request(), self.place(models)
        built = build_lip_sync(self.model, rate.output(spec), request, self.options, placement)
        return (detect_shots(), rate, *built)

    def describe_output(self, spec: StreamSpec) -> StreamSpec:
        """Return the stream that comes out: of 25 frames a second, as long as the speech."""
        rate, skip = self.choose_frames()
        return skip.output(rate.output(spec))

    def predict_memory(self, spec: StreamSpec) -> tuple[MemoryPrediction, ...]:
        """Predict the model's memory on a GPU, without weights; empty if unknown."""
        return predict_lip_sync(self.model, spec, self.options)

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the frames at 25 a second, as long as there is speech."""
        (rate, skip), count = self.choose_frames(), 0
        for frame in skip.convert_times(rate.convert_times(frames)):
            yield frame
            count += 1
        for k in range(count, (rate.count or 0) - skip.count):  # the source runs back and forth
            yield Frame(k, k / rate.fps, 1 / rate.fps, None)

    def _time(self) -> LipSyncTiming:
        """Return how many frames the speech is, and what they need. Raises BadSetting, BadInput."""
        timing = time_lip_sync(self.model, Path(self.speech.path) if self.speech else None)
        if self.length is None or timing.frames is None:
            return timing
        if abs(timing.frames - self.length) > _MOST_SLACK:
            raise BadSetting(f"length is {self.length} and the speech has {timing.frames} frames: "
                             "omit it")  # fmt: skip
        return replace(timing, frames=self.length)

    def choose_frames(self) -> tuple[ConstantRate, SkipFrames]:
        """Return the stages after which each frame is the one that the result shows."""
        timing = self._time()
        count, skipped = timing.frames, self._count_skipped(timing.fps)
        rate = ConstantRate(timing.fps, None if count is None else skipped + count)
        return rate, SkipFrames(skipped)

    def _make_request(self) -> LipSyncRequest:
        boxes = Path(self.faces.path) if self.faces else None
        found = boxes is None and self.box is None
        return LipSyncRequest(
            audio=Path(self.speech.path) if self.speech else None,
            finder=self.finder,
            boxes=boxes,
            box=parse_box(self.box) if self.box else None,
            face=self.face,
            hash=hash_weights(self.finder) if found else "",
            skip=self._count_skipped(self._time().fps),
            leave_covered=self.covered == "leave",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareLipSync(LipSync):
    """Find and encode the face in a video, for lipsync --cache with any speech."""

    speech: None = field(default=None, init=False, metadata=FLAT)
    source: tuple[Path, ...] = field(default=(), init=False, metadata=FLAT)
    ending: Literal["free", "neutral"] = field(default="free", init=False, metadata=FLAT)
    continue_from: None = field(default=None, init=False, metadata=FLAT)
    begin: None = field(default=None, init=False, metadata=FLAT)
    turn: None = field(default=None, init=False, metadata=FLAT)
    take: int = field(default=0, init=False, metadata=FLAT)
    length: None = field(default=None, init=False, metadata=FLAT)

    inputs: ClassVar[tuple[str, ...]] = ("in",)


def find_end(result: Path, lengths: list[Fraction], fps: Fraction) -> Place:
    """Return where a result of lipsync ended in its source. Raises BadInput, BadSetting."""
    from filmgate.media.probe import probe
    from filmgate.tasks.provenance import TAG, read_tag

    info = probe(result, header=True)
    tag = next((text for key, text in info.metadata.items() if key.lower() == TAG), None)
    try:
        made = read_tag(tag).tasks if tag else ()
    except BadSetting as error:
        raise BadInput(f"{result} says nothing of how it was made: {error}") from error
    task = next((task for task in made if isinstance(task, LipSync)), None)
    if task is None:
        raise BadInput(f"{result} is no result of lipsync, or its metadata is lost: pass one as it "
                       "was written, or omit continue_from")  # fmt: skip
    way = Way(task.take, begin=task.begin or Fraction(0), turn=task.turn)
    frames = round(measure_length(VideoFile(result)) * fps)
    return find_place(lengths, way, frames / fps)


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
