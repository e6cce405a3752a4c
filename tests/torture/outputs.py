"""The jobs whose outputs are compared, and what may be in their folder at any moment."""

import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tests import videos
from tests.torture.commands import (
    BYSTANDER,
    Failure,
    check_end,
    read_files,
    require,
    run_filmgate,
    run_forked,
)

UNEVEN = tuple(Fraction(n, 25) for n in (0, 1, 2, 4, 5, 9, *range(10, 28)))
SOURCE = videos.Video(frames=24, times=UNEVEN, sounds=("aac",))
_COMMON = ["--segment", "0.3", "--threads", "1"]


@dataclass(frozen=True)
class Output:
    """A command that writes `name` into its folder; `old` is there before, and may be replaced."""

    name: str
    command: tuple[str, ...]
    old: tuple[str, ...] = ()

    def arguments(self, *more: str) -> list[str]:
        """Return the command line; the source is next to the folder."""
        verb, *flags = self.command
        overwrite = ["--overwrite"] if self.old else []
        return [verb, "../in.mp4", self.name, *flags, *overwrite, *_COMMON, *more]

    def fill(self, folder: Path) -> None:
        """Empty the folder and write the user's files."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / BYSTANDER).write_text("precious")
        for name in self.old:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("old")

    def check_moment(self, folder: Path, reference: dict[str, bytes], what: str) -> bool:
        """Check the folder of a run that was stopped anywhere; return whether the run is over."""
        files = read_files(folder)
        require(files.pop(BYSTANDER, b"") == b"precious", "lost", f"{what}: the user's file")
        for name, data in files.items():
            if name in reference and data != reference[name]:
                require(name in self.old and data == b"old", "wrong", f"{what}: {name} is partial")
        for name in self.old:
            require(name in files, "lost", f"{what}: {name} before it is replaced")
        return {name: files.get(name) for name in reference} == reference and not any(
            ".filmgate" in name or name.startswith("work") for name in files
        )

    def check_result(self, folder: Path, reference: dict[str, bytes], what: str) -> None:
        """Check that the folder holds the result, the user's file and nothing else."""
        files = read_files(folder)
        require(files.pop(BYSTANDER, b"") == b"precious", "lost", f"{what}: the user's file")
        require(files.keys() >= reference.keys(), "lost", f"{what}: {sorted(files)}")
        require(files == reference, "wrong", f"{what}: differs, or more files: {sorted(files)}")


VIDEO_OUTPUTS = (
    Output("out.mp4", ("interpolate", "--factor", "2", "--preset", "veryfast")),
    Output("out.mkv", ("convert", "--codec", "ffv1", "--work", "work")),
    Output("out.mp4", ("convert", "--preset", "veryfast"), old=("out.mp4",)),
)
IMAGE_OUTPUTS = (
    Output("frames/%06d.png", ("convert",)),
    Output("frames/%06d.png", ("convert",), old=("frames/000003.png", "frames/000020.png")),
)


def make_references(outputs: tuple[Output, ...], folder: Path) -> list[dict[str, bytes]]:
    """Write the source and return the files of an undisturbed run of each output."""
    videos.make(SOURCE, folder / "in.mp4")
    return [make_reference(output, folder) for output in outputs]


def make_reference(output: Output, folder: Path) -> dict[str, bytes]:
    """Return the files of an undisturbed run."""
    place, log = folder / "disk", folder / "log"
    output.fill(place)
    ended = run_forked(lambda: run_filmgate(output.arguments("--in-process")), place, log)
    check_end(ended, (0,), f"undisturbed run of {output.name}")
    files = read_files(place)
    if files.pop(BYSTANDER, b"") != b"precious":
        raise Failure("lost", "the user's file, in an undisturbed run")
    return files
