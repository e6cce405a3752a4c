"""The rolling denoiser with a stub in place of a network: which frames are denoised when."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from filmgate.core import serialization
from filmgate.core.values import count_bytes
from filmgate.errors import BadSetting
from filmgate.models.diffusion.rolling import Piles, RollingDenoiser, draw_frames

WINDOW = 2


class Steps:
    """Levels 0, 1, 2; noise is added and removed by addition, so that all is exact."""

    levels = (0, 1, 2)

    def add_noise(self, latents: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        return latents + noise * (levels.reshape(-1, 1, 1, 1) + 1)

    def remove_noise(self, latents: Tensor, noise: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        return latents - noise, latents - noise * (levels.reshape(-1, 1, 1, 1) + 1)


def by_index(indices: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    return torch.stack([torch.full(shape, float(100 + index)) for index in indices])


class Network:
    """Knows the noise of every frame by its window, and notes what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], list[Any]]] = []

    def __call__(self, latents: Tensor, levels: Tensor, conditions: Sequence[Any]) -> Tensor:
        self.calls.append((levels.tolist(), list(conditions)))
        first = conditions[0] * WINDOW
        return by_index(range(first, first + len(latents)), tuple(latents.shape[1:]))


def start(denoiser: RollingDenoiser) -> Piles:
    return denoiser.start(torch.ones(4, 1, 2, 2), (-2, -1))


def test_each_window_passes_all_levels_and_leaves_without_noise() -> None:
    network = Network()
    denoiser = RollingDenoiser(Steps(), WINDOW, by_index)
    piles, left = start(denoiser), []
    for number in range(5):
        clean = torch.full((WINDOW, 1, 2, 2), float(number))
        piles, window = denoiser.push(piles, clean, number, network)
        left.append(window)
    assert [window.number for window in left] == [-2, -1, 0, 1, 2]
    assert [window.condition for window in left] == [-2, -1, 0, 1, 2]
    # what noise was added to comes out, so each frame was denoised at each of its levels
    assert [float(window.latents.mean()) for window in left] == [1, 1, 0, 1, 2]
    assert [levels for levels, _ in network.calls] == [[0, 0, 1, 1, 2, 2]] * 5
    assert [conditions for _, conditions in network.calls][3] == [1, 2, 3]


def test_the_state_is_plain_and_is_not_changed() -> None:
    denoiser = RollingDenoiser(Steps(), WINDOW, draw_frames(3, "stub"))
    piles = start(denoiser)
    before = serialization.dumps(piles)
    clean = torch.zeros(WINDOW, 1, 2, 2)
    after, window = denoiser.push(piles, clean, 0, lambda x, levels, c: x / 2)
    assert serialization.dumps(piles) == before
    again, same = denoiser.push(serialization.loads(before), clean, 0, lambda x, levels, c: x / 2)
    assert torch.equal(again.latents, after.latents)
    assert torch.equal(same.latents, window.latents)


def test_noise_belongs_to_a_frame() -> None:
    one, other = draw_frames(3, "stub"), draw_frames(4, "stub")
    together = one(range(-2, 3), (1, 2, 2))
    assert torch.equal(together[3], one([1], (1, 2, 2))[0])
    assert not torch.equal(together[3], other([1], (1, 2, 2))[0])
    assert len({tuple(frame.flatten().tolist()) for frame in together}) == 5


def test_another_number_of_frames_is_refused() -> None:
    denoiser = RollingDenoiser(Steps(), WINDOW, by_index)
    with pytest.raises(BadSetting, match="3 latents and 2 conditions: pass 4 and 2"):
        denoiser.start(torch.ones(3, 1, 2, 2), (-2, -1))
    with pytest.raises(BadSetting, match="window is 0"):
        RollingDenoiser(Steps(), 0, by_index)


@pytest.mark.slow
def test_ten_thousand_windows_need_no_more_than_ten() -> None:
    denoiser = RollingDenoiser(Steps(), WINDOW, draw_frames(0, "stub"))
    piles, sizes = start(denoiser), set()
    for number in range(10_000):
        piles, _ = denoiser.push(
            piles, torch.zeros(WINDOW, 1, 2, 2), number, lambda x, levels, c: x / 2
        )
        sizes.add(count_bytes(piles))
    assert len(sizes) == 1
    assert piles.next == 10_000
