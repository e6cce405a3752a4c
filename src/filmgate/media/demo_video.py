"""The video of `filmgate demo`: texture, a shot boundary, text, a variable frame rate, audio."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import cv2
import numpy as np

_STEPS_MS = [40] * 36 + [30, 50, 70, 33] * 9  # constant, then variable as on a phone
_WIDTH, _HEIGHT, _RATE, _BOUNDARY = 384, 216, 48_000, 36


def make_demo_video(path: Path) -> None:
    """Write two shots of 36 frames that pan over noise, and a tone that changes with the shot."""
    times = [0, *accumulate(_STEPS_MS)]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "16"})
        video.width, video.height, video.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("aac", rate=_RATE, layout="mono")
        for ms, frame in zip(times, _draw_frames(), strict=False):
            frame.pts, frame.time_base = ms, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        seconds = np.arange(_RATE * times[-1] // 1000) / _RATE
        pitch = np.where(seconds < times[_BOUNDARY] / 1000, 440, 660)
        tone = np.sin(2 * np.pi * pitch * seconds) / 4
        samples = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), "fltp", "mono")
        samples.sample_rate, samples.pts = _RATE, 0
        container.mux([*audio.encode(samples), *audio.encode()])


def _draw_frames() -> list[av.VideoFrame]:
    noise = np.random.default_rng(1).normal(0, 1, (2, 400, 640, 3)).astype(np.float32)
    soft = [cv2.GaussianBlur(shot, (0, 0), 10) * 1200 for shot in noise]
    shots = soft[0] + (90, 110, 150), soft[1] + (150, 110, 80)
    frames = []
    for n in range(len(_STEPS_MS)):
        x, y = (5 * n, 2 * n) if n < _BOUNDARY else (250 - 4 * (n - _BOUNDARY), n)
        image = shots[n >= _BOUNDARY][y : y + _HEIGHT, x : x + _WIDTH].clip(0, 255).astype(np.uint8)
        text, place = "shot two" if n >= _BOUNDARY else "shot one", (20 + 3 * (n % _BOUNDARY), 120)
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 1.5, (255,) * 3, 4)
        frames.append(av.VideoFrame.from_ndarray(image, format="rgb24"))
    return frames
