"""New speech for a video, from files to a file: frames, rate, audio, resuming, and the cache."""

import json
import wave
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

import filmgate as fg
from filmgate.cli.request import DisplayOptions, Request, SampleOptions
from filmgate.cli.sample import run_sample
from filmgate.errors import BadInput, BadSetting, BadWeights, Exit
from filmgate.media.audio.audio_file import AudioFile
from filmgate.media.audio.reader import AudioReader
from filmgate.media.pixels.planes import Planes
from filmgate.media.records.record_file import RecordFile
from filmgate.models.diffusion import weights_files
from filmgate.models.families.latentsync.sampler import Sampler
from filmgate.storage import result_cache
from filmgate.tasks.lipsync import LipSync
from filmgate.tasks.provenance import write_tag
from tests.models.families.latentsync import tiny
from tests.videos import Video, make

PLAN = fg.Plan(chunk=2, segment_frames=8, torch_threads=1)


def save_tone(path: Path, seconds: float) -> Path:
    """Write a wav at 44.1 kHz in stereo, its pitch by its length."""
    tone = 8000 * np.sin(np.arange(int(44_100 * seconds)) / (9 + seconds))
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 44_100, 0, "NONE", ""))
        file.writeframes(np.repeat(tone[:, None], 2, 1).astype("<i2").tobytes())
    return path


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put means in place of the autoencoder, and compute on one thread."""
    average = tiny.Average()
    monkeypatch.setattr(weights_files, "open_autoencoder", lambda *_: average)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_job(folder: Path, seconds: float = 0.75, speech: str = "speech.wav", **own: Any) -> fg.Job:
    """24 frames of 192x128 at 25 fps with audio and subtitles of their own, and a speech."""
    source = folder / "in.mkv"
    if not source.exists():
        video = Video(frames=24, size=(192, 128), sounds=("aac",), subtitles="subrip")
        make(video, source)
    settings = {"options": tiny.build_options(), "box": "60,20,60,70", **own}
    task = LipSync(speech=AudioFile(save_tone(folder / speech, seconds)), **settings)
    return fg.Job(fg.VideoFile(source), fg.VideoOutput(folder / "out.mkv", codec="ffv1"), (task,))


def read(path: Path) -> list[Planes]:
    return [frame.image for frame in fg.frames((), path)]  # type: ignore[misc]


def list_streams(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.type for stream in container.streams]


def read_audio(path: Path) -> Any:
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        assert frames[0].pts == 0
        return np.concatenate([frame.to_ndarray().reshape(-1, 2) for frame in frames])


def test_result_is_as_long_as_the_speech_and_has_its_audio(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    *_, done = fg.events(job, PLAN)
    old, new = read(tmp_path / "in.mkv"), read(tmp_path / "out.mkv")
    assert len(new) == 37 // 2 + 2  # 0.75 s are 37 rows
    assert isinstance(done, fg.Done)
    for before, after in zip(old, new, strict=False):
        changed = np.argwhere(before.arrays[0] != after.arrays[0])
        assert len(changed) > 100
        assert changed.min(0).tolist() > [35, 40]
    assert list_streams(tmp_path / "out.mkv") == ["video", "audio"]
    with av.open(str(tmp_path / "speech.wav")) as speech:
        wanted = np.concatenate(
            [frame.to_ndarray().reshape(-1, 2) for frame in speech.decode(audio=0)]
        )
    assert np.array_equal(read_audio(tmp_path / "out.mkv"), wanted)
    assert str(tmp_path) not in write_tag(job)


def test_for_a_longer_speech_the_video_runs_back_and_forth(tmp_path: Path) -> None:
    lines = [f'{{"frame": {n}, "box": [60, 20, 60, 70]}}' for n in (2, 3)]
    (tmp_path / "faces.jsonl").write_text("\n".join(lines))
    faces = RecordFile(tmp_path / "faces.jsonl")
    make(Video(frames=10, size=(192, 128)), tmp_path / "in.mkv")
    job = make_job(tmp_path, seconds=0.93, box=None, faces=faces)
    list(fg.events(job, PLAN))
    old, new = read(tmp_path / "in.mkv"), read(tmp_path / "out.mkv")
    assert len(new) == 25
    shown = [*range(10), *reversed(range(10)), *range(5)]
    same = [np.array_equal(old[n].arrays[0], b.arrays[0]) for n, b in zip(shown, new, strict=True)]
    assert [shown[n] for n, equal in enumerate(same) if not equal] == [2, 3, 3, 2, 2, 3]
    assert len(read_audio(tmp_path / "out.mkv")) == int(0.93 * 44_100)


@pytest.mark.slow
def test_another_rate_becomes_25(tmp_path: Path) -> None:
    make(Video(frames=30, size=(192, 128), rate=F(30)), tmp_path / "in.mkv")
    list(fg.events(make_job(tmp_path), PLAN))
    frames = list(fg.frames((), tmp_path / "out.mkv"))
    assert len(frames) == 20
    assert {frame.duration for frame in frames} == {F(1, 25)}


@pytest.mark.slow
def test_stopped_and_resumed_it_is_the_same(tmp_path: Path) -> None:
    job = make_job(tmp_path, seconds=0.9)
    list(fg.events(job, PLAN))
    wanted = read(tmp_path / "out.mkv")
    (tmp_path / "out.mkv").unlink()
    events = fg.events(job, PLAN)
    while not isinstance(next(events), fg.Committed):
        pass
    events.close()
    starts = [event.read for event in fg.events(job, PLAN) if isinstance(event, fg.Started)]
    assert starts == [8]
    found = read(tmp_path / "out.mkv")
    assert len(found) == len(wanted) == 24
    assert all(np.array_equal(a.arrays[0], b.arrays[0]) for a, b in zip(found, wanted, strict=True))


def test_a_second_speech_on_the_same_video_finds_its_faces_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(result_cache.FOLDER, str(tmp_path / "cache"))
    encoded, denoised = list[int](), list[int]()
    encode, denoise = tiny.Average.encode, Sampler.denoise

    def count_encodes(self: Any, images: Any) -> Any:
        encoded.append(len(images))
        return encode(self, images)

    def count_clips(self: Any, clip: Any, *rest: Any) -> Any:
        denoised.append(clip.frames)
        return denoise(self, clip, *rest)

    monkeypatch.setattr(tiny.Average, "encode", count_encodes)
    monkeypatch.setattr(Sampler, "denoise", count_clips)
    plan = replace(PLAN, cache=True)
    list(fg.events(make_job(tmp_path), plan))
    assert (sum(encoded), len(denoised)) == (2 * 20, 2)
    (tmp_path / "out.mkv").unlink()
    encoded.clear()
    list(fg.events(replace(make_job(tmp_path, 0.7, "other.wav"), seed=3), plan))
    assert not encoded
    assert len(denoised) == 4


@pytest.mark.slow
def test_boxes_of_a_file_are_used_by_their_frame(tmp_path: Path) -> None:
    lines = [f'{{"frame": {n}, "box": [60, 20, 60, 70]}}' for n in range(24) if n not in (3, 4)]
    (tmp_path / "faces.jsonl").write_text("\n".join(lines))
    list(fg.events(make_job(tmp_path, box=None, faces=RecordFile(tmp_path / "faces.jsonl")), PLAN))
    old, new = read(tmp_path / "in.mkv"), read(tmp_path / "out.mkv")
    same = [np.array_equal(a.arrays[0], b.arrays[0]) for a, b in zip(old, new, strict=False)]
    assert [n for n, equal in enumerate(same) if equal] == [3, 4]


@pytest.mark.slow
def test_a_sample_is_of_parts_of_the_speech(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The source has 0.96 s, so the end of the speech is where it runs backwards."""
    (tmp_path / "faces.jsonl").write_text('{"frame": 2, "box": [60, 20, 60, 70]}')
    faces = RecordFile(tmp_path / "faces.jsonl")
    job = make_job(tmp_path, seconds=1.6, box=None, faces=faces)
    options = SampleOptions(sample=F(2, 5))
    display = DisplayOptions(in_process=True, json=True)
    request = Request(paths=(tmp_path / "out.mkv",), display=display, sample=options)
    assert run_sample(job, F(2, 5), request) == Exit.DONE
    estimate = json.loads(capsys.readouterr().out)
    assert [snippet["begin_s"] for snippet in estimate["snippets"]] == pytest.approx(
        [0, 0.64, 1.28]  # of 1.68 s: 42 frames
    )
    assert [snippet["read"] for snippet in estimate["snippets"]] == [12, 12, 10]
    assert estimate["frames"] == 42
    assert estimate["seconds"] == pytest.approx(
        42 / 34 * sum(snippet["seconds"] for snippet in estimate["snippets"])
    )
    assert not (tmp_path / "out.mkv").exists()
    with Image.open(estimate["image"]) as sheet:
        assert sheet.size[0] == 5 * 360


