"""The file that makes space when the disk is full: written once, deleted once, never another's."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from filmgate.errors import DiskFull
from filmgate.service.ballast import Ballast
from tests.service.fakes import FakeWorkers, make_service
from tests.service.real import pause


def test_ballast_is_written_and_released_once(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path, 3 << 20)
    assert not ballast.release()
    ballast.fill()
    ballast.fill()
    assert (tmp_path / "ballast").stat().st_size == 3 << 20
    assert ballast.release()
    assert not ballast.release()
    assert not list(tmp_path.iterdir())


def test_file_of_the_user_with_that_name_stays(tmp_path: Path) -> None:
    (tmp_path / "ballast").write_text("mine")
    ballast = Ballast(tmp_path)
    ballast.fill()
    assert not ballast.release()
    assert (tmp_path / "ballast").read_text() == "mine"


def test_nearly_full_disk_gets_no_ballast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(total=1 << 30, used=0, free=40 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    Ballast(tmp_path, 3 << 20).fill()
    assert not list(tmp_path.iterdir())


@pytest.mark.fault(9)
def test_full_disk_releases_it_and_the_queue_writes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_service(tmp_path, FakeWorkers(None)) as service:
        for _ in range(200):
            if (tmp_path / "ballast").exists():
                break
            pause(0.02)
        expire = service._queue.expire_due

        def fail_while_there_is_no_space() -> list[str]:
            if (tmp_path / "ballast").exists():
                raise DiskFull("cannot write: no space")
            return expire()

        monkeypatch.setattr(service._queue, "expire_due", fail_while_there_is_no_space)
        service._workers.wake()
        for _ in range(200):
            if not (tmp_path / "ballast").exists() and service.report_readiness().is_ready:
                break
            service._workers.wake()
            pause(0.02)
        assert service.report_readiness().is_ready
    assert "ballast_released" in (tmp_path / "logs" / "service.jsonl").read_text()
