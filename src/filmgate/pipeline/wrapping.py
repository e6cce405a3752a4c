"""Wrap model stages as the plan says: results cached, outputs checked, memory kept low."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from filmgate.core.chain import Chain
from filmgate.core.frame import StreamSpec
from filmgate.core.job import SourceFile
from filmgate.core.plan import Plan
from filmgate.core.stage import AnyStage
from filmgate.core.wrappers.attached import AttachedStage
from filmgate.core.wrappers.model_stage import (
    ModelStage,
    find_model_stages,
    has_low_memory,
    with_low_memory,
)

if TYPE_CHECKING:
    from filmgate.storage.result_cache import ResultCache

CACHE_BUFFER_BYTES = 64 << 20  # of frames that a cached stage holds at most


def wrap_stages(
    chain: Chain, spec: StreamSpec, plan: Plan, source: SourceFile
) -> tuple[AnyStage, ...]:
    """Return the stages of `chain` for the stream `spec`, model stages wrapped."""
    store = None
    if plan.cache:
        from filmgate.storage.result_cache import open_cache

        store = open_cache()
    return _wrap_all(chain, spec, plan, source, store)


def _wrap_all(
    chain: Chain, spec: StreamSpec, plan: Plan, source: SourceFile, store: ResultCache | None
) -> tuple[AnyStage, ...]:
    return tuple(
        _wrap_one(stage, input, plan, source, store)
        for stage, input in zip(chain.stages, chain.specs(spec), strict=False)
    )


def _wrap_one(
    stage: AnyStage, spec: StreamSpec, plan: Plan, source: SourceFile, store: ResultCache | None
) -> AnyStage:
    if isinstance(stage, AttachedStage):
        return replace(stage, stage=_wrap_one(stage.stage, spec, plan, source, store))
    return _wrap(stage, spec, plan, source, store) if isinstance(stage, ModelStage) else stage


def _wrap(
    model: ModelStage, spec: StreamSpec, plan: Plan, source: SourceFile, store: ResultCache | None
) -> AnyStage:
    """Return one stage, its cache inside its checks: cached results are checked as well."""
    stage = with_low_memory(model.stage) if plan.low_memory else model.stage
    if isinstance(stage, Chain):
        # remains one stage; results of its parts may be ten times as big, so they are not cached
        inner = replace(stage, stages=_wrap_all(stage, spec, plan, source, None))
        stage = replace(model, stage=inner)
    if store is not None and model.stores:
        from filmgate.core.wrappers.cached import STATE_INTERVAL, cached
        from filmgate.pipeline.cache_key import describe_source, hash_package
        from filmgate.storage.result_cache import HASHES

        low_memory = " low memory" if plan.low_memory and has_low_memory(model) else ""
        key = {
            **describe_source(source, store.folder / HASHES),
            "settings": f"{model.settings} {plan.opencv_threads} {plan.torch_threads}{low_memory}",
            "weights": " ".join(part.weights for part in find_model_stages(model)),
            "code": hash_package(),
        }
        frame_bytes = 3 * spec.width * spec.height * (1 if spec.dtype == "uint8" else 4)
        every = max(1, min(STATE_INTERVAL, CACHE_BUFFER_BYTES // 2 // max(1, frame_bytes)))
        stage = cached(stage, store, key, every=every)
    if plan.guard and model.checks:
        from filmgate.core.wrappers.output_checks import check_outputs

        stage = check_outputs(stage, checks=model.checks, time_scale=model.time_scale)
    return stage
