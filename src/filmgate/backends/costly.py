"""What the plan says of costly stages: their results are kept in the cache, and looked at."""

from dataclasses import replace
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filmgate.core.cached import EVERY, cached
from filmgate.core.chain import Chain
from filmgate.core.costly import Costly, can_be_lean, costlies, leaner
from filmgate.core.frame import Spec
from filmgate.core.guarded import guarded
from filmgate.core.job import SourceFile
from filmgate.core.meter import cuda_in_use
from filmgate.core.plan import Costs, Plan
from filmgate.core.stage import AnyStage
from filmgate.device.cache import Cache, opened
from filmgate.device.prints import sha256_of
from filmgate.tasks.forms import settings

HELD_BYTES = 64 << 20  # of frames that are held at most behind results that were found
# Whose bits count.
LIBRARIES = ("numpy", "opencv-contrib-python-headless", "torch", "diffusers", "spandrel")
_RANGE = ("from_", "to", "frames")  # fields of a source that say what of it is shown


def dressed(chain: Chain, spec: Spec, plan: Plan, source: SourceFile) -> tuple[AnyStage, ...]:
    """The line's stages for the stream `spec`, the costly ones as the plan wants them."""
    return _all(chain, spec, plan, source, opened() if plan.cache else None)


def with_held(costs: Costs, chain: Chain) -> Costs:
    """The costs where results are kept; stages are tried without, so that nothing is found."""
    stages = (
        replace(cost, state_bytes=cost.state_bytes + isinstance(stage, Costly) * HELD_BYTES)
        for cost, stage in zip(costs.stages, chain.stages, strict=True)
    )
    return replace(costs, stages=tuple(stages))


def _all(
    chain: Chain, spec: Spec, plan: Plan, source: SourceFile, store: Cache | None
) -> tuple[AnyStage, ...]:
    return tuple(
        _dressed(stage, given, plan, source, store) if isinstance(stage, Costly) else stage
        for stage, given in zip(chain.stages, chain.specs(spec), strict=False)
    )


def _dressed(
    costly: Costly, spec: Spec, plan: Plan, source: SourceFile, store: Cache | None
) -> AnyStage:
    """One stage: kept first, then looked at, so what was kept is looked at too."""
    stage = leaner(costly.stage) if plan.lean else costly.stage
    if isinstance(stage, Chain):
        # still one stage; what is within is not kept besides: it may be ten times as big
        line = replace(stage, stages=_all(stage, spec, plan, source, None))
        stage = replace(costly, stage=line)
    if store is not None:
        lean = " lean" if plan.lean and can_be_lean(costly) else ""
        key = {
            **_film(source, store.folder / "films"),
            "settings": f"{costly.settings} {plan.opencv_threads} {plan.torch_threads}{lean}",
            "weights": " ".join(part.weights for part in costlies(costly)),
            "code": _code(),
        }
        frame_bytes = 3 * spec.width * spec.height * (1 if spec.dtype == "uint8" else 4)
        every = max(1, min(EVERY, HELD_BYTES // 2 // max(1, frame_bytes)))
        stage = cached(stage, store, key, every=every)
    if plan.guard and costly.checks:
        stage = guarded(stage, checks=costly.checks, stretch=costly.stretch)
    return stage


def _film(source: Any, notes: Path) -> dict[str, object]:
    """Which film, and what of it; one that has no files (a pipe) is known by its frames alone."""
    told = settings(source)
    return {
        "source": [sha256_of(path, notes) for path in getattr(source, "files", ())],
        "range": {name.rstrip("_"): told.get(name.rstrip("_")) for name in _RANGE},
    }


@cache
def _code() -> str:
    """Of this package every line and number, the libraries' versions, and the device."""
    digest = sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.*")):
        if path.suffix in (".py", ".safetensors"):
            digest.update(path.read_bytes())
    for name in LIBRARIES:
        try:
            digest.update(f"{name} {version(name)}".encode())
        except PackageNotFoundError:
            continue
    if cuda := cuda_in_use():
        digest.update(cuda.get_device_name().encode())
    return digest.hexdigest()
