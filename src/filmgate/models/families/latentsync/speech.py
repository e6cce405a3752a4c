"""What each frame hears: states of Whisper's encoder around its time.

The encoder takes 30 seconds at once. The published code gives it blocks that do not overlap, so
frames at their edges are heard without what follows. Here blocks overlap by 10 seconds, and each is
used only where 5 seconds on both sides are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.instrumentation.phases import phase
from filmgate.core.stage import Reach
from filmgate.errors import BadInput, StageContractError
from filmgate.media.audio.reader import AudioReader
from filmgate.models.families.latentsync.whisper import (
    BLOCK_COLUMNS,
    HOP,
    WhisperEncoder,
    compute_log_mel,
    normalize_log_mel,
)

SECONDS = "lipsync.seconds"  # tuple of Frames: the seconds of speech from a frame's time on
TOKENS = "lipsync.tokens"  # tensor (T, C): what the frame hears
FPS = Fraction(25)
AHEAD = Fraction(31)  # seconds of speech that a frame needs after its own time
ROWS_PER_FRAME = 2  # rows of states: 50 a second
BEFORE, AFTER = 4, 6  # rows of a frame's window before its time and from it on
_BLOCK = BLOCK_COLUMNS // 2  # rows of a block
_MARGIN = 250  # rows at both ends of a block that are used only where there is no other block
_EDGE = 2 * HOP  # samples around a column that affect it, and some more
_SHORTEST = 400  # samples
_STRETCH = 30  # seconds that are measured at once

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Speech:
    """What must be known of a speech before its first frame: its length and its loudest band."""

    samples: int
    loudest: float

    @property
    def rows(self) -> int:
        """Rows of the encoder's states, 50 a second."""
        return self.samples // HOP // 2

    @property
    def frames(self) -> int:
        """Frames of the result: as many as the published code makes."""
        return self.rows // ROWS_PER_FRAME + 2