def test_a_part_of_the_speech_has_its_samples_and_begins_at_its_image(tmp_path: Path) -> None:
    (task,) = make_job(tmp_path, seconds=1.6, begin=F(1, 5)).tasks
    assert isinstance(task, LipSync)
    assert task.measure_seconds() == F(42, 25)
    (tmp_path / "part").mkdir()
    part = task.take_part(F(1, 2), F(11, 10), tmp_path / "part")
    assert (part.begin, part.length) == (F(7, 10), None)
    assert part.speech is not None
    assert task.speech is not None
    complete, found = (np.concatenate(list(AudioReader(Path(one.path)).iter_seconds()))
                       for one in (task.speech, part.speech))  # fmt: skip
    assert np.array_equal(found, complete[8_000:17_600])


def test_wrong_inputs_are_named(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    (task,) = job.tasks
    assert isinstance(task, LipSync)
    missing = replace(task, options=replace(task.options, vae=tmp_path / "none.safetensors"))
    with pytest.raises(BadWeights, match=r"none\.safetensors does not exist"):
        missing.check_weights()
    with pytest.raises(BadSetting, match="left,top,width,height"):
        replace(task, box="1,2,3")
    with pytest.raises(BadSetting, match="omit one"):
        replace(task, face=2)
    silent = replace(task, speech=AudioFile(tmp_path / "silent.mkv"))
    make(Video(frames=2), tmp_path / "silent.mkv")
    with pytest.raises(BadInput, match=r"silent\.mkv has no audio.*0: video"):
        list(fg.events(replace(job, tasks=(silent,)), PLAN))
    with pytest.raises(BadInput, match=r"none\.wav cannot be read"):
        replace(task, speech=AudioFile(tmp_path / "none.wav")).joins()
