"""The family `wan22`: an image becomes a video, by Wan 2.2, as diffusers has it.

Wan team, "Wan: Open and Advanced Large-Scale Video Generative Models", arXiv 2503.20314. UNPROVEN
with published weights: they could not be downloaded where this was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from filmgate.core.stage import AnyStage
from filmgate.device.placement import Placement
from filmgate.models.contracts import (
    Family,
    GeneratedVideo,
    GenerationPrediction,
    GenerationRequest,
)
from filmgate.models.families.wan22 import request as requests
from filmgate.models.families.wan22.published import REPOSITORIES
from filmgate.models.families.wan22.request import Wan22Options


def get_length(options: Wan22Options) -> tuple[int, Fraction]:
    """See `Family.generated_length`."""
    variant = options.find_variant()
    return variant.window, variant.fps


def describe_generation(request: GenerationRequest, options: Wan22Options) -> GeneratedVideo:
    """See `Family.describe_generation`."""
    return requests.describe_video(request, options.find_variant())


def build_generator(
    request: GenerationRequest, seed: int, options: Wan22Options, placement: Placement
) -> AnyStage:
    """See `Family.build_generator`."""
    from filmgate.models.families.wan22.generator import build_stage

    return build_stage(request, seed, options, placement)


def predict_generation(
    request: GenerationRequest, options: Wan22Options, placement: Placement
) -> GenerationPrediction:
    """See `Family.predict_generation`."""
    return requests.predict_generation(request, options, placement)


def list_weight_files(options: Wan22Options) -> Iterator[Path]:
    """See `Family.weight_files`."""
    from filmgate.models.families.wan22.loading import find_variant, list_weight_files

    files = options.files
    yield from list_weight_files(files, find_variant(files, options.variant))


FAMILY = Family(
    name="wan22",
    summary="Video from an image and words, by diffusion. Unproven with published weights.",
    options=Wan22Options,
    generated_length=get_length,
    describe_generation=describe_generation,
    build_generator=build_generator,
    predict_generation=predict_generation,
    repositories=tuple(REPOSITORIES.values()),
    weight_files=list_weight_files,
)
