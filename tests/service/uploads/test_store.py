"""Uploads on disk: offsets that survive a kill, quotas, and what is removed when."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from filmgate.errors import BadInput, BadSetting, DiskFull, JobConflict, UnknownUpload, UploadQuota
from filmgate.service.uploads.check import CheckedFile
from filmgate.service.uploads.store import Upload, UploadLimits, UploadStore


def check(path: Path, name: str) -> CheckedFile:
    """Take everything for a video."""
    return CheckedFile("video", hashlib.sha256(path.read_bytes()).hexdigest(), {})


def refuse(path: Path, name: str) -> CheckedFile:
    """Refuse everything."""
    raise BadInput(f"{name} is no video: upload one")


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


def write(store: UploadStore, upload: Upload, data: bytes, offset: int = 0) -> Upload:
    writer = store.open_writer(upload, offset, has_checksum=False)
    writer.write(data)
    writer.close()
    return store.get(upload.tenant, upload.id)


@pytest.mark.fault(38)
def test_a_reported_offset_is_there_after_the_server_was_killed(tmp_path: Path) -> None:
    store = UploadStore(tmp_path, Clock(), check=check)
    upload = store.create("ann", 10, "a.mp4")
    write(store, upload, b"0123")
    again = UploadStore(tmp_path, Clock(), check=check)
    [found] = again.list_uploads("ann")
    assert (found.id, again.read_offset(found)) == (upload.id, 4)
    done = again.finish(write(again, found, b"456789", 4))
    assert done.file is not None
    assert done.file.sha256 == hashlib.sha256(b"0123456789").hexdigest()
    assert again.resolve("ann", done.id).read_bytes() == b"0123456789"
    third = UploadStore(tmp_path, Clock(), check=refuse)  # it is not checked twice
    assert third.resolve("ann", done.id) == again.get_data_path(done)


def test_bytes_without_a_compared_checksum_are_lost_with_the_server(tmp_path: Path) -> None:
    store = UploadStore(tmp_path, Clock(), check=check)
    upload = store.create("ann", 10)
    writer = store.open_writer(upload, 0, has_checksum=True)
    writer.write(b"right")
    writer.keep()
    writer.close()
    upload = store.get("ann", upload.id)
    writer = store.open_writer(upload, 5, has_checksum=True)
    writer.write(b"wrong")
    writer._file.close()  # on disk, and killed before the comparison
    assert store.get_data_path(upload).stat().st_size == 10
    again = UploadStore(tmp_path, Clock(), check=check)
    assert again.read_offset(again.get("ann", upload.id)) == 5


def test_one_request_writes_at_a_time_and_only_where_it_goes_on(tmp_path: Path) -> None:
    store = UploadStore(tmp_path, Clock(), check=check)
    upload = store.create("ann", 10)
    writer = store.open_writer(upload, 0, has_checksum=False)
    with pytest.raises(JobConflict, match="another request"):
        store.open_writer(upload, 0, has_checksum=False)
    with pytest.raises(BadSetting, match="more bytes"):
        writer.write(b"x" * 11)
    writer.write(b"x" * 3)
    assert store.read_offset(upload) == 0  # not durable yet
    store.stop_writer(upload, 0)
    assert writer.is_asked_to_stop
    writer.close()
    with pytest.raises(JobConflict, match="at byte 3"):
        store.open_writer(upload, 2, has_checksum=False)
    with pytest.raises(JobConflict, match="send the rest"):
        store.finish(upload)


def test_a_refused_file_keeps_only_its_reason(tmp_path: Path) -> None:
    store = UploadStore(tmp_path, Clock(), check=refuse)
    upload = store.finish(write(store, store.create("ann", 4, "x.mp4"), b"data"))
    assert upload.problem.startswith("x.mp4 is no video")
    assert store.get_data_path(upload).stat().st_size == 0
    with pytest.raises(BadInput, match="no video"):
        store.resolve("ann", upload.id)
    with pytest.raises(JobConflict):
        store.open_writer(upload, 0, has_checksum=False)


def test_limits_are_of_each_tenant_and_of_the_disk(tmp_path: Path) -> None:
    limits = UploadLimits(file_bytes=10, tenant_bytes=15, tenant_files=2)
    store = UploadStore(tmp_path, Clock(), limits, check)
    with pytest.raises(BadSetting):
        store.create("ann", 11)
    with pytest.raises(BadSetting):
        store.create("ann", 0)
    first = store.create("ann", 10)
    with pytest.raises(UploadQuota):
        store.create("ann", 6)  # announced bytes count, not those that came
    store.create("ann", 5)
    store.create("bob", 10)
    store.remove(first)
    store.create("ann", 5)
    with pytest.raises(UploadQuota):
        store.create("ann", 1)
    full = UploadStore(tmp_path, Clock(), UploadLimits(free_bytes=1 << 62), check)
    with pytest.raises(DiskFull):
        full.create("eve", 5)


@pytest.mark.parametrize("name", ["", "..", "a" * 32, "../" + "0" * 32, "0" * 31 + "g"])
def test_what_is_no_id_is_no_upload(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownUpload):
        UploadStore(tmp_path, Clock()).get("ann", name)


def test_uploads_expire_unless_a_job_uses_them(tmp_path: Path) -> None:
    clock = Clock()
    store = UploadStore(tmp_path, clock, check=check)
    partial = store.create("ann", 10)
    done = [store.finish(write(store, store.create("ann", 4), b"data")) for _ in range(2)]
    clock.now += 86_401.0
    used = {store.get_data_path(done[0])}
    assert store.remove_expired(used) == [partial.id]
    clock.now += 7 * 86_400
    assert store.remove_expired(used) == [done[1].id]
    assert [one.id for one in store.list_uploads("ann")] == [done[0].id]
    store.resolve("ann", done[0].id)  # used now: it stays for a week
    assert store.remove_expired(set()) == []
    assert {path.suffix for path in tmp_path.iterdir()} == {".data", ".json"}


def test_only_its_own_files_are_removed(tmp_path: Path) -> None:
    store = UploadStore(tmp_path, Clock(), check=check)
    upload = write(store, store.create("ann", 4), b"data")
    others = ["notes.txt", "short.data", f"{'0' * 32}.mp4", f"{'A' * 32}.data"]
    for name in others:
        (tmp_path / name).write_text("x")
    (tmp_path / f"{'1' * 32}.data").write_text("half created")
    (tmp_path / f"{upload.id}.json").write_text("{damaged")
    again = UploadStore(tmp_path, Clock(), check=check)
    assert again.list_uploads("ann") == []
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {*others, f"{upload.id}.data", f"{upload.id}.json"}


def test_a_refused_upload_takes_neither_quota_nor_space(tmp_path: Path) -> None:
    """It has lost its bytes, and is kept for a day to say why."""
    limits = UploadLimits(tenant_bytes=100, free_bytes=0)
    store = UploadStore(tmp_path, Clock(), limits, refuse)
    for _ in range(3):
        upload = store.finish(write(store, store.create("ann", 60, "a.mp4"), bytes(60)))
        assert upload.problem
    assert len(store.list_uploads("ann")) == 3
    store.create("ann", 100)
    with pytest.raises(UploadQuota):
        store.create("ann", 1)