def measure_speech(path: Path) -> Speech:
    """Read a file of speech, once as long as it stays as it is.

    Raises BadInput for one without audio, or with too little.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}; check the name") from error
    return _measure(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=16)
def _measure(path: Path, size: int, changed_ns: int) -> Speech:
    held, first, loudest = np.zeros(0, np.float32), 0, -np.inf
    column, total = 0, 0
    for samples in AudioReader(path).iter_seconds():
        held, total = np.concatenate([held, samples]), total + len(samples)
        if total >= (column + 100 * _STRETCH) * HOP + _EDGE:
            mel = _compute_columns(held, first, column, column + 100 * _STRETCH)
            loudest, column = max(loudest, float(mel.max())), column + 100 * _STRETCH
            held, first = _drop_before(held, first, column * HOP - _EDGE)
    if total < _SHORTEST:
        raise BadInput(f"{path} has {total} samples of audio at 16 kHz, wanted at least "
                       f"{_SHORTEST}: pass a file with speech")  # fmt: skip
    if column < total // HOP:
        mel = _compute_columns(held, first, column, total // HOP)
        loudest = max(loudest, float(mel.max()))
    return Speech(total, loudest)


def _compute_columns(samples: Samples, first: int, start: int, end: int) -> Samples:
    """Return columns of the spectrogram, of samples from `first` on, with _EDGE around them."""
    low, high = max(first, start * HOP - _EDGE), min(first + len(samples), end * HOP + _EDGE)
    mel = compute_log_mel(samples[low - first : high - first])
    return mel[:, start - low // HOP : end - low // HOP]


def _drop_before(samples: Samples, first: int, wanted: int) -> tuple[Samples, int]:
    """Return the samples from `wanted` on, and where they start."""
    cut = min(max(0, wanted - first), len(samples))
    return samples[cut:].copy(), first + cut


@dataclass(frozen=True, slots=True)
class ListenState:
    """What is kept of a speech: samples from `first` on, up to second `seconds`; and states
    (N, layers, width) of the encoder from row `row` on."""

    samples: npt.NDArray[np.float32]
    first: int
    seconds: int
    states: Any
    row: int


@dataclass(frozen=True)
class Listen:
    """Attaches to each frame, of 25 a second, the tokens that it hears; SECONDS are taken off.

    `as_upstream`: blocks of 30 seconds that do not overlap.
    """

    encoder: WhisperEncoder = field(compare=False, repr=False)
    speech: Speech
    as_upstream: bool = False
    name: str = "audio"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(None, AHEAD)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def start(self, spec: StreamSpec, first: Position) -> ListenState:
        shape = self.encoder.shape
        empty = torch.zeros(0, shape.layers + 1, shape.width)
        return ListenState(np.zeros(0, np.float32), 0, 0, empty, 0)

    def step(self, state: ListenState, frames: Sequence[Frame]) -> tuple[ListenState, list[Frame]]:
        outputs = []
        for frame in frames:
            state, tokens = self._hear(state, frame)
            extras = {key: value for key, value in frame.extras.items() if key != SECONDS}
            outputs.append(replace(frame, extras={**extras, TOKENS: tokens}))
        return state, outputs

    def finish(self, state: ListenState) -> tuple[None, list[Frame]]:
        return None, []

    def _hear(self, state: ListenState, frame: Frame) -> tuple[ListenState, torch.Tensor]:
        rows = self._list_rows(frame.index)
        seconds: Any = frame.extras.get(SECONDS, ())
        state = _append(state, seconds)
        while state.row + len(state.states) <= rows[-1]:
            state = self._encode(state)
        tokens = state.states[[row - state.row for row in rows]].flatten(0, 1)
        passed = max(0, self._list_rows(frame.index + 1)[0] - state.row)
        state = replace(state, states=state.states[passed:], row=state.row + passed)
        return state, tokens

    def _list_rows(self, index: int) -> list[int]:
        """Return the rows that a frame hears; those outside are the first or the last one."""
        last, now = self.speech.rows - 1, ROWS_PER_FRAME * index
        return [min(max(0, row), last) for row in range(now - BEFORE, now + AFTER)]

    def _encode(self, state: ListenState) -> ListenState:
        """Return the state with the rows of the next block."""
        start, low, high = self._find_block(state.row + len(state.states))
        columns = min(2 * start + BLOCK_COLUMNS, self.speech.samples // HOP)
        if state.first + len(state.samples) < min(columns * HOP + _EDGE, self.speech.samples):
            raise StageContractError(f"{self.name} has speech up to second {state.seconds}, wanted "
                                     f"{columns // 100}: its window is too small")  # fmt: skip
        mel = _compute_columns(state.samples, state.first, 2 * start, columns)
        block = np.zeros((self.encoder.shape.bands, BLOCK_COLUMNS), np.float32)
        block[:, : columns - 2 * start] = normalize_log_mel(mel, self.speech.loudest)
        weights = self.encoder.conv1.weight
        with phase("whisper"), torch.inference_mode():
            states = self.encoder(torch.from_numpy(block)[None].to(weights.device, weights.dtype))
            owned = states[0, low - start : high - start].cpu().clone()
        known = torch.cat([state.states.to(owned), owned]) if len(state.states) else owned
        following = self._find_block(high)[0] if high < self.speech.rows else start
        samples, first = _drop_before(state.samples, state.first, 2 * following * HOP - _EDGE)
        row = state.row if len(state.states) else low
        return replace(state, samples=samples, first=first, states=known, row=row)

    def _find_block(self, row: int) -> tuple[int, int, int]:
        """Return the first row of the block that a row is read from, and which rows are."""
        for start, low, high in self._list_blocks(row):
            if low <= row < high:
                return start, low, high
        raise StageContractError(f"row {row} is in no block of {self.speech.rows}")

    def _list_blocks(self, row: int) -> Iterator[tuple[int, int, int]]:
        """Yield the blocks around a row: where each starts, and which rows are read from it."""
        total = self.speech.rows
        margin = 0 if self.as_upstream else _MARGIN
        stride = _BLOCK - 2 * margin
        last = max(0, -(-(total - _BLOCK) // stride))
        for k in range(max(0, row // stride - 1), min(last, row // stride + 1) + 1):
            low = k * stride + (margin if k else 0)
            yield k * stride, low, total if k == last else (k + 1) * stride + margin


def _append(state: ListenState, seconds: Sequence[Frame]) -> ListenState:
    """Return the state with the seconds of speech that it does not have yet."""
    new = [second for second in seconds if second.index >= state.seconds]
    if not new:
        return state
    if new[0].index > state.seconds:
        raise StageContractError(
            f"speech is at second {new[0].index}, wanted {state.seconds}: frames must start at 0, "
            "without gaps"
        )
    parts: list[Any] = [second.image for second in new]
    samples = np.concatenate([state.samples, *parts])
    return replace(state, samples=samples, seconds=new[-1].index + 1)
