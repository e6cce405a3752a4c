"""Give a short video an hour of new speech, from files to a file, and watch the process's memory.

Stub networks and one denoising step: what is measured is whether memory grows with the speech, not
how fast the published model is. The UNet is one function of its inputs, the autoencoder means of
8x8 pixels, Whisper a small encoder with weights by rule. The video runs back and forth, and has a
face in one fifth of its frames, so that an hour of it takes minutes.
"""

import argparse
import json
import sys
import tempfile
import wave
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from _common import make_video, write_result

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, BOX = 96, 80, (20, 8, 50, 55)
SOURCE_FRAMES, FACES = 250, 50
SETTLED = 2000  # frames until libraries are loaded and buffers filled


def save_speech(path: Path, seconds: int) -> Path:
    """Write a wav of a tone whose pitch changes every second, second by second."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        for second in range(seconds):
            tone = 8000 * np.sin(np.arange(16_000) / (5 + second % 11))
            file.writeframes(tone.astype("<i2").tobytes())
    return path


def put_stubs() -> Any:
    """Put stubs in place of UNet and autoencoder, and return options with small weights."""
    sys.path.append(str(ROOT))
    from filmgate.models.diffusion import weights_files
    from filmgate.models.families.latentsync.unet import UNet
    from tests.models.families.latentsync import tiny

    def predict(self: Any, x: Any, step: int, audio: Any) -> tuple[Any, Any]:
        heard = audio[0].heard[0].float().mean()
        return x[:, :, :4] * 0.1 + heard, x

    average = tiny.Average()
    UNet.forward = predict  # type: ignore[method-assign]
    weights_files.open_autoencoder = lambda *_: average
    return tiny.build_options(guidance=Fraction(1))


def run(folder: Path, seconds: int) -> dict[str, Any]:
    """Run, and return what was measured."""
    options = put_stubs()
    import filmgate as fg
    from filmgate.media.audio.audio_file import AudioFile
    from filmgate.media.records.record_file import RecordFile
    from filmgate.quality.verify import check
    from filmgate.tasks.lipsync import LipSync

    source = make_video(folder / "talk.mp4", WIDTH, HEIGHT, SOURCE_FRAMES)
    boxes = [{"frame": n, "box": BOX} for n in range(FACES)]
    (folder / "faces.jsonl").write_text("\n".join(map(json.dumps, boxes)))
    speech = save_speech(folder / "speech.wav", seconds)
    task = LipSync(speech=AudioFile(speech), options=options,
                   faces=RecordFile(folder / "faces.jsonl"))  # fmt: skip
    out = folder / "out.mkv"
    job = fg.Job(fg.VideoFile(source), fg.VideoOutput(out, preset="ultrafast"), (task,))
    start, seen, done = perf_counter(), list[tuple[int, int]](), None
    for event in fg.events(job, fg.Plan(chunk=32, segment_frames=3200, torch_threads=1)):
        if isinstance(event, fg.Progress):
            seen.append((event.read, event.resident_bytes))
            if len(seen) % 50 == 0:
                print(event.read, event.resident_bytes >> 20, round(perf_counter() - start),
                      flush=True)  # fmt: skip
        elif isinstance(event, fg.Done):
            done = event
    assert done is not None
    read, resident = np.array(seen).T
    late = read > min(SETTLED, read[-1] // 2)
    slope, _ = np.polyfit(read[late], resident[late], 1)
    return {
        "frames": done.written,
        "seconds": round(perf_counter() - start, 1),
        "resident_gb": round(float(resident[late].max()) / 1e9, 3),
        "bytes_per_frame": round(float(slope)),
        "checked": check(out, source).ok,
        "curve": [[int(n), int(held)] for n, held in seen[:: max(1, len(seen) // 60)]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--no-result", action="store_true", help="write nothing")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = run(Path(folder), args.seconds)
    print({name: value for name, value in measured.items() if name != "curve"})
    if not args.no_result:
        curve, name = measured.pop("curve"), f"{args.seconds // 60} minutes, {WIDTH}x{HEIGHT}"
        write_result("lipsync_memory", {"rows": {name: measured}, "curve": curve},
                     torch=version("torch"))  # fmt: skip


if __name__ == "__main__":
    main()
