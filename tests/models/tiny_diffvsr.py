"""The smallest networks of Stream-DiffVSR, with weights by rule, in the published layout."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from filmgate.models.families.diffvsr.loading import PROMPT
from filmgate.models.families.diffvsr.vae import TinyVae
from tests.golden.fill import filled, uni


@cache
def folder() -> Path:
    """Return a temporary folder of weights in the published layout."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    unet = {"in_channels": 7, "out_channels": 4, "block_out_channels": (8, 8),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "layers_per_block": 1,
            "cross_attention_dim": 8, "attention_head_dim": 2, "norm_num_groups": 4,
            "only_cross_attention": (True, False), "use_linear_projection": True}  # fmt: skip
    control = {name: value for name, value in unet.items()
               if name not in ("out_channels", "up_block_types")}  # fmt: skip
    control["conditioning_embedding_out_channels"] = (4, 4, 8)
    vae = {"encoder_block_out_channels": (8, 8, 8), "decoder_block_out_channels": (8, 8, 8)}
    scheduler = {"beta_schedule": "scaled_linear", "prediction_type": "v_prediction",
                 "timestep_spacing": "trailing", "clip_sample": False,
                 "set_alpha_to_one": False, "steps_offset": 1}  # fmt: skip
    nets: dict[str, Any] = {"unet": UNet2DConditionModel.from_config(unet),
                            "controlnet": ControlNetModel.from_config(control),
                            "vae": TinyVae(8)}  # fmt: skip
    place = Path(_folder().name)
    for name, net in nets.items():
        (place / name).mkdir()
        if name != "vae":
            net.save_config(place / name)
        shapes = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
        save_file(filled(shapes, f"{name}/"),
                  place / name / "diffusion_pytorch_model.safetensors")  # fmt: skip
    (place / "vae" / "config.json").write_text(json.dumps(vae))
    (place / "scheduler").mkdir()
    (place / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    save_file({"prompt": uni("prompt", (1, 77, 8))}, place / PROMPT)
    return place


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="filmgate_tiny")
