"""The way of lipsync through its takes, from files to a file: what each frame of a result shows.

No frame has a face here, so that all pass as they are, and each tells its number.
"""

import json
from dataclasses import replace
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import pytest

import filmgate as fg
from filmgate.errors import BadInput, BadSetting
from filmgate.media.audio.audio_file import AudioFile
from filmgate.media.records.record_file import RecordFile
from filmgate.models.diffusion import weights_files
from filmgate.quality.verify import check
from filmgate.tasks.lipsync import LipSync
from tests.models.families.latentsync import tiny
from tests.stories.test_lipsync import save_tone
from tests.videos import Video, make, read_number

PLAN = fg.Plan(chunk=2, segment_frames=8, torch_threads=1)


@pytest.fixture(autouse=True)
def _takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    average = tiny.Average()
    monkeypatch.setattr(weights_files, "open_autoencoder", lambda *_: average)
    for name, frames in (("a", 20), ("b", 30), ("c", 12)):
        make(Video(frames=frames, size=(64, 48)), tmp_path / f"{name}.mp4")
    (tmp_path / "faces.jsonl").write_text('{"frame": 999, "box": [60, 20, 60, 70]}')


def run(folder: Path, frames: int, out: str, take: str = "a", **own: Any) -> list[int]:
    """Return the number that each frame of a result of so many frames shows."""
    speech = save_tone(folder / f"{frames}.wav", (frames - 2) / 25 + 0.005)
    task = LipSync(speech=AudioFile(speech), options=tiny.build_options(),
                   faces=RecordFile(folder / "faces.jsonl"), **own)  # fmt: skip
    source, sink = fg.VideoFile(folder / f"{take}.mp4"), fg.VideoOutput(folder / out)
    list(fg.events(fg.Job(source, sink, (task,)), PLAN))
    shown = [read_number(frame) for frame in fg.frames((), folder / out)]
    assert len(shown) == frames
    return shown


@pytest.mark.slow
def test_the_take_of_fitting_length_is_used(tmp_path: Path) -> None:
    others = (tmp_path / "b.mp4", tmp_path / "c.mp4")
    assert run(tmp_path, 10, "1.mp4", source=others) == [*range(10)]
    assert run(tmp_path, 25, "2.mp4", source=others) == [*range(25)]  # only b has so many
    joined = run(tmp_path, 45, "3.mp4", source=others)
    assert joined == [*range(30), *range(12), *range(3)]  # b, c and a


def test_the_next_sentence_begins_where_the_one_before_ended(tmp_path: Path) -> None:
    shown = run(tmp_path, 16, "1.mp4")
    shown += run(tmp_path, 10, "2.mp4", continue_from=tmp_path / "1.mp4")
    assert shown == [*range(20), *reversed(range(14, 20))]
    assert check(tmp_path / "2.mp4", tmp_path / "a.mp4").ok


def test_the_result_says_how_many_frames_its_speech_has(tmp_path: Path) -> None:
    """Audio may have other samples than its file: Matroska loses the priming of MP3 and AAC."""
    form = {"input": {}, "tasks": [{"task": "lipsync", "length": 29}], "output": {}, "seed": 0}
    out = make(Video(frames=24, size=(64, 48), sounds=("aac",), suffix=".mkv",
                     metadata={"filmgate": json.dumps(form)}), tmp_path / "out.mkv")  # fmt: skip
    task, spec = LipSync(speech=AudioFile(out)), fg.VideoFile(out).open().spec
    assert task.describe_output(spec).frames == 30
    (frames,) = (one for one in check(out, tmp_path / "a.mp4").findings if one.name == "frames")
    assert (frames.found, frames.wanted) == ("24", "29")
    _, chosen = task.choose_source(fg.VideoFile(tmp_path / "a.mp4"))
    assert chosen.length == 30
    with pytest.raises(BadSetting, match="length is 9 and the speech has 30 frames"):
        replace(task, length=9).joins()


@pytest.mark.slow
def test_several_sentences_are_as_one(tmp_path: Path) -> None:
    """The way is the same as without stops, through results in other containers too."""
    shown = run(tmp_path, 33, "1.mp4")
    shown += run(tmp_path, 7, "2.mkv", continue_from=tmp_path / "1.mp4")
    shown += run(tmp_path, 30, "3.mp4", continue_from=tmp_path / "2.mkv")
    passes = [*range(20), *reversed(range(20))]
    assert shown == [passes[n % 40] for n in range(70)]


@pytest.mark.slow
def test_a_neutral_ending_turns_back_in_time_and_is_resumed(tmp_path: Path) -> None:
    shown = run(tmp_path, 17, "1.mp4", ending="neutral")
    assert shown == [*range(9), *reversed(range(8))]
    assert run(tmp_path, 11, "2.mp4", ending="neutral", continue_from=tmp_path / "1.mp4") == [
        *range(6), *reversed(range(5)),
    ]  # fmt: skip
    speech = AudioFile(tmp_path / "17.wav")
    task = LipSync(speech=speech, options=tiny.build_options(), ending="neutral",
                   faces=RecordFile(tmp_path / "faces.jsonl"))  # fmt: skip
    source, sink = fg.VideoFile(tmp_path / "a.mp4"), fg.VideoOutput(tmp_path / "r.mp4")
    events = fg.events(fg.Job(source, sink, (task,)), PLAN)
    while not isinstance(next(events), fg.Committed):
        pass
    events.close()
    starts = [e.read for e in fg.events(fg.Job(source, sink, (task,)), PLAN)
              if isinstance(e, fg.Started)]  # fmt: skip
    assert starts == [8]
    assert [read_number(frame) for frame in fg.frames((), tmp_path / "r.mp4")] == shown


@pytest.mark.slow
def test_what_cannot_be_continued_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"b\.mp4 is no result of lipsync"):
        run(tmp_path, 5, "x.mp4", continue_from=tmp_path / "b.mp4")
    others = (tmp_path / "b.mp4", tmp_path / "c.mp4")
    run(tmp_path, 25, "1.mp4", source=others)
    with pytest.raises(BadSetting, match="take 1, and there are 1"):
        run(tmp_path, 5, "x.mp4", continue_from=tmp_path / "1.mp4")
    make(Video(frames=9, size=(32, 32)), tmp_path / "other.mp4")
    with pytest.raises(BadInput, match="no part of the same video"):
        run(tmp_path, 60, "x.mp4", source=(tmp_path / "other.mp4",))
    task = LipSync(source=others)
    with pytest.raises(BadSetting, match="joined, trimmed or images"):
        task.choose_source(replace(fg.VideoFile(tmp_path / "a.mp4"), end=F(1, 2)))
