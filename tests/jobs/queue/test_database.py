"""The database of a queue: one owner, intact or refused, changed by migrations only."""

import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from filmgate.errors import BadInput, BadSetting, FilmgateError
from filmgate.jobs.queue import tables
from filmgate.jobs.queue.database import Database
from filmgate.jobs.queue.job_queue import JobQueue
from tests.jobs.queue.queues import ManualClock, make_job, make_segment, open_queue, start_job


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a queue with 30 jobs, closed."""
    folder = tmp_path_factory.mktemp("written")
    with open_queue(folder) as queue:
        for number in range(30):
            queue.submit(make_job(x="x" * 100, key=f"key-{number}"))
        queue.leases.commit_segment(start_job(queue), make_segment(0))
    return (folder / "queue.db").read_bytes()


def list_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


def test_queue_is_one_file_when_closed(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        queue.submit(make_job())
    assert sorted(os.listdir(tmp_path)) == ["queue.db", "queue.db.lock"]
    with pytest.raises(FilmgateError, match="is closed: open the queue again"):
        queue.list_jobs()


def write_foreign_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE job (id)")
    connection.commit()
    connection.close()


def write_other_application(path: Path) -> None:
    write_foreign_database(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA application_id = 252006673")
    connection.close()


@pytest.mark.parametrize(
    "write",
    [
        write_foreign_database,
        write_other_application,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"SQLite format 3\0"),
        lambda path: path.write_text("a user's notes\n" * 100),
        lambda path: path.with_name("queue.db-wal").write_bytes(b"of a database that is gone"),
    ],
    ids=["tables", "application", "empty", "header", "text", "log"],
)
def test_foreign_file_is_refused_and_nothing_is_written(
    tmp_path: Path, write: Callable[[Path], object]
) -> None:
    write(tmp_path / "queue.db")
    before = list_files(tmp_path)
    with pytest.raises(BadInput, match=r"is not the database of a queue|was moved or removed"):
        open_queue(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["queue.db", "queue.db.lock"])
def test_folder_under_the_name_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(BadSetting, match="is a folder, wanted"):
        open_queue(tmp_path)
    with pytest.raises(BadSetting, match=r"cannot write .*Choose a folder for the queue"):
        open_queue(tmp_path / "missing")


def open_damaged(folder: Path, data: bytes) -> str:
    """Open a queue's file that may be damaged; return the error, "" if all of it can be read.

    Neither the file nor its log is changed if it is refused at once.
    """
    path = folder / "queue.db"
    path.write_bytes(data)
    try:
        queue = open_queue(folder)
    except (BadInput, FilmgateError) as error:
        assert path.read_bytes() == data
        return str(error)
    try:
        for job in queue.list_jobs():
            queue.read_request(job.id)
            queue.read_events(job.id)
            queue.read_segments(job.id)
        queue.submit(make_job())
    except BadInput as error:
        return str(error)
    finally:
        queue.close()
    return ""


PAGE = 4096


def invert(data: bytes, start: int, size: int) -> bytes:
    changed = bytes(255 - byte for byte in data[start : start + size])
    return data[:start] + changed + data[start + size :]


@pytest.mark.parametrize("part", range(4))
def test_damaged_page_is_found_and_nothing_is_overwritten(
    tmp_path: Path, written: bytes, part: int
) -> None:
    """Each page in turn loses its beginning: what the page is and where its rows are."""
    pages = range(part, len(written) // PAGE, 4)
    for page in pages:
        error = open_damaged(tmp_path, invert(written, page * PAGE, 16))
        assert "damaged" in error, f"page {page} of {len(written) // PAGE}"


@pytest.mark.slow
def test_random_damage_is_found_or_harmless(tmp_path: Path, written: bytes) -> None:
    """Never another error, and never a traceback of SQLite. 600 kinds of damage."""
    random_, found = random.Random(1), 0
    for _ in range(600):
        start, size = random_.randrange(len(written)), random_.choice((1, 4, 64, 3000))
        kind = random_.choice(("invert", "zero", "cut", "random"))
        if kind == "cut":
            data = written[:start]
        elif kind == "invert":
            data = invert(written, start, size)
        else:
            filling = bytes(size) if kind == "zero" else random_.randbytes(size)
            data = (written[:start] + filling + written[start + size :])[: len(written)]
        found += bool(open_damaged(tmp_path, data))
        for path in tmp_path.iterdir():
            path.unlink()
    assert found > 300


@pytest.mark.slow
def test_damaged_log_of_a_killed_server_is_found_or_gives_an_older_queue(tmp_path: Path) -> None:
    """Never another error: its entries have checksums, and end at the first wrong one."""
    with open_queue(tmp_path) as queue:
        for number in range(20):
            queue.submit(make_job(key=f"key-{number}"))
        data, log = ((tmp_path / name).read_bytes() for name in ("queue.db", "queue.db-wal"))
    random_, counts = random.Random(1), set[int]()
    for _ in range(100):
        after = Path(tempfile.mkdtemp(dir=tmp_path))
        (after / "queue.db").write_bytes(data)
        (after / "queue.db-wal").write_bytes(invert(log, random_.randrange(len(log)), 8))
        with open_queue(after) as queue:
            counts.add(len(queue.list_jobs()))
            queue.submit(make_job())
    assert max(counts) <= 20
    assert len(counts) > 5


def change_database(path: Path, *statements: str) -> bytes:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON job BEGIN DELETE FROM job; END",
        "CREATE VIEW v AS SELECT 1",
        "DROP INDEX job_key",
        "ALTER TABLE job ADD COLUMN extra TEXT",
        "DROP TABLE event",
        "PRAGMA user_version = 0",
        "UPDATE segment SET job = 999",
        "DELETE FROM clock",
        "UPDATE clock SET now_ms = -1",
    ],
)
def test_changed_tables_are_refused_and_stay(
    tmp_path: Path, written: bytes, statement: str
) -> None:
    """A trigger would run with the next submission."""
    path = tmp_path / "queue.db"
    path.write_bytes(written)
    changed = change_database(path, statement)
    with pytest.raises(BadInput, match=r"is damaged: .*restore a copy"):
        open_queue(tmp_path)
    assert path.read_bytes() == changed


def test_database_of_a_newer_version_is_refused(tmp_path: Path, written: bytes) -> None:
    path = tmp_path / "queue.db"
    path.write_bytes(written)
    changed = change_database(path, "PRAGMA user_version = 5", "CREATE TABLE more (a INT) STRICT")
    with pytest.raises(BadInput, match=r"has version 5 .* reads up to 4: install the newer one"):
        open_queue(tmp_path)
    assert path.read_bytes() == changed


def test_older_database_is_migrated_in_one_change(
    tmp_path: Path, written: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, step = tmp_path / "queue.db", ("ALTER TABLE job ADD COLUMN note TEXT", "DROP TABLE nope")
    path.write_bytes(written)
    monkeypatch.setattr(tables, "STEPS", (*tables.STEPS, step))
    for _ in range(2):
        with pytest.raises(FilmgateError, match="no such table: nope"):
            open_queue(tmp_path)
    assert path.read_bytes() == written, "the first statement of the step is undone too"
    monkeypatch.setattr(tables, "STEPS", (*tables.STEPS[:-1], step[:1]))
    for _ in range(2):
        with open_queue(tmp_path) as queue, queue._database.read() as view:
            assert view.value("PRAGMA user_version") == len(tables.STEPS)
            assert view.value("SELECT count(note) FROM job") == 0
            assert len(queue.list_jobs()) == 31
    new = tmp_path / "new"
    new.mkdir()
    open_queue(new).close()
    open_queue(new).close()  # the tables of a new database are those of a migrated one


def test_process_that_was_killed_while_it_created_the_queue_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*names: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", stop)
    with pytest.raises(KeyboardInterrupt):
        open_queue(tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "queue.db").exists()
    left = [name for name in os.listdir(tmp_path) if name.endswith(".new")]
    assert left == [".queue.db.new"]
    open_queue(tmp_path).close()
    assert sorted(os.listdir(tmp_path)) == ["queue.db", "queue.db.lock"]


def test_log_of_a_killed_server_is_read(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    job = queue.submit(make_job()).job
    after = tmp_path / "after"
    after.mkdir()
    for name in ("queue.db", "queue.db-wal"):
        shutil.copy(tmp_path / name, after / name)
    queue.close()
    with open_queue(after) as queue:
        assert queue.get(job.id) == job


def test_settings_of_the_connection_are_those_that_lose_nothing(tmp_path: Path) -> None:
    open_queue(tmp_path).close()
    with open_queue(tmp_path) as queue, queue._database.read() as view:
        for name, value in {"synchronous": 2, "journal_mode": "wal", "foreign_keys": 1,
                            "locking_mode": "exclusive", "trusted_schema": 0}.items():  # fmt: skip
            assert view.value(f"PRAGMA {name}") == value


def test_change_that_raises_changes_nothing(tmp_path: Path) -> None:
    place = Database(tmp_path / "queue.db", ManualClock())
    with pytest.raises(ZeroDivisionError), place.write() as change:  # noqa: PT012
        change.change("INSERT INTO tenant (name) VALUES ('ann')")
        raise ZeroDivisionError
    with place.read() as view:
        assert view.value("SELECT count(*) FROM tenant") == 0
    place.close()


def test_old_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(FilmgateError, match=r"the queue needs 3\.37 or newer: install a Python"):
        JobQueue(tmp_path / "queue.db")
    assert os.listdir(tmp_path) == []
