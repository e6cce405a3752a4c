"""A run's directory that is damaged, or from somewhere else, is refused with a way out.

Whatever is in it: a resumed run is right or refused as a user error that names --restart, nothing
outside the directory changes, and no error of another kind is raised.
"""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load, save

import filmgate as fg
from filmgate.cli.main import main
from filmgate.errors import Exit, FilmgateError, Interrupted
from filmgate.jobs.run_directory import RunDirectory
from tests import videos

PLAN = fg.Plan(chunk=2, segment_frames=8)
FILES = ("job.json", "plan.json", "commits.json", "000001.snapshot", "000001.nut")


class Stopped(NamedTuple):
    """A run that was stopped at a commit, and the result that it should give."""

    job: fg.Job
    folder: Path
    reference: bytes


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    return make_stopped(tmp_path_factory.mktemp("home"))


def make_stopped(home: Path) -> Stopped:
    """Run a job undisturbed, then stop it at its first commit."""
    source = videos.make(videos.Video(frames=20, size=(32, 32)), home / "in.mp4")
    sink = fg.VideoOutput(home / "out.mp4", preset="veryfast")
    job = fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(factor=2),))
    list(fg.events(job, PLAN))
    reference = sink.path.read_bytes()
    sink.path.unlink()
    with pytest.raises(Interrupted):
        list(fg.events(job, PLAN, resume_options=fg.ResumeOptions(pause_after=Fraction(0))))
    return Stopped(job, RunDirectory.for_result(sink.path).path, reference)


@pytest.fixture
def stopped(original: Stopped, tmp_path: Path) -> Stopped:
    """A copy of its directory as --work, so that every test has its own."""
    shutil.copytree(original.folder, tmp_path / "work")
    (tmp_path / "outside.nut").write_bytes(b"precious")
    return original._replace(folder=tmp_path / "work")


def check(stopped: Stopped, *, refused: bool | None = None, exact: bool = True) -> None:
    """Resume the run: it is right, or refused with a way out; `refused` says which if known."""
    out = stopped.job.sink.path
    out.unlink(missing_ok=True)
    precious = stopped.folder.parent / "outside.nut"
    assert main(["jobs", str(stopped.folder.parent)]) == Exit.DONE
    error: FilmgateError | None = None
    try:
        list(fg.events(stopped.job, PLAN, resume_options=fg.ResumeOptions(stopped.folder)))
    except FilmgateError as caught:
        error = caught
    assert refused in (None, error is not None)
    if error is None:
        assert not exact or out.read_bytes() == stopped.reference
    else:
        assert error.exit_code == Exit.USER, repr(error)
        assert "--restart" in str(error) or "not the folder of a run" in str(error), error
        assert not out.exists()
    assert precious.read_bytes() == b"precious"


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change the object in a JSON file."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def craft(folder: Path, change: Callable[[Any], object]) -> None:
    """Change what the latest snapshot holds, with a checksum that fits."""
    path = folder / "000001.snapshot"
    blobs = load(path.read_bytes())
    tree = json.loads(blobs["tree"].tobytes())
    change(tree)
    blobs["tree"] = np.frombuffer(json.dumps(tree).encode(), np.uint8)
    replace_snapshot(folder, save(blobs))


def replace_snapshot(folder: Path, data: bytes) -> None:
    (folder / "000001.snapshot").write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    edit(folder / "commits.json", lambda commits: commits["snapshots"][0].update(sha256=sha256))


def snapshot_of(tree: Any) -> Any:
    return tree["fields"]["snapshot"]["fields"]


def state_of(tree: Any) -> Any:
    return snapshot_of(tree)["state"]


def piece_of(tree: Any) -> Any:
    return tree["fields"]["pieces"][0][0]["fields"]


DEEP = '{"a": ' * 900 + "1" + "}" * 900
TEXTS = ["", "null", "[]", "{}", "1" * 5000, '{"job": NaN}', "\xff", "[" * 100_000, DEEP]


@pytest.mark.parametrize("name", FILES[:3])
def test_json_of_another_kind_is_refused(name: str, stopped: Stopped) -> None:
    for text in TEXTS:
        (stopped.folder / name).write_text(text, encoding="latin-1")
        check(stopped, refused=True)


PLANS: list[dict[str, Any]] = [
    {"decode_threads": 10**9},
    {"encode_threads": 0},
    {"torch_threads": "all"},
    {"chunk": 10**12, "segment_frames": 10**12},
    {"segment_frames": 7},
    {"queue_bytes": 1 << 60},
    {"batches": [1 << 40]},
    {"batches": [1] * 5000},
    {"reduced_batches": [{"index": 0, "stage": 99, "batch": 1}]},
    {"reduced_batches": [{"index": 0, "stage": -1, "batch": 1}]},
    {"bad_frames": [[9, 3]]},
    {"bad_frames": [[1 << 70]]},
    {"unknown": 1},
]


