"""Check a model family as its task runs it."""

from fractions import Fraction
from pathlib import Path
from typing import Any

from filmgate.core import adapters
from filmgate.core.chain import Chain
from filmgate.core.frame import StreamSpec
from filmgate.core.stage import AnyStage, Stage
from filmgate.device.placement import Placement
from filmgate.errors import BadSetting
from filmgate.models.contracts import Family
from filmgate.tasks.interpolate import FillGap
from filmgate.tasks.output_times import Grid
from filmgate.tasks.upscale import make_stage
from filmgate.testing.laws import check_stage
from filmgate.testing.sample_video import SampleVideo, make_sample_video, read_sample_video


def check_family(
    family: Family,
    video: SampleVideo | Path | str | None = None,
    *,
    options: Any = None,
    tolerance: float = 1,
    tries: int = 2,
) -> None:
    """Check laws 1 to 7 on all models of a family, on the CPU: see `check_stage`.

    `options` default to those of `Family.sample_options`, else to the family's defaults. A batch
    may move a sample of an image by `tolerance`, in code values. Raises BadSetting for a family
    without a model, AssertionError that names the law, and what the model raises.
    """
    if isinstance(video, str | Path):
        video = read_sample_video(Path(video))
    video = video or make_sample_video(pixels="yuv420p", width=64, height=48)
    options = options or family.sample_options or family.options()
    stages = build_stages(family, video.spec, options)
    if not stages:
        raise BadSetting(f"the family {family.name} has no model: set build_upscaler or "
                         "build_interpolator")  # fmt: skip
    for stage in stages:
        check_stage(stage, video, tolerance=tolerance, tries=tries)


def build_stages(family: Family, spec: StreamSpec, options: Any) -> list[AnyStage]:
    """Return a stage for each model of a family, at the first of its scales and 2 new frames."""
    placement, stages = Placement(), list[AnyStage]()
    if family.build_upscaler:
        scale = (family.scales or (2,))[0]
        model = family.build_upscaler(spec, scale, options, placement)
        stages.append(model if isinstance(model, Stage) else make_stage(model, scale))
    if family.build_interpolator:
        grid = Grid(factor=Fraction(2))
        between = FillGap(grid, False, family.build_interpolator(spec, options, placement))
        stage = adapters.windowed(between, 0, 1, name="interpolate", output=grid.describe_output,
                         first_index=grid.first_index)  # fmt: skip
        stages.append(Chain((stage, adapters.UntilNext())))
    return stages
