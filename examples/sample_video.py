"""Make a short video: moving texture, a shot boundary, text, a variable frame rate, audio.

python examples/sample_video.py [video.mp4]
"""

import sys
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import cv2
import numpy as np

STEPS_MS = [40] * 36 + [30, 50, 70, 33] * 9  # constant, then variable as on a phone
WIDTH, HEIGHT, RATE, CUT = 384, 216, 48_000, 36


def make(path: Path) -> Path:
    """Write the video: two shots of 36 frames, and a tone that changes with the shot."""
    noise = np.random.default_rng(1).normal(0, 1, (2, 400, 640, 3)).astype(np.float32)
    soft = [cv2.GaussianBlur(shot, (0, 0), 10) * 1200 for shot in noise]
    shots = soft[0] + (90, 110, 150), soft[1] + (150, 110, 80)
    times = [0, *accumulate(STEPS_MS)]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "16"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream("aac", rate=RATE, layout="mono")
        for n, ms in enumerate(times[:-1]):
            x, y = (5 * n, 2 * n) if n < CUT else (250 - 4 * (n - CUT), n)
            image = shots[n >= CUT][y : y + HEIGHT, x : x + WIDTH].clip(0, 255).astype(np.uint8)
            text, place = "shot two" if n >= CUT else "shot one", (20 + 3 * (n % CUT), 120)
            cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 1.5, (255,) * 3, 4)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = ms, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        seconds = np.arange(RATE * times[-1] // 1000) / RATE
        tone = np.sin(2 * np.pi * np.where(seconds < times[CUT] / 1000, 440, 660) * seconds) / 4
        samples = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), "fltp", "mono")
        samples.sample_rate, samples.pts = RATE, 0
        container.mux([*audio.encode(samples), *audio.encode()])
    return path


if __name__ == "__main__":
    print(make(Path(sys.argv[1] if len(sys.argv) > 1 else "video.mp4")))
