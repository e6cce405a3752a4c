"""The task `track`: who is where in a video, as records, and drawn on the images if wanted."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, ClassVar

from filmgate.core.adapters import each
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import Task
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage
from filmgate.device.placement import Placement
from filmgate.errors import BadSetting
from filmgate.media.records.record_file import RecordFile
from filmgate.models.contracts import Family, PersonLooks, PersonPoses
from filmgate.models.registry import (
    build_detector,
    build_person_tracker,
    build_pose,
    check_options,
    find_family,
    load_families,
)
from filmgate.tasks.model_task import ModelRole, ModelTask
from filmgate.tasks.settings import FLAT


def _estimates_poses(family: Family) -> bool:
    return family.build_pose is not None


def _follows_people(family: Family) -> bool:
    return family.build_person_tracker is not None


_POSE = ModelRole("pose", _estimates_poses)
_TRACKER = ModelRole("tracker", _follows_people)


@dataclass(frozen=True, slots=True, kw_only=True)
class Track(ModelTask):
    """Find people and follow them: records of who is where in each frame."""

    boxes: RecordFile | None = None
    """Boxes to follow in place of a detector's: JSON Lines with "frame", "box" and "score", or text
    of the MOT challenge. Frames count from the first that is read."""

    detector: str = "opencv_hog"
    """What finds people: a family (opencv_hog runs on the CPU without a download; filmgate models
    lists all)."""

    options: Any = field(default=None, metadata=FLAT)
    """Options of the detector's family. Default: the family's defaults."""

    pose: str | None = None
    """What estimates the pose of each person: vitpose (17 points) or hmr2 (3D). Default: no
    poses."""

    pose_options: Any = field(default=None, metadata=_POSE.metadata)
    """Options of its family. Default: the family's defaults."""

    tracker: str = "bytetrack"
    """What decides who is who: a family (bytetrack looks at boxes only)."""

    tracker_options: Any = field(default=None, metadata=_TRACKER.metadata)
    """Options of its family. Default: the family's defaults."""

    device: str = "auto"
    """Where the models run: auto (the GPU if there is one), cpu, cuda, cuda:1 or mps."""

    draw: bool = False
    """Draw boxes, numbers and points on the images. The command line does whenever it writes a
    video."""

    model_field: ClassVar[str] = "detector"
    makes_records: ClassVar[bool] = True
    roles: ClassVar[tuple[ModelRole, ...]] = (_POSE, _TRACKER)

    def __post_init__(self) -> None:
        for name in ("detector", "pose", "tracker"):
            value = getattr(self, name)
            if isinstance(value, str) and "-" in value:
                object.__setattr__(self, name, value.replace("-", "_"))
        self.check_model()
        if self.boxes is not None and (self.detector != "opencv_hog" or self.options is not None):
            raise BadSetting(f"boxes is {self.boxes.path} and the detector is {self.detector}: "
                             "boxes come from one of them, so omit the other")  # fmt: skip

    @property
    def model(self) -> str:
        """The family of the detector."""
        return self.detector

    @property
    def time_scale(self) -> Fraction:
        return Fraction(1)

    @classmethod
    def supports(cls, family: Family) -> bool:
        """Return whether the family finds people."""
        return family.build_detector is not None

    @classmethod
    def list_unused_options(cls, family: Family) -> tuple[str, ...]:
        """Return the options that are for following points, which the task does by boxes."""
        return family.tracker_only

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        """Detect shot boundaries and people, estimate poses, decide who is who, make records."""
        from filmgate.flow.shot_detection import detect_shots
        from filmgate.models.people import following
        from filmgate.models.people.following import require_planes

        placement, poses = self.place(models), None
        stages = [detect_shots(), self._build_detection(placement)]
        if self.pose is not None:
            poses = build_pose(self.pose, self.pose_options, placement)
            add = partial(following.add_poses, poses)
            stages.append(each(add, name="pose", output=require_planes))
        tracker = build_person_tracker(self.tracker, self.tracker_options, placement)
        if looks := self._build_looks(poses, placement):
            add = partial(following.add_looks, looks)
            stages.append(each(add, name="looks", output=require_planes))
        stages += [following.Associate(tracker), following.Finish(tracker.delay)]
        if self.draw:
            from filmgate.models.people.drawing import draw_on_frames

            stages.append(each(draw_on_frames, name="draw", output=require_planes))
        return tuple(stages)

    def _build_detection(self, placement: Placement) -> AnyStage:
        """Return the stage that adds detections to frames."""
        from filmgate.models.people.following import detect, require_planes

        if self.boxes is not None:
            from filmgate.media.records.box_reader import read_boxes
            from filmgate.models.people.following import add_boxes

            table = read_boxes(self.boxes.path)
            return each(partial(add_boxes, table), name="boxes", output=require_planes)
        detector = build_detector(self.detector, self.options, placement)
        return each(partial(detect, detector), name="detect", output=require_planes)

    def _build_looks(self, poses: PersonPoses | None, placement: Placement) -> PersonLooks | None:
        """Return what reads how people look, None if the tracker does not compare that."""
        build = find_family(self.tracker).build_looks
        options = check_options(self.tracker, self.tracker_options)
        return build(options, poses, placement) if build else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """See `WarningTask`: what the tracker is given and cannot use."""
        explain = find_family(self.tracker).explain_looks
        options = check_options(self.tracker, self.tracker_options)
        why = explain(options, self.pose_options) if explain else ""
        return (why,) if why else ()

    def describe_output(self, spec: StreamSpec) -> StreamSpec:
        """Return the stream that comes out, of the same format."""
        return spec

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the frames: none is added, dropped or moved."""
        yield from frames


def samples() -> tuple[Track, ...]:
    """Return one of each family that needs no download, for tests."""
    return tuple(
        Track(detector=family.name, options=family.sample_options)
        for family in load_families()
        if family.build_detector and not (family.weights or family.repositories)
    )


TASK: type[Task] = Track
