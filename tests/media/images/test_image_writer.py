"""Images that were interrupted: the same job goes on from what is whole, and no other does."""

from pathlib import Path

import pytest

from filmgate.core.snapshot import Snapshot
from filmgate.errors import OutputExists
from filmgate.media.sinks import ImageOutput
from filmgate.media.source_metadata import SourceMetadata
from tests import videos
from tests.media.images.test_image_reader import END, MIDDLE, TAGS, _frames, _Origin, _spec


def test_an_interrupted_folder_is_gone_on_with_from_what_is_whole(tmp_path: Path) -> None:
    video, folder = videos.make(videos.Video(), tmp_path / "film.mp4"), tmp_path / "made"
    output, origin = ImageOutput(folder / "%d.png"), _Origin(SourceMetadata(path=video))

    def go(tags: dict[str, str], end: Snapshot) -> tuple[str, ...]:
        with output.open(origin, _spec("gray"), tags=tags) as sink:
            sink.write(_frames("gray", 5))
            sink.commit(end)
        return sink.dropped

    go(TAGS, MIDDLE)
    with pytest.raises(OutputExists, match="exists and 4 more"):
        go({"job": "another"}, MIDDLE)
    data = bytearray((folder / "3.png").read_bytes())
    data[-20] ^= 1
    (folder / "3.png").write_bytes(data)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    assert "3 pictures of this job are there and whole: they stay" in go(TAGS, END)
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    assert {name for name in after if after[name] == before[name]} == {"0.png", "1.png", "2.png"}
    assert not (folder / ".filmgate.jsonl").exists()


def test_a_folder_of_another_film_is_not_gone_on_with(tmp_path: Path) -> None:
    video = videos.make(videos.Video(), tmp_path / "film.mp4")
    output, origin = ImageOutput(tmp_path / "made" / "%d.png"), _Origin(SourceMetadata(path=video))
    with output.open(origin, _spec("gray"), tags=TAGS) as sink:
        sink.write(_frames("gray", 2))
        sink.commit(MIDDLE)
    videos.make(videos.Video(frames=13), video)
    with pytest.raises(OutputExists, match="name another folder, or say overwrite"):
        output.open(origin, _spec("gray"), tags=TAGS)
