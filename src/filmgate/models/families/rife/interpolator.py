"""RIFE as a function: images between two images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from filmgate.errors import Unsupported
from filmgate.media.pixels import rgb as colour
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.rife.net import ALIGN, Rife, Shape, strip_names
from filmgate.weights.state_dict import check_tensors, list_shapes, load_tensors


@dataclass(frozen=True)
class RifeInterpolator:
    """Makes images between two, each at its own instant. `refine`: see `Rife.forward`."""

    net: Rife
    device: str
    dtype: torch.dtype
    refine: bool = True

    def interpolate(self, a: object, b: object, positions: Sequence[Fraction]) -> list[Planes]:
        """Return planes at `positions` (0 to 1, both excluded) of the way from `a` to `b`.

        Raises Unsupported for images that are not Planes, and FloatingPointError for results that
        are not finite.
        """
        if not isinstance(a, Planes) or not isinstance(b, Planes) or a.size != b.size:
            raise Unsupported("rife cannot interpolate these images: pass planes of one size")
        with torch.inference_mode():
            first, second = self._to_tensor(a), self._to_tensor(b)
            return [
                self._to_planes(self.net(first, second, float(at), refine=self.refine), a)
                for at in positions
            ]

    def _to_tensor(self, planes: Planes) -> Tensor:
        width, height = planes.size
        image = colour.to_rgb(planes, self.dtype, self.device)[None]
        return functional.pad(image, (0, -width % ALIGN, 0, -height % ALIGN))

    def _to_planes(self, image: Tensor, like: Planes) -> Planes:
        width, height = like.size
        visible = image[0, :, :height, :width].float()
        if not torch.isfinite(visible).all():  # planes would hide it as noise
            raise FloatingPointError("rife returned values that are NaN or infinite")
        return colour.to_planes(visible, like.pixels, like.colour)


def open_network(path: Path, dtype: torch.dtype, device: str) -> Rife:
    """Return the network that a file holds, converted to `dtype`. Raises BadWeights.

    Its channels are read from the tensors, so a smaller network of the same kind opens too.
    """
    stored = load_tensors(path)
    tensors = {name: stored[key] for name, key in strip_names(stored).items()}
    net = Rife(Shape.of({name: tensor.shape for name, tensor in tensors.items()}))
    net.load_state_dict(check_tensors(tensors, list_shapes(net), path))
    # on a GPU channels_last takes 0.7 of the time (bench/results/gpu)
    layout = torch.contiguous_format if device == "cpu" else torch.channels_last
    net = net.to(device, dtype).to(memory_format=layout)
    return net.eval().requires_grad_(False)
