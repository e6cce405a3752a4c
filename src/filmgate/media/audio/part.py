"""Cut a part out of a file of audio."""

from __future__ import annotations

import wave
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np

from filmgate.media.audio.reader import SAMPLE_RATE, AudioReader


def write_part(path: Path, start: Fraction, end: Fraction, out: Path) -> Path:
    """Write the seconds from `start` to `end` of a file of audio as a wav; return its path.

    One channel at 16 kHz, as networks for speech take it. Raises BadInput.
    """
    first, last, at = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE), 0
    with wave.open(str(out), "wb") as file, closing(AudioReader(path).iter_seconds()) as seconds:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        for samples in seconds:
            part = samples[max(0, first - at) : max(0, last - at)]
            file.writeframes(np.rint(part * 32768).clip(-32768, 32767).astype("<i2").tobytes())
            at += len(samples)
            if at >= last:
                break
    return out
