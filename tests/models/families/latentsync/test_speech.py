"""What frames hear: windows, blocks, and the same rows however they come."""

import wave
from fractions import Fraction as F
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from filmgate.core.frame import Frame, Position
from filmgate.errors import BadInput, StageContractError
from filmgate.models.families.latentsync.speech import (
    SECONDS,
    TOKENS,
    Listen,
    Speech,
    measure_speech,
)
from filmgate.models.families.latentsync.whisper import compute_log_mel, normalize_log_mel
from filmgate.testing import make_sample_video
from tests.models.families.latentsync import tiny

RATE = 16_000


def make_noise(seconds: float) -> npt.NDArray[np.float32]:
    chance = np.random.default_rng(1)
    loud = 0.1 + 0.4 * np.abs(np.sin(np.arange(int(seconds * RATE)) / 5000))
    return (loud * chance.uniform(-1, 1, len(loud))).astype(np.float32)


def save(path: Path, samples: npt.NDArray[np.float32]) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def hear(stage: Listen, samples: npt.NDArray[np.float32], indexes: range) -> torch.Tensor:
    """Return what frames hear that come with the next 31 seconds."""
    seconds = [Frame(n, F(n), F(1), samples[n * RATE : (n + 1) * RATE])
               for n in range(-(-len(samples) // RATE))]  # fmt: skip
    spec = make_sample_video(1).spec
    state, tokens = stage.start(spec, Position(indexes[0], F(indexes[0], 25))), []
    for k in indexes:
        window = tuple(second for second in seconds if k / 25 - 1 < second.index < k / 25 + 31.04)
        frame = Frame(k, F(k, 25), F(1, 25), (), {SECONDS: window})
        state, (out,) = stage.step(state, [frame])
        tokens.append(out.extras[TOKENS])
    return torch.stack(tokens)  # type: ignore[arg-type]


@pytest.mark.parametrize(("seconds", "frames"), [(9.6, 242), (30, 752), (65, 1627), (0.04, 3)])
def test_number_of_frames_is_that_of_the_published_code(seconds: float, frames: int) -> None:
    assert Speech(int(seconds * RATE), 0.0).frames == frames


def test_windows_of_rows_are_those_of_the_published_code() -> None:
    stage = Listen(tiny.build_whisper(), Speech(480 * 320, 0.0))
    assert stage._list_rows(0) == [0, 0, 0, 0, 0, 1, 2, 3, 4, 5]
    assert stage._list_rows(5) == list(range(6, 16))
    assert stage._list_rows(239) == [474, 475, 476, 477, 478, *[479] * 5]


def test_up_to_30_seconds_are_heard_as_in_the_published_code() -> None:
    """One block, padded with zeros after it was normalized."""
    samples, encoder = make_noise(2.2), tiny.build_whisper()
    mel = compute_log_mel(samples)
    block = np.zeros((80, 3000), np.float32)
    block[:, : mel.shape[1]] = normalize_log_mel(mel, float(mel.max()))
    with torch.inference_mode():
        states = encoder(torch.from_numpy(block)[None])[0, : mel.shape[1] // 2]
    found = hear(Listen(encoder, Speech(len(samples), float(mel.max()))), samples, range(57))
    assert found.shape == (57, 50, 16)
    row, layer = 3, 2  # time first
    assert torch.allclose(found[20, 5 * row + layer], states[40 - 4 + row, layer], atol=1e-5)
    assert torch.equal(found[56, -5:], found[55, -5:])


@pytest.mark.slow
def test_blocks_overlap_so_that_no_frame_is_heard_without_what_follows() -> None:
    """Of 70 seconds: blocks start every 20 seconds, and as published every 30."""
    samples, encoder = make_noise(70), tiny.build_whisper()
    speech = Speech(len(samples), 1.0)
    stage = Listen(encoder, speech)
    blocks = {stage._find_block(row) for row in range(speech.rows)}
    assert blocks == {(0, 0, 1250), (1000, 1250, 2250), (2000, 2250, 3500)}
    published = Listen(encoder, speech, as_upstream=True)
    assert {published._find_block(row) for row in range(speech.rows)} == {
        (0, 0, 1500), (1500, 1500, 3000), (3000, 3000, 3500),
    }  # fmt: skip
    complete = hear(stage, samples, range(speech.frames))
    at_edges = hear(published, samples, range(speech.frames))
    differs = (at_edges - complete).abs().amax((1, 2)) > 1e-3
    assert not differs[: 1250 // 2 - 10].any()  # in the first block both hear the same
    assert differs[740:760].all()


def test_a_window_that_is_too_small_is_reported() -> None:
    stage = Listen(tiny.build_whisper(), Speech(40 * RATE, 0.0))
    frame = Frame(0, F(0), F(1, 25), (), {SECONDS: ()})
    spec = make_sample_video(1).spec
    with pytest.raises(StageContractError, match="window"):
        stage.step(stage.start(spec, Position(0, F(0))), [frame])
    late = Frame(0, F(0), F(1, 25), (), {SECONDS: (Frame(2, F(2), F(1), np.zeros(RATE)),)})
    with pytest.raises(StageContractError, match="second 2, wanted 0"):
        stage.step(stage.start(spec, Position(0, F(0))), [late])


def test_a_file_is_measured_in_parts_as_if_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = make_noise(7.3)
    path = save(tmp_path / "speech.wav", samples)
    stored = ((samples * 32767).astype("<i2") / 32768).astype(np.float32)
    at_once = measure_speech(path)
    assert at_once == Speech(len(samples), float(compute_log_mel(stored).max()))
    monkeypatch.setattr("filmgate.models.families.latentsync.speech._STRETCH", 2)
    again = save(tmp_path / "again.wav", samples)
    assert measure_speech(again) == at_once


@pytest.mark.parametrize("count", [0, 399])
def test_too_little_speech_is_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(BadInput, match=r"short\.wav"):
        measure_speech(save(tmp_path / "short.wav", np.zeros(count, np.float32)))