@pytest.mark.parametrize("fields", PLANS, ids=repr)
def test_plan_out_of_bounds_is_refused(fields: dict[str, Any], stopped: Stopped) -> None:
    """A crafted plan started a thousand million threads."""
    edit(stopped.folder / "plan.json", lambda stored: stored["plan"].update(fields))
    check(stopped, refused=True)


COMMITS: list[Callable[[Any], object]] = [
    lambda commits: commits["snapshots"][0].update(name="../000001.snapshot"),
    lambda commits: commits["snapshots"][0].update(name="/etc/passwd"),
    lambda commits: commits["snapshots"][0].update(frames=1 << 60),
    lambda commits: commits["snapshots"][0].update(frames=9),
    lambda commits: commits["snapshots"][0].update(written=-1),
    lambda commits: commits.update(snapshots=[{}]),
    lambda commits: commits.update(snapshots=commits["snapshots"] * 50),
    lambda commits: commits.update(
        complete=[{"output": 0, "name": "../outside.nut", "fingerprint": {}}]
    ),
    lambda commits: commits.update(complete=[{"output": 9, "name": "result.mp4"}]),
]


@pytest.mark.parametrize("change", COMMITS)
def test_list_that_no_run_wrote_is_refused(
    change: Callable[[Any], object], stopped: Stopped
) -> None:
    """A crafted list moved a file from outside onto the result."""
    edit(stopped.folder / "commits.json", change)
    check(stopped, refused=True)


def nest(tree: Any) -> None:
    for _ in range(900):
        state_of(tree)[0]["fields"]["state"] = [state_of(tree)[0]["fields"]["state"]]


def array(shape: list[Any], dtype: str = "|u1", name: str = "0") -> Any:
    return {"array": {"name": name, "dtype": dtype, "shape": shape}}


def tensor(shape: list[Any], dtype: str = "uint8", device: str = "cpu") -> Any:
    entry = {"name": "tree", "dtype": dtype, "shape": shape, "device": device}
    return {"tensor": entry}


def value(name: str, **fields: Any) -> Any:
    return {"value": name, "fields": fields}


def put_state(state: Any) -> Callable[[Any], object]:
    """Return a change that gives the first stage this state."""
    return lambda tree: state_of(tree)[0]["fields"].update(state=state)


SNAPSHOTS: list[Callable[[Any], object]] = [
    nest,
    put_state(5),
    put_state([]),
    put_state("text"),
    put_state({"dict": [[{"dict": []}, 1]]}),
    put_state({"fraction": "1e999999999"}),
    put_state({"fraction": "1/0"}),
    put_state({"float": "0x1p999999"}),
    put_state({"bytes": "!"}),
    put_state({"unknown": 1}),
    put_state({"array": 5}),
    put_state(array([1 << 62, 1 << 62])),
    put_state(array([-1])),
    put_state(array([4], "|O")),
    put_state(array([4], "|V1000000000")),
    put_state(array([0], name="nowhere")),
    put_state(tensor([1 << 50])),
    put_state(tensor([4], "load")),
    put_state(tensor([4], device="meta:9")),
    put_state(value("os:system", command="touch /tmp/x")),
    put_state(value("filmgate.core.plan:Plan", decode_threads=10**9)),
    put_state(value("filmgate.jobs.run_directory:RunDirectory", path="/")),
    put_state(value("filmgate.core.frame:Position", index="1", time={"fraction": "0"})),
    put_state(value("filmgate.core.frame:Position", index=1)),
    put_state(value("filmgate.core.frame:Position", index=1, time={"fraction": "0"}, more=1)),
    lambda tree: snapshot_of(tree).update(state=[]),
    lambda tree: snapshot_of(tree).update(state=state_of(tree) * 2),
    lambda tree: snapshot_of(tree).update(state=None),
    lambda tree: snapshot_of(tree).update(due=[]),
    lambda tree: snapshot_of(tree).update(segment=-1),
    lambda tree: snapshot_of(tree).update(segment=1 << 70),
    lambda tree: snapshot_of(tree)["cursor"]["fields"].update(index=1 << 70),
    lambda tree: snapshot_of(tree)["cursor"]["fields"].update(pts="0"),
    lambda tree: snapshot_of(tree)["cursor"]["fields"].update(pts=1 << 70),
    lambda tree: tree.update(value="filmgate.core.frame:Position"),
    lambda tree: tree["fields"].update(pieces=[]),
    lambda tree: tree["fields"].update(pieces=[[], []]),
    lambda tree: tree["fields"].update(pieces=[["000001.nut"]]),
    lambda tree: piece_of(tree).update(name="../outside.nut"),
    lambda tree: piece_of(tree).update(name="/etc/passwd"),
    lambda tree: piece_of(tree).update(name=7),
    lambda tree: piece_of(tree).update(end=1 << 70),
    lambda tree: piece_of(tree).update(sha256="0" * 64),
]


