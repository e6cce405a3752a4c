"""Makes a short film with sound: moving texture, a cut, text, and a frame rate that varies."""

from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import cv2
import numpy as np

STEPS_MS = [40] * 36 + [30, 50, 70, 33] * 9  # even, and then as a telephone films
WIDTH, HEIGHT, RATE, CUT = 384, 216, 48_000, 36


def make(path: Path) -> Path:
    """Writes the film: two shots of 36 frames, with a tone that changes at the cut."""
    noise = np.random.default_rng(1).normal(0, 1, (2, 400, 640, 3)).astype(np.float32)
    soft = [cv2.GaussianBlur(shot, (0, 0), 10) * 1200 for shot in noise]
    shots = soft[0] + (90, 110, 150), soft[1] + (150, 110, 80)
    times = [0, *accumulate(STEPS_MS)]
    with av.open(str(path), "w") as film:
        video = film.add_stream("libx264", rate=25, options={"crf": "16"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        sound = film.add_stream("aac", rate=RATE, layout="mono")
        for n, ms in enumerate(times[:-1]):
            x, y = (5 * n, 2 * n) if n < CUT else (250 - 4 * (n - CUT), n)
            picture = shots[n >= CUT][y : y + HEIGHT, x : x + WIDTH].clip(0, 255).astype(np.uint8)
            text, place = "shot two" if n >= CUT else "shot one", (20 + 3 * (n % CUT), 120)
            cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 1.5, (255,) * 3, 4)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = ms, Fraction(1, 1000)
            film.mux(video.encode(frame))
        film.mux(video.encode())
        seconds = np.arange(RATE * times[-1] // 1000) / RATE
        tone = np.sin(2 * np.pi * np.where(seconds < times[CUT] / 1000, 440, 660) * seconds) / 4
        samples = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), "fltp", "mono")
        samples.sample_rate, samples.pts = RATE, 0
        film.mux([*sound.encode(samples), *sound.encode()])
    return path
