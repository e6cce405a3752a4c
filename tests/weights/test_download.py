"""Downloads from a local server: interrupted, damaged, changed, refused, twice at once."""

import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import pytest

from filmgate.errors import BadSetting, BadWeights, DoesNotFit, NotFetched
from filmgate.weights import download
from filmgate.weights.store import WeightsStore
from tests.weights.shop import DATA, OTHER, SHA, Shop, pull, serve_shop


def left(store: WeightsStore) -> list[str]:
    return sorted(p.name for p in (store.path / "fake").iterdir() if p.suffix != ".lock")


def test_a_file_is_downloaded_once(shop: Shop, store: WeightsStore) -> None:
    reports: list[tuple[str, int, int]] = []
    path = download.pull(shop.weights(), store, on_progress=lambda *report: reports.append(report))
    assert path == store.path / "fake" / "toy.safetensors"
    assert path.read_bytes() == DATA
    assert left(store) == ["toy.safetensors"]
    assert ("downloading", len(DATA), len(DATA)) in reports
    assert pull(shop, store) == path
    assert len(shop.asked) == 1


@pytest.mark.parametrize("at", [1, 2, 1000, 65_536, 150_000, len(DATA) - 1])
def test_an_interrupted_download_resumes_at_that_byte(
    shop: Shop, store: WeightsStore, at: int
) -> None:
    shop.cuts = [at]
    assert pull(shop, store).read_bytes() == DATA
    (_, first), (_, second) = shop.asked
    assert "Range" not in first
    assert (second["Range"], second["If-Range"]) == (f"bytes={at}-", '"one"')


def test_many_interruptions_cost_only_connections(shop: Shop, store: WeightsStore) -> None:
    shop.cuts = [7919] * 37
    waits: list[float] = []
    assert pull(shop, store, waits).read_bytes() == DATA
    assert waits == [1.0] * 37


def download_with_faults(chance: Random, folder: Path, data: bytes) -> None:
    """Download from a server that fails at random, by several callers in a row."""
    wanted = sha256(data).hexdigest() if chance.random() < 0.7 else None
    with serve_shop(Shop(data=data)) as shop:
        shop.ranges, shop.honest = chance.random() < 0.7, chance.random() < 0.7
        shop.etag = chance.choice(['"one"', 'W/"weak"', ""])
        shop.length, shop.redirects = chance.random() < 0.7, chance.random() < 0.5
        shop.cuts = [chance.randrange(len(data) + 1) for _ in range(chance.randrange(12))]
        shop.refusals = chance.choices([503, 416, 500], k=chance.randrange(4))
        store = WeightsStore(folder)
        for _ in range(9):
            try:
                path = download.pull(shop.weights(sha256=wanted), store, wait=lambda _: None)
            except NotFetched:
                assert not store.get_path(shop.weights()).exists()
                continue
            assert path.read_bytes() == data
            return
        pytest.fail("the download failed nine times")


@pytest.mark.parametrize("seed", range(12))
def test_the_file_is_complete_or_absent_whatever_fails(seed: int, tmp_path: Path) -> None:
    download_with_faults(Random(seed), tmp_path, DATA)


@pytest.mark.slow
def test_five_hundred_random_downloads(tmp_path: Path) -> None:
    for seed in range(500):
        chance = Random(1000 + seed)
        download_with_faults(chance, tmp_path / str(seed), DATA[: chance.randrange(1, 100_000)])


def test_another_process_resumes_a_download_that_gave_up(shop: Shop, store: WeightsStore) -> None:
    shop.cuts, waits = [100_000, 0, 0, 0, 0, 0], list[float]()
    with pytest.raises(NotFetched, match=r"ended early; 100\.0 kB of 300\.0 kB are kept: run"):
        pull(shop, store, waits)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]
    with pytest.raises(BadWeights, match="are not here"):  # half a file does not count
        store.verify(shop.weights())
    assert left(store) == ["toy.safetensors.part", "toy.safetensors.part.json"]
    assert pull(shop, store).read_bytes() == DATA
    assert shop.asked[-1][1]["Range"] == "bytes=100000-"


def test_a_partial_download_does_not_hide_the_complete_file(
    shop: Shop, store: WeightsStore
) -> None:
    path = pull(shop, store)
    path.with_name("toy.safetensors.part").write_bytes(b"half")
    assert store.verify(shop.weights()) == path


