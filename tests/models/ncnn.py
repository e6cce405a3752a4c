"""Convert realesr-animevideov3 from ncnn's two files to one that spandrel knows.

`.param` lists the layers as text, `.bin` holds their numbers in that order. The network is a chain
of convolutions of 3x3, each followed by a PReLU; the last one's channels are shuffled to pixels and
added to the input, enlarged by repeating its pixels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from filmgate.errors import BadWeights

_MAGIC, _HALF = "7767517", 0x01306B47  # of a .param; before an array of float16
_MOST_BYTES, _MOST_CHANNELS, _MOST_LAYERS = 1 << 24, 1024, 256
_COLOURS = 3
_Ids = Mapping[int, float]


@dataclass(frozen=True)
class Layer:
    """A line of a .param: `inputs` and `outputs` are names of images, `settings` by number."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: _Ids

    def get(self, number: int, default: int = 0) -> int:
        return int(self.settings.get(number, default))


class _Numbers:
    """The arrays of a .bin, one after the other."""

    def __init__(self, path: Path) -> None:
        if path.stat().st_size > _MOST_BYTES:
            raise BadWeights(f"{path} has {path.stat().st_size:,} bytes, wanted at most "
                             f"{_MOST_BYTES:,}")  # fmt: skip
        self._path, self._bytes, self._at = path, path.read_bytes(), 0

    def take(self, count: int, dtype: str) -> Tensor:
        size = count * np.dtype(dtype).itemsize
        if self._at + size > len(self._bytes):
            raise BadWeights(f"{self._path} ends at byte {len(self._bytes):,}, wanted "
                             f"{self._at + size:,}")  # fmt: skip
        values = np.frombuffer(self._bytes, dtype, count, self._at).astype(np.float32)
        if not np.isfinite(values).all():
            raise BadWeights(f"{self._path} has numbers that are not finite from {self._at:,} on")
        self._at += size
        return torch.from_numpy(values)

    def take_half(self, count: int) -> Tensor:
        """Return float16 after their flag; arrays end at a multiple of four bytes."""
        flag = np.frombuffer(self._bytes[self._at : self._at + 4].ljust(4, b"\0"), "<u4")[0]
        if flag != _HALF:
            raise BadWeights(f"{self._path} has the flag {flag:#x} at {self._at:,}, wanted "
                             f"{_HALF:#x}: float16")  # fmt: skip
        self._at += 4
        values = self.take(count, "<f2")
        self._at += -self._at % 4
        return values

    def check_end(self) -> None:
        if self._at != len(self._bytes):
            raise BadWeights(f"{self._path} has {len(self._bytes):,} bytes, wanted {self._at:,}")


def read_layers(path: Path) -> list[Layer]:
    """Return the layers of a .param. Raises BadWeights."""
    try:
        magic, _, *lines = path.read_text("ascii").splitlines()
        if magic != _MAGIC or len(lines) > _MOST_LAYERS:
            raise ValueError(f"{len(lines)} layers, after {magic!r:.20}")
        return [_parse_layer(line.split()) for line in lines]
    except ValueError as error:
        raise BadWeights(f"{path} is no list of layers of ncnn: {error}") from error


def _parse_layer(words: list[str]) -> Layer:
    if len(words) < 4:
        raise ValueError(f"{' '.join(words)!r:.40}")
    kind, _, inputs, outputs, *rest = words
    first, second = int(inputs), int(inputs) + int(outputs)
    pairs = (word.split("=") for word in rest[second:])
    settings = {int(number): float(value) for number, value in pairs}
    return Layer(kind, tuple(rest[:first]), tuple(rest[first:second]), settings)


def convert(param: Path, numbers: Path) -> dict[str, Tensor]:
    """Return the tensors as SRVGGNetCompact names them, float32. Raises BadWeights."""
    layers, held = read_layers(param), _Numbers(numbers)
    kinds = [layer.kind for layer in layers]
    depth = kinds.count("Convolution")
    wanted = ["Input", "Split", *["Convolution", "PReLU"] * (depth - 1), "Convolution",
              "PixelShuffle", "Interp", "BinaryOp"]  # fmt: skip
    if depth < 2 or kinds[: len(wanted)] != wanted or kinds[len(wanted) :] not in ([], ["Interp"]):
        raise BadWeights(f"{param} is not the chain of realesr-animevideov3: {' '.join(kinds)}")
    chain = layers[2 : 2 * depth + 2]
    _check_order(param, layers[1], chain, layers[2 * depth + 2 :][:2])
    tensors = dict(_take_tensors(param, chain[:-1], held))
    held.check_end()
    return tensors


def _check_order(param: Path, split: Layer, chain: list[Layer], end: list[Layer]) -> None:
    """Raise BadWeights unless each layer takes the result of the one before it."""
    large, added = end
    scale = isqrt(chain[-2].get(0) // _COLOURS)
    image = next((name for name in split.outputs if name in chain[0].inputs), "")
    for layer in chain:
        if layer.inputs != (image,) or len(layer.outputs) != 1:
            raise BadWeights(f"{param}: a {layer.kind} takes {layer.inputs}, wanted {image!r}")
        (image,) = layer.outputs
    if (
        (chain[-1].get(0), len(chain[-1].settings)) != (scale, 1)
        or large.settings != {0: 1, 1: scale, 2: scale}
        or added.get(0)
        or set(added.inputs) != {image, *large.outputs}
        or not set(large.inputs) < set(split.outputs)
    ):
        raise BadWeights(f"{param}: the result is not added to the input, {scale} times as large")


def _take_tensors(
    param: Path, chain: list[Layer], numbers: _Numbers
) -> Iterator[tuple[str, Tensor]]:
    channels = _COLOURS
    for n, layer in enumerate(chain):
        outputs = layer.get(0)
        if layer.kind == "PReLU":
            if outputs != channels:
                raise BadWeights(f"{param}: a PReLU of {outputs} channels, wanted {channels}")
            yield f"body.{n}.weight", numbers.take(outputs, "<f4")
            continue
        settings = {0: outputs, 1: 3, 4: 1, 5: 1, 6: 9 * outputs * channels}
        if not 0 < outputs <= _MOST_CHANNELS or layer.settings != settings:
            raise BadWeights(f"{param}: a Convolution with {dict(layer.settings)}, wanted "
                             f"{settings}: 3x3, with its edges and a bias")  # fmt: skip
        weights = numbers.take_half(9 * outputs * channels)
        yield f"body.{n}.weight", weights.view(outputs, channels, 3, 3)
        yield f"body.{n}.bias", numbers.take(outputs, "<f4")
        channels = outputs
