"""Attention and feed-forward layers of diffusion models, by the names of published weights.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

KeysValues = tuple[Tensor, Tensor]  # (N, heads, tokens, width of a head), each


class Attention(nn.Module):
    """Attention of tokens (N, T, C) to themselves, or to those of another width."""

    def __init__(self, width: int, heads: int, context: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context or width, width, bias=False)
        self.to_v = nn.Linear(context or width, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width), nn.Identity()])

    def project(self, tokens: Tensor) -> KeysValues:
        """Return keys and values of tokens (N, T, C)."""
        return self._split(self.to_k(tokens)), self._split(self.to_v(tokens))

    def attend(self, x: Tensor, to: KeysValues) -> Tensor:
        """Return the result for x (N, T, C) and keys and values of N rows."""
        seen = functional.scaled_dot_product_attention(self._split(self.to_q(x)), *to)
        return self.to_out[0](seen.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.attend(x, self.project(x if context is None else context))

    def _split(self, tokens: Tensor) -> Tensor:
        return torch.unflatten(tokens, 2, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers around a gated GELU (Shazeer, "GLU Variants Improve Transformer", 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first = nn.Module()
        first.proj = nn.Linear(width, 8 * width)
        self.net = nn.ModuleList([first, nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x: Tensor) -> Tensor:
        """Return the result for x (N, T, C), a part at a time: inside it is 12 times as wide."""
        rows = self.count_rows(x)
        if rows >= len(x):
            return self._run(x)
        result = torch.empty_like(x)
        for k in range(0, len(x), rows):
            result[k : k + rows] = self._run(x[k : k + rows])
        return result

    def count_rows(self, x: Tensor) -> int:
        """Return how many rows of x are computed at a time."""
        return len(x)

    def _run(self, x: Tensor) -> Tensor:
        values, gates = self.net[0].proj(x).chunk(2, -1)  # type: ignore[operator]
        return self.net[2](functional.gelu(gates).mul_(values))  # type: ignore[no-any-return]
