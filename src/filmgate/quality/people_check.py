"""Try a model of people or faces on a video: return a report, and an image of what it finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

from PIL import Image

from filmgate.core.frame import Frame
from filmgate.device.placement import Placement
from filmgate.errors import BadSetting
from filmgate.media.pixels.planes import Planes
from filmgate.media.sources import VideoPipe
from filmgate.models.contracts import Family
from filmgate.models.people.drawing import draw_records
from filmgate.models.people.networks import read_file_shapes
from filmgate.pipeline.build import open_source
from filmgate.quality.report.contact_sheet import label_image, render_image
from filmgate.quality.report.plot import encode_png, stack_horizontally, stack_vertically
from filmgate.quality.weights_check import TrialReport, describe_machine
from filmgate.storage.fingerprint import ProgressCallback, ignore_progress
from filmgate.tasks.job_config import make_source
from filmgate.weights.store import WeightsStore, to_dict

FRAMES, STEP, COLUMNS = 96, 12, 4  # each STEP-th of the first FRAMES frames is drawn
_WIDTH = 480  # pixels of each drawn frame


def try_tracker(
    family: Family,
    place: Path | None,
    video: Path,
    on_progress: ProgressCallback = ignore_progress,
) -> tuple[TrialReport, bytes]:
    """Run a model of people or faces on the first frames of a video.

    Returns the report as plain values, without paths of this machine, and a PNG image of frames
    with what was found. `ok`: someone was found. Raises UserError.
    """
    assert family.build_tracker
    options = replace(family.options(), weights=place)
    stage, store = family.build_tracker(options, Placement()), WeightsStore.open_default()
    files = [store.verify(each, place, on_progress=on_progress) for each in family.weights]
    frames, seconds = _run(stage, video)
    records: list[Any] = [record for frame in frames for record in _get_records(frame)]
    run: TrialReport = {
        "ok": bool(records),
        "frames": len(frames),
        "frames_with_records": sum(bool(_get_records(frame)) for frame in frames),
        "followed": len({record["id"] for record in records}),
        "mean_score": round(fmean([record["score"] for record in records] or [0]), 4),
        "milliseconds_a_frame": round(1000 * seconds / len(frames), 2) if frames else None,
    }
    if not records:
        run["why"] = f"no one was found in the first {len(frames)} frames"
    report: TrialReport = {
        "weights": [to_dict(each) for each in family.weights],
        "files": [{"name": file.name, "size_bytes": file.stat().st_size,
                   "sha256": store.sha256(file)} for file in files],
        "machine": describe_machine(),
        "tensors": {"ok": True, "names": {file.name: read_file_shapes(file) for file in files}},
        "run": run,
    }  # fmt: skip
    return {"ok": run["ok"], **report}, _draw_sheet(frames[::STEP])


def _run(stage: Any, path: Path) -> tuple[list[Frame], float]:
    """Return the first frames with their records, images of those in between dropped; seconds."""
    source = make_source(path, {})
    if isinstance(source, VideoPipe):
        raise BadSetting("cannot try a model on a pipe: pass a file")
    done, seconds = list[Frame](), 0.0
    with open_source(source, (), None) as reader:
        stage.output(reader.spec)
        state = None
        for chunk, _ in reader.read(None, 1):
            for frame in chunk:
                start = perf_counter()
                if state is None:
                    state = stage.start(reader.spec, frame.position)
                state, outputs = stage.step(state, [frame])
                seconds += perf_counter() - start
                is_drawn = len(done) % STEP == 0
                done += outputs if is_drawn else [_drop_image(output) for output in outputs]
            if len(done) >= FRAMES:
                break
    return done[:FRAMES], seconds


def _drop_image(frame: Frame) -> Frame:
    return frame.with_image(None, keep=("records",))


def _get_records(frame: Frame) -> Any:
    return frame.extras.get("records", ())


def _draw_sheet(frames: list[Frame]) -> bytes:
    images = []
    for frame in frames:
        assert isinstance(frame.image, Planes)
        image = render_image(replace(frame, image=draw_records(frame.image, _get_records(frame))))
        image.thumbnail((_WIDTH - 4, 4 * _WIDTH))
        images.append(label_image(image, f"{frame.index}: {float(frame.time):.3f} s", _WIDTH))
    if not images:
        raise BadSetting("the video has no frames: pass another")
    rows = [images[k : k + COLUMNS] for k in range(0, len(images), COLUMNS)]
    blank = Image.new("RGB", images[0].size)
    rows[-1] += [blank] * (len(rows[0]) - len(rows[-1]))
    return encode_png(stack_vertically([stack_horizontally(row, _WIDTH) for row in rows]))