def test_a_server_without_ranges_sends_the_file_from_the_start(
    shop: Shop, store: WeightsStore
) -> None:
    shop.ranges, shop.cuts = False, [200_000, 100_000]
    assert pull(shop, store).read_bytes() == DATA
    assert len(shop.asked) == 3


def test_parts_of_two_versions_are_not_combined(shop: Shop, store: WeightsStore) -> None:
    weights = shop.weights(sha256=sha256(OTHER).hexdigest())
    shop.cuts = [50_000]

    def changed(_: float) -> None:
        shop.data, shop.etag = OTHER, '"two"'

    assert download.pull(weights, store, wait=changed).read_bytes() == OTHER


def test_a_server_that_ignores_if_range_is_detected(shop: Shop, store: WeightsStore) -> None:
    weights = shop.weights(sha256=sha256(OTHER).hexdigest())
    shop.cuts, shop.honest, shop.etag = [50_000], False, ""

    def changed(_: float) -> None:
        shop.data = OTHER

    assert download.pull(weights, store, wait=changed).read_bytes() == OTHER
    assert len(shop.asked) == 3  # the parts did not match, so all of it again


def test_without_hash_and_etag_nothing_is_resumed(shop: Shop, store: WeightsStore) -> None:
    shop.etag, shop.cuts = "", [50_000]
    assert pull(shop, store, sha256=None).read_bytes() == DATA
    assert all("Range" not in headers for _, headers in shop.asked)


def test_a_file_with_another_hash_never_gets_the_name(shop: Shop, store: WeightsStore) -> None:
    with pytest.raises(BadWeights, match=f"has the sha256 {SHA}, and {'0' * 64} is published"):
        pull(shop, store, sha256="0" * 64)
    assert left(store) == []
    assert len(shop.asked) == 1


def test_a_part_of_another_file_is_downloaded_again(shop: Shop, store: WeightsStore) -> None:
    shop.cuts = [1000, 0, 0, 0, 0, 0]
    with pytest.raises(NotFetched):
        pull(shop, store)
    (store.path / "fake" / "toy.safetensors.part").write_bytes(b"x" * 1000)
    assert pull(shop, store).read_bytes() == DATA


@pytest.mark.parametrize("size", [len(DATA), len(DATA) + 1])
def test_a_part_that_is_too_long_or_damaged_is_deleted(
    shop: Shop, store: WeightsStore, size: int
) -> None:
    store.get_path(shop.weights()).parent.mkdir(parents=True)
    (store.path / "fake" / "toy.safetensors.part").write_bytes(b"x" * size)
    assert pull(shop, store).read_bytes() == DATA
    assert left(store) == ["toy.safetensors"]


@pytest.mark.parametrize("length", [True, False])
def test_a_file_of_another_size_is_refused(shop: Shop, store: WeightsStore, length: bool) -> None:
    shop.length = length
    with pytest.raises(BadWeights, match="it was changed; update Filmgate"):
        pull(shop, store, size_bytes=1000)


def test_a_rounded_size_is_asked_of_the_server(shop: Shop, store: WeightsStore) -> None:
    """Torchvision publishes sizes in thousandths of a MiB, and 8 digits of the sha256."""
    about: dict[str, Any] = {
        "size_bytes": len(DATA) - 500,
        "size_tolerance": 600,
        "sha256": SHA[:8],
    }
    assert pull(shop, store, **about).read_bytes() == DATA
    assert store.verify(shop.weights(**about)).read_bytes() == DATA
    with pytest.raises(BadWeights, match="it was changed"):
        pull(shop, store, **about | {"size_bytes": 1000})
    with pytest.raises(BadWeights, match="is published"):
        pull(shop, store, **about | {"sha256": "01234567"})


def test_the_hash_that_the_hub_names_is_checked(shop: Shop, store: WeightsStore) -> None:
    shop.redirects, shop.promise = True, "0" * 64
    with pytest.raises(BadWeights, match="is what the server named"):
        pull(shop, store, sha256=None)
    shop.promise, shop.cuts = SHA, [1000]
    assert pull(shop, store, sha256=None).read_bytes() == DATA


def test_temporary_refusals_are_retried_and_others_reported(
    shop: Shop, store: WeightsStore
) -> None:
    shop.refusals, waits = [503, 429, 500], list[float]()
    assert pull(shop, store, waits).read_bytes() == DATA
    assert waits == [2.0, 4.0, 8.0]
    store.get_path(shop.weights()).unlink()
    for code, message in ((404, "it has moved"), (403, "set HF_TOKEN"), (400, "try again later")):
        shop.refusals = [code]
        with pytest.raises(NotFetched, match=f"answers {code} .*{message}"):
            pull(shop, store)


