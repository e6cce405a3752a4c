"""What the plan says of costly stages: their results are kept in the cache, and looked at."""

from dataclasses import replace

from filmgate.core.chain import Chain
from filmgate.core.frame import StreamSpec
from filmgate.core.job import SourceFile
from filmgate.core.plan import Plan
from filmgate.core.stage import AnyStage
from filmgate.core.wrappers.cached import EVERY, cached
from filmgate.core.wrappers.model_stage import (
    ModelStage,
    find_model_stages,
    has_low_memory,
    with_low_memory,
)
from filmgate.core.wrappers.output_checks import check_outputs
from filmgate.pipeline.cache_key import package_digest, source_key
from filmgate.storage.result_cache import Cache, opened

HELD_BYTES = 64 << 20  # of frames that are held at most behind results that were found


def dressed(chain: Chain, spec: StreamSpec, plan: Plan, source: SourceFile) -> tuple[AnyStage, ...]:
    """The line's stages for the stream `spec`, the costly ones as the plan wants them."""
    return _all(chain, spec, plan, source, opened() if plan.cache else None)


def _all(
    chain: Chain, spec: StreamSpec, plan: Plan, source: SourceFile, store: Cache | None
) -> tuple[AnyStage, ...]:
    return tuple(
        _dressed(stage, given, plan, source, store) if isinstance(stage, ModelStage) else stage
        for stage, given in zip(chain.stages, chain.specs(spec), strict=False)
    )


def _dressed(
    costly: ModelStage, spec: StreamSpec, plan: Plan, source: SourceFile, store: Cache | None
) -> AnyStage:
    """One stage: kept first, then looked at, so what was kept is looked at too."""
    stage = with_low_memory(costly.stage) if plan.low_memory else costly.stage
    if isinstance(stage, Chain):
        # still one stage; what is within is not kept besides: it may be ten times as big
        line = replace(stage, stages=_all(stage, spec, plan, source, None))
        stage = replace(costly, stage=line)
    if store is not None:
        lean = " lean" if plan.low_memory and has_low_memory(costly) else ""
        key = {
            **source_key(source, store.folder / "films"),
            "settings": f"{costly.settings} {plan.opencv_threads} {plan.torch_threads}{lean}",
            "weights": " ".join(part.weights for part in find_model_stages(costly)),
            "code": package_digest(),
        }
        frame_bytes = 3 * spec.width * spec.height * (1 if spec.dtype == "uint8" else 4)
        every = max(1, min(EVERY, HELD_BYTES // 2 // max(1, frame_bytes)))
        stage = cached(stage, store, key, every=every)
    if plan.guard and costly.checks:
        stage = check_outputs(stage, checks=costly.checks, stretch=costly.stretch)
    return stage
