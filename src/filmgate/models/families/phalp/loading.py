"""Open the files of PHALP in the user's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from filmgate.errors import BadWeights
from filmgate.models.families.phalp.appearance import (
    TextureEncoder,
    list_encoder_shapes,
    select_encoder,
)
from filmgate.models.families.phalp.files import STATISTICS
from filmgate.models.families.phalp.predictor import (
    POSE,
    Predictor,
    Shape,
    select_used,
)
from filmgate.weights.state_dict import check_tensors, list_shapes, load_tensors


def open_encoder(path: Path, device: str) -> TextureEncoder:
    """Return the texture encoder in a file, in float32. Raises BadWeights."""
    net, tensors = TextureEncoder(), select_encoder(load_tensors(path))
    net.load_state_dict(check_tensors(tensors, list_encoder_shapes(), path))
    return net.to(device, torch.float32).eval().requires_grad_(False)


def open_predictor(path: Path, head: int, device: str) -> tuple[Predictor, Tensor, Tensor]:
    """Return the pose predictor in a file, and mean and deviation of poses (229,), in float32.

    Its sizes are those of the tensors, with `head` numbers in each head of the attention. Raises
    BadWeights.
    """
    stored = load_tensors(path)
    names = {name.removeprefix("encoder."): tensor for name, tensor in stored.items()}
    net = Predictor(Shape.of({name: tensor.shape for name, tensor in names.items()}, head))
    wanted = list_shapes(net)
    net.load_state_dict(check_tensors(select_used(stored, wanted), wanted, path))
    mean, std = read_statistics(path.with_name(STATISTICS))
    net = net.to(device, torch.float32).eval().requires_grad_(False)
    return net, mean.to(device), std.to(device)


def read_statistics(path: Path) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of poses (229,); values that the file lacks are 0 and 1.

    Raises BadWeights.
    """
    found = read_numbers(path).astype(np.float32)
    if found.shape[:1] != (2,) or found.size > 2 * POSE or not np.isfinite(found).all():
        raise BadWeights(f"{path} holds numbers of the shape {found.shape}, wanted 2 by {POSE} "
                         "finite ones at most: pass the published file")  # fmt: skip
    mean, std = found.reshape(2, -1)
    if (std < 0).any():
        raise BadWeights(f"{path} holds a deviation of {std.min():.4g}, wanted 0 or more: pass the "
                         "published file")  # fmt: skip
    missing = POSE - mean.size
    padded = np.pad(mean, (0, missing)), np.pad(std, (0, missing), constant_values=1)
    return torch.from_numpy(padded[0]), torch.from_numpy(padded[1])


def read_numbers(path: Path, name: str = "") -> npt.NDArray[Any]:
    """Return the numbers in an .npy file, or those of a name in an .npz file. Raises BadWeights."""
    try:
        with open(path, "rb") as file:
            found = np.load(file, allow_pickle=False)
            values = np.asarray(found[name] if name else found)
        if values.dtype.kind not in "fiu":
            raise ValueError(f"it holds {values.dtype}")
    except Exception as error:  # untrusted bytes may raise anything in the readers
        raise BadWeights(f"{path} cannot be read as numbers ({error!s:.100}): pass the published "
                         "file") from error  # fmt: skip
    return values