@pytest.mark.parametrize("change", SNAPSHOTS)
def test_snapshot_that_no_run_wrote_is_refused(
    change: Callable[[Any], object], stopped: Stopped
) -> None:
    """Its checksum fits, as in a directory that was made to do harm."""
    craft(stopped.folder, change)
    check(stopped, refused=True)


@pytest.mark.parametrize("name", FILES)
def test_link_or_folder_in_place_of_a_file_is_refused(name: str, stopped: Stopped) -> None:
    target = stopped.folder.parent / "kept"
    (stopped.folder / name).rename(target)
    (stopped.folder / name).symlink_to(target)
    check(stopped, refused=True)
    (stopped.folder / name).unlink()
    (stopped.folder / name).mkdir()
    check(stopped, refused=True)


def test_damaged_run_is_shown_as_damaged(
    stopped: Stopped, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped.folder.with_name("x.mp4.filmgate")
    stopped.folder.rename(folder)
    assert main(["jobs", str(folder.parent)]) == Exit.DONE
    assert "stopped" in capsys.readouterr().out
    edit(folder / "plan.json", lambda stored: stored["plan"].update(chunk=-1))
    assert main(["jobs", str(folder.parent)]) == Exit.DONE
    shown = capsys.readouterr().out
    assert "damaged" in shown
    assert "--restart" in shown
    assert main(["jobs", str(folder.parent), "--json"]) == Exit.DONE
    assert "plan.json" in json.loads(capsys.readouterr().out)[0]["damage"]
    assert main(["resume", str(folder)]) == Exit.USER
    assert "--restart" in capsys.readouterr().err


def test_names_in_a_run_cannot_command_the_terminal(
    stopped: Stopped, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped.folder.with_name("x.mp4.filmgate")
    stopped.folder.rename(folder)
    edit(folder / "job.json", lambda stored: stored["job"]["output"].update(path="\x1b[2J[red]x"))
    assert main(["jobs", str(folder.parent)]) == Exit.DONE
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[red]" in shown


def test_job_that_would_overwrite_is_not_resumed(
    stopped: Stopped, capsys: pytest.CaptureFixture[str]
) -> None:
    """No run stores --overwrite, so a directory that asks for it is from somewhere else."""
    edit(stopped.folder / "job.json", lambda stored: stored["job"]["output"].update(overwrite=True))
    assert main(["resume", str(stopped.folder)]) == Exit.USER
    assert "cannot read" in capsys.readouterr().err


def harm(data: bytes, random_: random.Random) -> bytes:
    """Truncate, flip bytes, repeat, or mix in numbers and brackets."""
    kind, at = random_.randrange(5), random_.randrange(len(data) or 1)
    if kind == 0:
        return data[:at]
    if kind == 1:
        flipped = bytearray(data)
        for _ in range(random_.randrange(1, 8)):
            flipped[random_.randrange(len(flipped))] ^= 1 << random_.randrange(8)
        return bytes(flipped)
    if kind == 2:
        return data[:at] + data[at // 2 :]
    words = [b"1e999", b"99999999999999999999", b"[[[[", b"null", b'"../x"', b"-1", b"NaN", b"\0"]
    end = at + random_.randrange(8)
    return data[:at] + random_.choice(words) + data[end:]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "fits"), [*((name, False) for name in FILES), ("000001.snapshot", True)]
)
def test_any_damage_is_recovered_or_refused(
    name: str, fits: bool, original: Stopped, tmp_path: Path
) -> None:
    """A hundred directories for each file; `fits`: the list of commits has the new checksum, so
    that another state may give another result."""
    for seed in range(100):
        try:
            check_damaged(original, name, seed, tmp_path / str(seed), fits=fits)
        except BaseException as error:
            error.add_note(f"{name}, seed {seed}")
            raise


def check_damaged(original: Stopped, name: str, seed: int, place: Path, *, fits: bool) -> None:
    """Damage one file in a copy of the directory below `place`, check it, and remove the copy."""
    folder = place / "work"
    shutil.copytree(original.folder, folder)
    (place / "outside.nut").write_bytes(b"precious")
    data = harm((folder / name).read_bytes(), random.Random(f"{name} {seed}"))
    (folder / name).write_bytes(data)
    if fits:
        replace_snapshot(folder, data)
    check(original._replace(folder=folder), exact=not fits)
    shutil.rmtree(place)
