"""Give a real clip new speech, from files to a file, twice: what changes, and what the cache saves.

Small networks with weights by rule, one denoising step, and one box by hand: what is measured is
the path, not how fast or good the published model is. The clip and the speech are those of
LatentSync's authors; the second speech is the first one from its middle on. The result is lossless
(FFV1), so that each sample outside of the soft mask can be compared with the source. The mask is
computed again, from the box alone.
"""

import argparse
import sys
import tempfile
import wave
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from _common import CLIPS, write_result

ROOT = Path(__file__).parents[1]
BOX = "505,590,180,275"  # of the face in the first frame
SIDE = 64  # of a face to the network: more takes minutes, and changes nothing of the path


def run(source: Path, speech: Path, out: Path) -> dict[str, Any]:
    """Return what was measured of one speech."""
    import filmgate as fg
    from filmgate.media.audio.audio_file import AudioFile
    from filmgate.models.diffusion.autoencoder import Autoencoder
    from filmgate.tasks.lipsync import LipSync
    from tests.models.families.latentsync import tiny

    encoded, encode = list[int](), Autoencoder.encode

    def count(self: Any, images: Any) -> Any:
        encoded.append(len(images) // 2)  # with and without the lower half
        return encode(self, images)

    Autoencoder.encode = count  # type: ignore[method-assign]
    task = LipSync(speech=AudioFile(speech), options=tiny.build_options(side=SIDE), box=BOX)
    job = fg.Job(fg.VideoFile(source), fg.VideoOutput(out, codec="ffv1"), (task,))
    plan = fg.Plan(chunk=16, segment_frames=96, torch_threads=1, cache=True)
    start, cpu, done = perf_counter(), process_time(), None
    for event in fg.events(job, plan):
        if isinstance(event, fg.Done):
            done = event
    Autoencoder.encode = encode  # type: ignore[method-assign]
    assert done is not None
    return {
        "frames": done.written,
        "faces encoded": sum(encoded),
        "seconds of faces": round(done.busy["faces"], 2),
        "seconds of lips": round(done.busy["lipsync"], 2),
        "CPU seconds": round(process_time() - cpu, 1),
        "seconds": round(perf_counter() - start, 1),
    }


def compare(source: Path, out: Path) -> dict[str, Any]:
    """Return how many frames are the source's outside of the soft mask, bit for bit."""
    from filmgate.models.families.latentsync.pixels import make_soft_mask

    frames = same = 0
    changed = list[float]()
    for (image, matrix, crop, shown), result in zip(iter_faces(source), iter_frames(out),
                                                    strict=False):  # fmt: skip
        soft, part = make_soft_mask(image, matrix, crop, shown)
        slices = part.list_slices(image)
        is_same = True
        for plane, (old, new) in enumerate(zip(image.arrays, result.image.arrays, strict=True)):
            different, inside = old != new, np.zeros(old.shape, bool)
            if not plane:
                inside[slices[0]] = soft > 0
                changed.append(float(different.sum() / max(1, (soft > 0).sum())))
            else:
                inside[slices[plane]] = True  # a sample of chroma covers four of luma
            is_same &= not (different & ~inside).any()
        frames, same = frames + 1, same + is_same
    return {"frames": frames, "the same outside": same,
            "changed inside (%)": round(100 * float(np.mean(changed)), 1)}  # fmt: skip


def iter_frames(path: Path) -> Iterator[Any]:
    from filmgate.media.sources import VideoFile

    with VideoFile(path).open() as video:
        for frames, _ in video.read(None, 8):
            yield from frames


def iter_faces(source: Path) -> Iterator[Any]:
    """Yield each image with the matrix of its face, its crop, and how much of it is seen."""
    from filmgate.models.families.latentsync.alignment import Crop, align
    from filmgate.models.families.latentsync.faces import LANDMARKS, FollowBox
    from filmgate.models.families.latentsync.mask import make_soft_edges
    from filmgate.tasks.lipsync import parse_box

    follow, crop, bias = FollowBox(parse_box(BOX)), Crop(SIDE), ()
    _, shown = make_soft_edges(SIDE)
    state: Any = None
    for frame in iter_frames(source):
        if state is None:
            state = follow.start(None, frame.position)  # type: ignore[arg-type]
        state, (found,) = follow.step(state, (frame,))
        matrix, bias = align(found.extras[LANDMARKS], bias, crop)  # type: ignore[arg-type,assignment]
        yield frame.image, matrix, crop, shown


def read_audio(path: Path) -> Any:
    import av

    with av.open(str(path)) as container:
        return np.concatenate([one.to_ndarray().ravel() for one in container.decode(audio=0)])


def cut_speech(path: Path, out: Path) -> Path:
    """Write the second half of a wav."""
    with wave.open(str(path), "rb") as file:
        settings, total = file.getparams(), file.getnframes()
        file.setpos(total // 2)
        rest = file.readframes(total)
    with wave.open(str(out), "wb") as file:
        file.setparams(settings)
        file.writeframes(rest)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, default=CLIPS / "ls_demo1.mp4")
    parser.add_argument("--speech", type=Path, default=CLIPS / "ls_demo1_audio.wav")
    parser.add_argument("--out", type=Path, help="keep the result of the first speech here")
    parser.add_argument("--no-result", action="store_true", help="write nothing")
    args = parser.parse_args()
    sys.path.append(str(ROOT))
    from filmgate.quality.verify import check

    rows = dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory() as name:
        import os

        folder = Path(name)
        os.environ["FILMGATE_CACHE"] = str(folder / "cache")
        speeches = {"the first speech": args.speech,
                    "another, half as long": cut_speech(args.speech, folder / "half.wav"),
                    "the first again": args.speech}  # fmt: skip
        for n, (title, speech) in enumerate(speeches.items()):
            out = folder / f"{n}.mkv"
            rows[title] = run(args.video, speech, out)
            rows[title]["audio is the speech"] = np.array_equal(read_audio(out), read_audio(speech))
            rows[title]["checked"] = check(out, args.video).ok
            print(title, rows[title], flush=True)
            if n:
                out.unlink()
        found = compare(args.video, folder / "0.mkv")
        print(found)
        if args.out:
            args.out.write_bytes((folder / "0.mkv").read_bytes())
    if not args.no_result:
        write_result("lipsync_clip", {"rows": rows, "outside": {args.video.stem: found}},
                     torch=version("torch"))  # fmt: skip


if __name__ == "__main__":
    main()
