"""Small networks of PersonaLive, with weights by rule, in the published layout."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from filmgate.models.diffusion.autoencoder import Autoencoder
from filmgate.models.families.personalive.extractor import HeadExtractor, PoseGuider
from filmgate.models.families.personalive.motion import MotionEncoder
from filmgate.models.families.personalive.unet import DenoisingUnet, ReferenceUnet, Shape
from tests.golden.fill import filled

SHAPE = Shape(channels=(32, 32, 64, 64), layers=1, heads=4, groups=8, context=24)
_CLIP = {"hidden_size": 16, "num_hidden_layers": 2, "projection_dim": 24, "patch_size": 32,
         "num_attention_heads": 2, "intermediate_size": 32}  # fmt: skip


def fill(net: nn.Module, prefix: str) -> Any:
    """The network with weights by rule; tables that it computes stay."""
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()
              if tensor.dim() and name.rpartition(".")[2] not in ("pe", "idx_tensor")}  # fmt: skip
    net.load_state_dict(filled(shapes, prefix), strict=False)
    return net.eval().requires_grad_(False)


@cache
def folder() -> Path:
    """Return a temporary folder of weights in the published layout."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    place = Path(_folder().name)
    unet = dict(fill(DenoisingUnet(SHAPE), "denoising_unet/").state_dict())
    temporal = {name: unet.pop(name) for name in list(unet) if "temporal_modules" in name}
    own = {
        "denoising_unet": unet,
        "temporal_module": temporal,
        "reference_unet": fill(ReferenceUnet(SHAPE), "reference_unet/").state_dict(),
        "motion_encoder": fill(MotionEncoder(64, 32), "motion_encoder/").state_dict(),
        "motion_extractor": fill(
            HeadExtractor((1, 1, 2, 1), (8, 16, 16, 24)), "motion_extractor/"
        ).state_dict(),
        "pose_guider": fill(PoseGuider(32, (4, 4, 8, 8)), "pose_guider/").state_dict(),
    }
    (place / "personalive").mkdir()
    for name, tensors in own.items():
        kept = {key: tensor.contiguous() for key, tensor in tensors.items()}
        if name == "pose_guider":  # as published
            torch.save(kept, place / "personalive" / f"{name}.pth")
        else:
            save_file(kept, place / "personalive" / f"{name}.safetensors")
    vae = fill(Autoencoder((32, 32, 32, 32), 1), "vae/").state_dict()
    clip = fill(CLIPVisionModelWithProjection(CLIPVisionConfig(**_CLIP)), "clip/").state_dict()
    variations = place / "sd-image-variations-diffusers"
    (place / "sd-vae-ft-mse").mkdir()
    save_file(dict(vae), place / "sd-vae-ft-mse" / "diffusion_pytorch_model.safetensors")
    _write(variations / "image_encoder", _CLIP, "model", clip)
    settings = {"block_out_channels": SHAPE.channels, "layers_per_block": SHAPE.layers,
                "attention_head_dim": SHAPE.heads, "norm_num_groups": SHAPE.groups,
                "cross_attention_dim": SHAPE.context, "in_channels": 4}  # fmt: skip
    (variations / "unet").mkdir()
    (variations / "unet" / "config.json").write_text(json.dumps(settings))
    return place


def _write(place: Path, settings: dict[str, Any], name: str, tensors: dict[str, Any]) -> None:
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps(settings))
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()},
              place / f"{name}.safetensors")  # fmt: skip


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="filmgate_tiny")
