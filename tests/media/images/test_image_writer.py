"""An image output is resumed from its last commit, and files of the user are never touched."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from filmgate.core.frame import Position
from filmgate.core.outputs import Outputs, select_output
from filmgate.core.snapshot import Commit, Cursor, Snapshot
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadSetting, FilmgateError, OutputExists
from filmgate.media.images.image_writer import ImageWriter
from filmgate.media.sinks import ImageOutput
from tests.media.images.test_image_reader import _frames, _spec


@dataclass
class Store:
    """Checkpoints in memory, with a folder for staged images."""

    path: Path
    kept: list[Commit] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    playable: bool = False

    def choose(self, verify: Callable[[tuple[Any, ...]], None]) -> Commit | None:
        for commit in self.commits():
            try:
                verify(commit.pieces)
            except FilmgateError as error:
                self.warnings.append(str(error))
            else:
                return commit
        return None

    def commits(self) -> Iterator[Commit]:
        return reversed(self.kept)

    def save(self, commit: Commit) -> None:
        self.kept.append(commit)

    def mark_complete(self, parts: Sequence[Path | None], *_: object, **__: object) -> None:
        assert parts == [None]  # images have their names already


def snapshot(written: int, last: bool = False) -> Snapshot:
    time = _frames("gray", written + 1)[-1].time
    return Snapshot(Cursor(written, 0), None if last else (), (Position(written, time),), 0)


@pytest.fixture
def output(tmp_path: Path) -> ImageOutput:
    (tmp_path / "frames").mkdir()
    return ImageOutput(tmp_path / "frames" / "%d.png")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "frames.filmgate").mkdir()
    return Store(tmp_path / "frames.filmgate")


class Opened(Outputs):
    """An image output as a run opens it, with its writer at hand."""

    def __init__(self, writer: ImageWriter, store: Store) -> None:
        super().__init__([writer], store)
        self.writer = writer

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *error: object) -> None:
        self.writer.__exit__()


def open_writer(output: ImageOutput, store: Store) -> Opened:
    return Opened(output.open(SourceMetadata(), _spec("gray"), checkpoints=store), store)


def write(writer: Opened, first: int, last: int, *, end: bool = False) -> None:
    """Write the images `first` to `last` - 1 in one commit."""
    writer.write(_frames("gray", last)[first:])
    writer.commit(snapshot(last, end))


def kill(writer: Opened) -> None:
    """End as a killed process does: nothing is cleaned up."""
    writer.writer._flush()


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder), key=lambda name: (len(name), name))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}


def refuse(*_: Any) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=["links", "no links", "overwrite"])
def each_way(
    request: pytest.FixtureRequest, output: ImageOutput, monkeypatch: pytest.MonkeyPatch
) -> ImageOutput:
    """Return the output, on a disk with or without links, or one that may be overwritten."""
    if request.param == "no links":
        monkeypatch.setattr(os, "link", refuse)
    return ImageOutput(output.path, overwrite=request.param == "overwrite")


def test_killed_output_is_resumed_from_its_last_commit(each_way: ImageOutput, store: Store) -> None:
    folder = each_way.path.parent
    writer = open_writer(each_way, store)
    write(writer, 0, 3)
    inodes = {name: (folder / name).stat().st_ino for name in names(folder)}
    writer.write(_frames("gray", 5)[3:])
    kill(writer)
    writer = open_writer(each_way, store)
    assert writer.resume == snapshot(3)
    assert names(folder) == ["0.png", "1.png", "2.png"], "later images are written again"
    write(writer, 3, 6)
    write(writer, 6, 6, end=True)
    assert names(folder) == [f"{n}.png" for n in range(6)]
    assert all((folder / name).stat().st_ino == inode for name, inode in inodes.items())
    assert names(store.path) == []


def test_output_killed_before_its_first_commit_starts_again(
    each_way: ImageOutput, store: Store
) -> None:
    writer = open_writer(each_way, store)
    writer.write(_frames("gray", 4))
    kill(writer)
    each_way.discard(store.path, [select_output(one, 0) for one in store.commits()])
    assert names(each_way.path.parent) == names(store.path) == []
    with open_writer(each_way, store) as writer:
        write(writer, 0, 2, end=True)
    assert names(each_way.path.parent) == ["0.png", "1.png"]


def test_interrupted_output_keeps_committed_images_only(
    each_way: ImageOutput, store: Store
) -> None:
    with open_writer(each_way, store) as writer:
        write(writer, 0, 2)
        writer.write(_frames("gray", 4)[2:])
    assert names(each_way.path.parent) == ["0.png", "1.png"]


def test_images_appear_as_they_are_written(output: ImageOutput, store: Store) -> None:
    writer = open_writer(output, store)
    writer.write(_frames("gray", 4))
    assert names(output.path.parent) == [f"{n}.png" for n in range(4)]


def test_commit_is_completed_if_it_was_killed_before_images_got_their_names(
    output: ImageOutput, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refuse)
    writer = open_writer(output, store)
    monkeypatch.setattr(writer.writer._files, "publish", refuse)
    with pytest.raises(FilmgateError):
        write(writer, 0, 3)
    assert names(output.path.parent) == []
    assert open_writer(output, store).resume == snapshot(3)
    assert names(output.path.parent) == ["0.png", "1.png", "2.png"]


def test_torn_snapshot_costs_one_commit(output: ImageOutput, store: Store) -> None:
    writer = open_writer(output, store)
    write(writer, 0, 2)
    write(writer, 2, 4)
    kill(writer)
    store.kept.pop()  # as a snapshot that cannot be read
    assert open_writer(output, store).resume == snapshot(2)
    assert names(output.path.parent) == ["0.png", "1.png"]


def test_missing_image_is_made_again(output: ImageOutput, store: Store) -> None:
    writer = open_writer(output, store)
    write(writer, 0, 2)
    write(writer, 2, 4)
    write(writer, 4, 6)
    kill(writer)
    (output.path.parent / "3.png").unlink()
    writer = open_writer(output, store)
    assert store.warnings == [f"{output.path.parent / '3.png'} is missing or was changed"] * 2
    assert writer.resume == snapshot(2)
    assert names(output.path.parent) == ["0.png", "1.png"]


def test_committed_image_with_one_changed_bit_is_not_taken_for_its_own(
    output: ImageOutput, store: Store
) -> None:
    """Same size, same name, still a PNG: only its checksum differs."""
    writer = open_writer(output, store)
    write(writer, 0, 2)
    kill(writer)
    path = output.path.parent / "1.png"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.unlink()
    path.write_bytes(bytes(data))
    with pytest.raises(OutputExists, match=r"1\.png exists, not written by this run"):
        open_writer(output, store)
    assert path.read_bytes() == bytes(data)


@pytest.mark.parametrize("number", [1, 5, 9])
def test_image_of_the_user_is_never_overwritten(
    output: ImageOutput, store: Store, number: int
) -> None:
    """Committed and edited since, written after the last commit, or not written by the run."""
    folder = output.path.parent
    (folder / "notes.txt").write_text("precious")
    writer = open_writer(output, store)
    write(writer, 0, 4)
    writer.write(_frames("gray", 7)[4:])
    kill(writer)
    (folder / f"{number}.png").unlink(missing_ok=True)
    (folder / f"{number}.png").write_text("precious")
    before = contents(folder)
    for _ in range(2):
        with pytest.raises(OutputExists, match=rf"{number}\.png exists, not written by this run"):
            open_writer(output, store)
        assert contents(folder) == before
    output.discard(store.path, [select_output(one, 0) for one in store.commits()])
    assert names(folder) == [f"{number}.png", "notes.txt"]
    assert (folder / f"{number}.png").read_text() == "precious"


def test_image_that_appears_during_the_run_is_not_overwritten(
    output: ImageOutput, store: Store
) -> None:
    with open_writer(output, store) as writer:
        write(writer, 0, 2)
        (output.path.parent / "3.png").write_text("precious")
        with pytest.raises(OutputExists, match=r"3\.png exists"):
            writer.write(_frames("gray", 5)[2:])
    assert names(output.path.parent) == ["0.png", "1.png", "3.png"]
    assert (output.path.parent / "3.png").read_text() == "precious"


def test_overwriting_replaces_images_at_commits_and_keeps_later_ones(
    output: ImageOutput, store: Store
) -> None:
    folder = output.path.parent
    for n in range(9):
        (folder / f"{n}.png").write_text("old")
    with open_writer(ImageOutput(output.path, overwrite=True), store) as writer:
        writer.write(_frames("gray", 2))
        assert (folder / "0.png").read_text() == "old"
        writer.commit(snapshot(2))
        assert (folder / "0.png").read_bytes()[1:4] == b"PNG"
        assert (folder / "2.png").read_text() == "old"
        write(writer, 2, 4, end=True)
    (notice,) = writer.dropped
    assert notice.startswith(f"{folder / '0.png'} and 8 more exist: what this result does not")
    assert names(folder) == [f"{n}.png" for n in range(9)]
    assert all((folder / f"{n}.png").read_bytes()[1:4] == b"PNG" for n in range(4))
    assert all((folder / f"{n}.png").read_text() == "old" for n in range(4, 9))


def test_only_images_behind_the_result_are_reported(output: ImageOutput) -> None:
    (output.path.parent / "7.png").write_text("old")
    over = ImageOutput(output.path, overwrite=True)
    assert over.open(SourceMetadata(), _spec("gray", frames=8)).dropped == []
    (notice,) = over.open(SourceMetadata(), _spec("gray", frames=7)).dropped
    assert notice.startswith(f"{output.path.parent / '7.png'} exists: what this result does not")


@pytest.mark.parametrize("overwrite", [False, True])
def test_output_that_would_replace_its_own_input_is_refused(
    output: ImageOutput, store: Store, overwrite: bool
) -> None:
    source = SourceMetadata(images=(output.path.parent / "0.png",))
    with pytest.raises(BadSetting, match=r"0\.png is both an input and an output"):
        ImageOutput(output.path, overwrite=overwrite).open(source, _spec("gray"))
    other = ImageOutput(output.path.with_name("out_%d.png"), overwrite=overwrite)
    other.open(source, _spec("gray"), checkpoints=store)


@pytest.mark.parametrize(
    ("images", "name", "refused"),
    [
        ("frames", "out_%d.png", True),
        ("frames", "out_%d.webp", True),
        ("frames/*.png", "out_%d.png", True),
        ("frames/*.png", "out_%d.tiff", False),
        ("frames/%d.png", "out_%d.png", False),
        ("frames/%d.png", "%06d.png", True),
        ("frames/%06d.png", "%d.png", True),
        ("frames/0.png", "0-%06d.png", False),
    ],
)
@pytest.mark.parametrize("way", ["same", "link", "dots"])
def test_output_that_the_next_run_would_read_is_refused(
    tmp_path: Path, images: str, name: str, refused: bool, way: str
) -> None:
    """A folder or a pattern that names the output too would be another input when resumed."""
    (tmp_path / "frames").mkdir()
    (tmp_path / "link").symlink_to("frames")
    folder = {"same": "frames", "link": "link", "dots": "link/../frames"}[way]
    source = SourceMetadata(images=(tmp_path / "frames/0.png",), images_path=tmp_path / images)
    output = ImageOutput(tmp_path / folder / name, overwrite=True)
    if not refused:
        output.open(source, _spec("gbrp"))
        return
    with pytest.raises(BadSetting, match="choose another folder"):
        output.open(source, _spec("gbrp"))


@pytest.mark.parametrize("name", ["0.PNG", "link.png", "animated_1.png"])
def test_source_is_protected_under_every_name(tmp_path: Path, name: str) -> None:
    """Another case of letters, a link to the image, an animated PNG that is read as a video."""
    path = tmp_path / "frames" / ("0.png" if name == "link.png" else name)
    path.parent.mkdir()
    path.write_text("precious")
    file = path
    if name == "link.png":
        file = tmp_path / name
        file.symlink_to(path)
    is_video = name.startswith("animated")
    source = SourceMetadata(path=path) if is_video else SourceMetadata(images=(file,))
    pattern = "animated_%d.png" if is_video else "%d.png"
    with pytest.raises(BadSetting, match="is both an input and an output"):
        ImageOutput(path.with_name(pattern), overwrite=True).open(source, _spec("gray"))
    assert path.read_text() == "precious"


def test_folder_with_other_files_needs_a_pattern(output: ImageOutput, store: Store) -> None:
    folder = output.path.parent
    (folder / "notes.txt").write_text("precious")
    with pytest.raises(BadSetting, match=r"contains other files, such as notes\.txt"):
        open_writer(ImageOutput(folder), store)
    (folder / "notes.txt").unlink()
    write(open_writer(ImageOutput(folder), store), 0, 2)
    (folder / "notes.txt").write_text("precious")
    assert open_writer(ImageOutput(folder), store).resume == snapshot(2)
