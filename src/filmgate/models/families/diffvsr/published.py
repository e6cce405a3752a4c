"""What is published of Stream-DiffVSR: the folder of weights, and what is needed to open it."""

from __future__ import annotations

from filmgate.installation import advise_install
from filmgate.weights.definitions import WeightsRepository

HUB = "Jamichsu/Stream-DiffVSR"
NETWORKS = ("unet", "controlnet", "vae")
FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
REPOSITORY = WeightsRepository(
    name="diffvsr",
    family="diffvsr",
    hub=HUB,
    licence="OpenRAIL++-M, Apache-2.0",
    commercial=None,
    wanted=(
        "scheduler/scheduler_config.json",
        *(f"{part}/config.json" for part in NETWORKS),
        *("|".join(f"{part}/{file}" for file in FILES) for part in NETWORKS),
        # needed once, for the embedding of the empty prompt; not needed if that is stored
        "text_encoder/config.json|",
        "text_encoder/model.safetensors|text_encoder/model.fp16.safetensors|",
        "tokenizer/*|",
    ),
)


def explain_missing() -> str:
    """Return how to get the libraries of the family."""
    return f"it is not installed. Run {advise_install('diffusion')}"