def test_a_server_that_does_not_answer_is_reported(store: WeightsStore, shop: Shop) -> None:
    weights = shop.weights(url="http://127.0.0.1:9/toy")
    with pytest.raises(
        NotFetched, match=r"could not be downloaded: .*refused.*; 0 bytes of 300\.0 kB"
    ):
        download.pull(weights, store, wait=lambda _: None)


PULL = """
import sys
from pathlib import Path
from filmgate.weights import download as download
from filmgate.weights.store import WeightsStore, Weights
weights = Weights(name="toy", family="fake", file="toy.safetensors", size_bytes=int(sys.argv[3]),
                  licence="MIT", commercial=True, sha256=sys.argv[4], url=sys.argv[2])
report = lambda doing, *_: print(doing, flush=True)
download.pull(weights, WeightsStore(Path(sys.argv[1])), on_progress=report)
"""


def test_two_processes_at_once_download_it_once(shop: Shop, store: WeightsStore) -> None:
    shop.gate = Event()
    words = [sys.executable, "-c", PULL, str(store.path), shop.address, str(len(DATA)), SHA]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as one,
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as two,
    ):
        assert one.stdout is not None
        assert two.stdout is not None
        reports = {one.stdout.readline().split()[0], two.stdout.readline().split()[0]}
        assert reports == {"waiting", "downloading"}
        shop.gate.set()
        one.stdout.read()
        two.stdout.read()
    assert (one.returncode, two.returncode) == (0, 0)
    assert len(shop.asked) == 1
    assert store.get_path(shop.weights()).read_bytes() == DATA


def test_a_killed_download_is_resumed(shop: Shop, store: WeightsStore) -> None:
    shop.gate = Event()
    words = [sys.executable, "-c", PULL, str(store.path), shop.address, str(len(DATA)), SHA]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "downloading\n"
        one.kill()
    shop.gate.set()
    shop.gate = None
    assert pull(shop, store).read_bytes() == DATA
    assert int(shop.asked[-1][1]["Range"][6:-1]) > 0


def test_disk_space_is_checked_first(
    shop: Shop, store: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 300_000))
    with pytest.raises(DoesNotFit, match=r"needs 300\.0 kB and 300\.0 kB are") as error:
        pull(shop, store)
    assert error.value.needed_bytes == len(DATA)
    assert not shop.asked


def test_a_disk_that_fills_up_keeps_the_part(
    shop: Shop, store: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = open

    class Full:
        """A disk with 1,000 bytes left."""

        def __init__(self, file: Any) -> None:
            self.file, self.room = file, 1000

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: Any) -> int:
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written = int(self.file.write(data[: self.room]))
            self.room -= written
            return written

    monkeypatch.setattr(download, "open", lambda *a, **k: Full(inner(*a, **k)), raising=False)
    with pytest.raises(NotFetched, match=r"No space left on device; free disk space and run"):
        pull(shop, store)
    monkeypatch.undo()
    assert pull(shop, store).read_bytes() == DATA
    assert shop.asked[-1][1]["Range"] == "bytes=1000-"


@pytest.mark.parametrize("name", ["FILMGATE_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_the_message_says_where_to_put_the_file(
    name: str, shop: Shop, store: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(NotFetched) as error:
        pull(shop, store)
    place = str(store.get_path(shop.weights()))
    assert all(word in str(error.value) for word in (name, "toy.safetensors", place, shop.address))
    assert not shop.asked
    Path(place).parent.mkdir(parents=True)
    Path(place).write_bytes(DATA)
    assert pull(shop, store) == Path(place)
    monkeypatch.setenv(name, "0")
    assert not download.find_offline_variable()


def test_a_folder_that_cannot_be_created_is_reported(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(BadSetting, match="set FILMGATE_MODELS to another folder"):
        pull(shop, WeightsStore(tmp_path / "models"))


def test_a_file_can_come_from_the_hub_or_a_mirror(
    shop: Shop, store: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = replace(shop.weights(), url="", hub="them/toys", path="a/toy.safetensors")
    assert weights.address == "https://huggingface.co/them/toys/resolve/main/a/toy.safetensors"
    monkeypatch.setenv("HF_ENDPOINT", shop.address.removesuffix("/toy"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert download.pull(weights, store).read_bytes() == DATA
    ((path, headers),) = shop.asked
    assert path == "/them/toys/resolve/main/a/toy.safetensors"
    assert "Authorization" not in headers  # never without encryption
