"""Tiny networks with weights made by rule: sizes and rule are those of the recorded numbers."""

import json
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from filmgate.flow.raft import net as raft
from filmgate.models.diffvsr import PROMPT
from filmgate.models.diffvsr.vae import TinyVae
from filmgate.models.film.net import Film, Shape
from tests.golden.fill import filled, uni

FILM = Shape(levels=5, fusion=5, specialized=3, sub=4, filters=4, flow_convs=(2, 2, 2, 2),
             flow_filters=(8, 8, 8, 8))  # fmt: skip

RAFT = raft.Shape(encoder=(4, 4, 4, 4, 8), context=8, corr=(12, 8), flow=(8, 4), motion=10,
                  hidden=4, head=8, mask=8)  # fmt: skip
RAFT_SMALL = raft.Shape(encoder=(4, 4, 4, 4, 8), context=8, bottleneck=True, normed=False,
                        radius=3, corr=(12,), flow=(8, 4), motion=10, hidden=4, kernels=((3, 3),),
                        head=8, mask=0)  # fmt: skip


def by_rule(name: str, shape: Sequence[int]) -> Tensor:
    """The numbers of a tensor, from its name."""
    chance = np.random.RandomState(zlib.crc32(name.encode()))
    numbers = chance.standard_normal(int(np.prod(shape))).reshape(shape)
    numbers = numbers / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1 * numbers
    return torch.from_numpy(numbers.astype(np.float32))


def film_tensors() -> dict[str, Tensor]:
    return {name: by_rule(name, tuple(tensor.shape))
            for name, tensor in Film(FILM, "meta").state_dict().items()}  # fmt: skip


def raft_tensors(shape: raft.Shape) -> dict[str, Tensor]:
    """By rule, but: norms that scale by 1 and more, no batches counted, steps of a pixel or so."""
    made = {}
    for name, tensor in raft.Raft(shape, "meta").state_dict().items():
        if not tensor.dim():
            made[name] = torch.zeros((), dtype=torch.int64)
            continue
        made[name] = by_rule(name, tuple(tensor.shape))
        if name.endswith(("running_var", "1.weight")) and tensor.dim() == 1:
            made[name] = 1 + made[name].abs()
        if name.startswith("update_block.flow_head.conv2"):
            made[name] /= 10
    return made


def _one(name: str, tensors: dict[str, Tensor], folder: Path) -> Path:
    """A file, under a name that is not the published one."""
    path = folder / f"{name}_tiny.safetensors"
    save_file(tensors, path)
    return path


def _diffvsr(folder: Path) -> Path:
    """The smallest networks of that kind, in the layout of the published ones."""
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
    nets: dict[str, tuple[object, Any]] = {
        "unet": (unet, UNet2DConditionModel.from_config(unet)),
        "controlnet": (control, ControlNetModel.from_config(control)), "vae": (vae, TinyVae(8)),
    }  # fmt: skip
    folder = folder / "diffvsr_tiny"
    for name, (settings, net) in nets.items():
        (folder / name).mkdir(parents=True)
        if name == "vae":
            (folder / name / "config.json").write_text(json.dumps(settings))
        else:
            net.save_config(folder / name)
        shapes = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
        save_file(filled(shapes, f"{name}/"),
                  folder / name / "diffusion_pytorch_model.safetensors")  # fmt: skip
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    save_file({"prompt": uni("prompt", (1, 77, 8))}, folder / PROMPT)
    return folder


FAMILIES: Mapping[str, Callable[[Path], Path]] = MappingProxyType(
    {
        "film": lambda folder: _one("film", film_tensors(), folder),
        "diffvsr": _diffvsr,
        "raft_large": lambda folder: _one("raft_large", raft_tensors(RAFT), folder),
        "raft_small": lambda folder: _one("raft_small", raft_tensors(RAFT_SMALL), folder),
    }
)
# Their libraries take ten seconds to import: their laws are slow tests, in tests/models.
HEAVY = frozenset({"diffvsr"})


@cache
def weights(family: str) -> Path:
    """Tiny weights, under a name that is not the published one; they go with the run."""
    return FAMILIES[family](Path(_folder().name))


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="filmgate_tiny")
