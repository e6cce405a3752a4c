"""The encoder of Whisper tiny, and the spectrogram that it hears.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022. LatentSync uses
what the encoder holds before its first block and after each block, before the last norm. Tensors
have the names of the published weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import log

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

SAMPLE_RATE = 16_000
HOP = 160  # samples between two columns of the spectrogram: 100 a second
COLUMN_RATE = SAMPLE_RATE // HOP
BLOCK_COLUMNS = 3000  # that the encoder takes at once: 30 seconds
_WINDOW, _BANDS = 400, 80
_FLOOR = 1e-10
_RANGE = 8.0  # decades below the loudest; what is softer counts as that


@dataclass(frozen=True, slots=True)
class WhisperShape:
    """The sizes of an encoder; the defaults are those of Whisper tiny."""

    bands: int = _BANDS
    places: int = BLOCK_COLUMNS // 2
    width: int = 384
    heads: int = 6
    layers: int = 4


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
                   for layer in (self.query, self.key, self.value))  # fmt: skip
        seen = functional.scaled_dot_product_attention(q, k, v)
        return self.out(seen.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn, self.attn_ln = _Attention(width, heads), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(),
                                 nn.Linear(4 * width, width))  # fmt: skip
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.attn_ln(x))
        return x + self.mlp(self.mlp_ln(x))  # type: ignore[no-any-return]


class WhisperEncoder(nn.Module):
    """The network: spectrograms (N, bands, 2 * places) to states."""

    def __init__(self, shape: WhisperShape = WhisperShape()) -> None:
        super().__init__()
        self.shape = shape
        self.conv1 = nn.Conv1d(shape.bands, shape.width, 3, padding=1)
        self.conv2 = nn.Conv1d(shape.width, shape.width, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", _make_positions(shape.places, shape.width))
        self.positional_embedding: Tensor
        self.blocks = nn.ModuleList(_Block(shape.width, shape.heads) for _ in range(shape.layers))
        self.ln_post = nn.LayerNorm(shape.width)

    def forward(self, mel: Tensor) -> Tensor:
        """Return the states (N, places, layers + 1, width): before and after each block."""
        x = functional.gelu(self.conv1(mel))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)
        states = [x + self.positional_embedding]
        for block in self.blocks:
            states.append(block(states[-1]))
        return torch.stack(states, 2)


def _make_positions(places: int, width: int) -> Tensor:
    half = width // 2
    rates = torch.exp(-log(10000) / (half - 1) * torch.arange(half))
    angles = torch.arange(places)[:, None] * rates[None]
    return torch.cat([torch.sin(angles), torch.cos(angles)], 1)


# --- spectrogram ----------------------------------------------------------------------------------


def compute_log_mel(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return log10 of the power in each band (80, columns), of audio at 16 kHz in [-1, 1].

    Column k is the audio around sample 160 k. It is not normalized yet: see `normalize_log_mel`.
    """
    wave = torch.from_numpy(np.ascontiguousarray(samples))
    window = torch.hann_window(_WINDOW)
    spectrum = torch.stft(wave, _WINDOW, HOP, window=window, return_complex=True)[:, :-1]
    mel = torch.from_numpy(_make_mel_filters()) @ spectrum.abs().square()
    return mel.clamp_(min=_FLOOR).log10_().numpy()


def normalize_log_mel(log_mel: npt.NDArray[np.float32], loudest: float) -> npt.NDArray[np.float32]:
    """Return it as the encoder takes it; `loudest` is the largest value of the entire audio."""
    normalized = (np.maximum(log_mel, np.float32(loudest - _RANGE)) + 4) / 4
    return normalized.astype(np.float32)


@cache
def _make_mel_filters() -> npt.NDArray[np.float32]:
    """Return the triangular filters (80, 201) of Slaney's mel scale, each of area 1."""
    top = _to_mel(np.array(SAMPLE_RATE / 2))
    edges = _from_mel(np.linspace(0, top, _BANDS + 2))
    bins = np.linspace(0, SAMPLE_RATE / 2, _WINDOW // 2 + 1)
    widths, ramps = np.diff(edges), edges[:, None] - bins
    rise, fall = -ramps[:-2] / widths[:-1, None], ramps[2:] / widths[1:, None]
    filters = np.maximum(0, np.minimum(rise, fall))
    return (filters * (2 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def _to_mel(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    logs = 15 + np.log(np.maximum(hertz, 1) / 1000) * 27 / log(6.4)
    return np.where(hertz < 1000, hertz * 3 / 200, logs)


def _from_mel(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * log(6.4) / 27))
