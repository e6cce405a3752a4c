"""Open the weights of LatentSync and Whisper; sizes are read from the tensors."""

from __future__ import annotations

from pathlib import Path

import torch

from filmgate.models.diffusion.weights_files import count, freeze, read_sizes
from filmgate.models.families.latentsync.unet import Shape, UNet
from filmgate.models.families.latentsync.whisper import WhisperEncoder, WhisperShape
from filmgate.weights.state_dict import fill, load_tensors

_ENCODER = "encoder."  # before the names of the encoder of Whisper
_HEAD_WIDTH = 64  # of Whisper


def open_unet(path: Path, dtype: torch.dtype, device: str) -> UNet:
    """Return the UNet of a file. Raises BadWeights."""
    tensors = load_tensors(path)
    with read_sizes(path, tensors, "UNet of LatentSync"):
        shape = Shape(
            channels=tuple(
                len(tensors[f"down_blocks.{k}.resnets.0.conv1.weight"])
                for k in range(count(tensors, r"down_blocks\.(\d+)\."))
            ),
            layers=count(tensors, r"down_blocks\.0\.resnets\.(\d+)\."),
            audio=tensors["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"].shape[1],
        )
        with torch.device("meta"):
            net = UNet(shape)
    return freeze(fill(net, tensors, path), dtype, device)


def open_whisper(path: Path, dtype: torch.dtype, device: str) -> WhisperEncoder:
    """Return the encoder in a file of Whisper. Raises BadWeights."""
    tensors = load_tensors(path)
    own = {name.removeprefix(_ENCODER): tensor for name, tensor in tensors.items()
           if name.startswith(_ENCODER)}  # fmt: skip
    with read_sizes(path, tensors, "Whisper"):
        width, bands = own["conv1.weight"].shape[:2]
        shape = WhisperShape(bands, len(own["positional_embedding"]), width,
                             max(1, width // _HEAD_WIDTH),
                             count(own, r"blocks\.(\d+)\."))  # fmt: skip
        net = WhisperEncoder(shape)
    return freeze(fill(net, own, path), dtype, device)
