"""Weights fetched from a server on this machine: cut, damaged, changed, refused, twice at once."""

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
from tests.weights.shop import DATA, OTHER, SHA, Shop, opened, pulled


def left(shelf: WeightsStore) -> list[str]:
    return sorted(p.name for p in (shelf.path / "fake").iterdir() if p.suffix != ".lock")


def test_a_file_is_fetched_once_and_then_it_is_here(shop: Shop, shelf: WeightsStore) -> None:
    told: list[tuple[str, int, int]] = []
    path = download.pull(shop.weights(), shelf, tell=lambda *said: told.append(said))
    assert path == shelf.path / "fake" / "toy.safetensors"
    assert path.read_bytes() == DATA
    assert left(shelf) == ["toy.safetensors"]
    assert ("fetching", len(DATA), len(DATA)) in told
    assert pulled(shop, shelf) == path
    assert len(shop.asked) == 1


@pytest.mark.parametrize("at", [1, 2, 1000, 65_536, 150_000, len(DATA) - 1])
def test_what_was_cut_anywhere_goes_on_from_there(shop: Shop, shelf: WeightsStore, at: int) -> None:
    shop.cuts = [at]
    assert pulled(shop, shelf).read_bytes() == DATA
    (_, first), (_, second) = shop.asked
    assert "Range" not in first
    assert (second["Range"], second["If-Range"]) == (f"bytes={at}-", '"one"')


def test_many_cuts_cost_nothing_but_connections(shop: Shop, shelf: WeightsStore) -> None:
    shop.cuts = [7919] * 37
    waits: list[float] = []
    assert pulled(shop, shelf, waits).read_bytes() == DATA
    assert waits == [1.0] * 37


def disturbed(chance: Random, folder: Path, data: bytes) -> None:
    """A download from a server of some kind, cut and refused at random, by several callers."""
    wanted = sha256(data).hexdigest() if chance.random() < 0.7 else None
    with opened(Shop(data=data)) as shop:
        shop.ranges, shop.honest = chance.random() < 0.7, chance.random() < 0.7
        shop.etag = chance.choice(['"one"', 'W/"weak"', ""])
        shop.length, shop.redirects = chance.random() < 0.7, chance.random() < 0.5
        shop.cuts = [chance.randrange(len(data) + 1) for _ in range(chance.randrange(12))]
        shop.refusals = chance.choices([503, 416, 500], k=chance.randrange(4))
        shelf = WeightsStore(folder)
        for _ in range(9):
            try:
                path = download.pull(shop.weights(sha256=wanted), shelf, wait=lambda _: None)
            except NotFetched:
                assert not shelf.place(shop.weights()).exists()
                continue
            assert path.read_bytes() == data
            return
        pytest.fail("it did not come in nine calls")


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_on_the_way_the_file_is_whole_or_has_no_name(
    seed: int, tmp_path: Path
) -> None:
    disturbed(Random(seed), tmp_path, DATA)


@pytest.mark.slow
def test_the_same_five_hundred_times(tmp_path: Path) -> None:
    for seed in range(500):
        chance = Random(1000 + seed)
        disturbed(chance, tmp_path / str(seed), DATA[: chance.randrange(1, 100_000)])


def test_another_process_goes_on_where_one_gave_up(shop: Shop, shelf: WeightsStore) -> None:
    shop.cuts, waits = [100_000, 0, 0, 0, 0, 0], list[float]()
    with pytest.raises(NotFetched, match=r"ended early; 100\.0 kB of 300\.0 kB are kept, and the"):
        pulled(shop, shelf, waits)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]
    with pytest.raises(BadWeights, match="are not here"):  # half a file is no file
        shelf.verified(shop.weights())
    assert left(shelf) == ["toy.safetensors.part", "toy.safetensors.part.json"]
    assert pulled(shop, shelf).read_bytes() == DATA
    assert shop.asked[-1][1]["Range"] == "bytes=100000-"


def test_a_half_download_does_not_disable_the_file_that_is_here(
    shop: Shop, shelf: WeightsStore
) -> None:
    path = pulled(shop, shelf)
    path.with_name("toy.safetensors.part").write_bytes(b"half")
    assert shelf.verified(shop.weights()) == path


def test_a_server_that_can_not_go_on_begins_anew(shop: Shop, shelf: WeightsStore) -> None:
    shop.ranges, shop.cuts = False, [200_000, 100_000]
    assert pulled(shop, shelf).read_bytes() == DATA
    assert len(shop.asked) == 3


def test_a_file_that_was_changed_between_two_tries_is_not_pieced_together(
    shop: Shop, shelf: WeightsStore
) -> None:
    weights = shop.weights(sha256=sha256(OTHER).hexdigest())
    shop.cuts = [50_000]

    def changed(_: float) -> None:
        shop.data, shop.etag = OTHER, '"two"'

    assert download.pull(weights, shelf, wait=changed).read_bytes() == OTHER


def test_a_server_that_lies_about_a_changed_file_is_found_out(
    shop: Shop, shelf: WeightsStore
) -> None:
    weights = shop.weights(sha256=sha256(OTHER).hexdigest())
    shop.cuts, shop.honest, shop.etag = [50_000], False, ""

    def changed(_: float) -> None:
        shop.data = OTHER

    assert download.pull(weights, shelf, wait=changed).read_bytes() == OTHER
    assert len(shop.asked) == 3  # the pieces did not match, so all of it once more


def test_without_a_hash_or_a_mark_of_the_file_nothing_is_pieced_together(
    shop: Shop, shelf: WeightsStore
) -> None:
    shop.etag, shop.cuts = "", [50_000]
    assert pulled(shop, shelf, sha256=None).read_bytes() == DATA
    assert all("Range" not in headers for _, headers in shop.asked)


def test_what_is_not_what_was_published_never_gets_the_name(
    shop: Shop, shelf: WeightsStore
) -> None:
    with pytest.raises(BadWeights, match=f"has the sha256 {SHA}, and {'0' * 64} is published"):
        pulled(shop, shelf, sha256="0" * 64)
    assert left(shelf) == []
    assert len(shop.asked) == 1


def test_a_part_of_something_else_is_fetched_anew(shop: Shop, shelf: WeightsStore) -> None:
    shop.cuts = [1000, 0, 0, 0, 0, 0]
    with pytest.raises(NotFetched):
        pulled(shop, shelf)
    (shelf.path / "fake" / "toy.safetensors.part").write_bytes(b"x" * 1000)
    assert pulled(shop, shelf).read_bytes() == DATA


@pytest.mark.parametrize("size", [len(DATA), len(DATA) + 1])
def test_a_part_that_is_too_long_or_damaged_and_complete_is_thrown_away(
    shop: Shop, shelf: WeightsStore, size: int
) -> None:
    shelf.place(shop.weights()).parent.mkdir(parents=True)
    (shelf.path / "fake" / "toy.safetensors.part").write_bytes(b"x" * size)
    assert pulled(shop, shelf).read_bytes() == DATA
    assert left(shelf) == ["toy.safetensors"]


@pytest.mark.parametrize("length", [True, False])
def test_a_file_of_another_size_was_changed_and_is_told(
    shop: Shop, shelf: WeightsStore, length: bool
) -> None:
    shop.length = length
    with pytest.raises(BadWeights, match="it was changed since; get a newer Filmgate"):
        pulled(shop, shelf, size_bytes=1000)


def test_a_size_that_was_published_rounded_is_asked_for(shop: Shop, shelf: WeightsStore) -> None:
    """Torchvision tells its files' sizes in thousandths of a MiB, and 8 digits of the sha256."""
    about: dict[str, Any] = {"size_bytes": len(DATA) - 500, "off_bytes": 600, "sha256": SHA[:8]}
    assert pulled(shop, shelf, **about).read_bytes() == DATA
    assert shelf.verified(shop.weights(**about)).read_bytes() == DATA
    with pytest.raises(BadWeights, match="it was changed since"):
        pulled(shop, shelf, **about | {"size_bytes": 1000})
    with pytest.raises(BadWeights, match="is published"):
        pulled(shop, shelf, **about | {"sha256": "01234567"})


def test_the_hubs_own_hash_is_asked_of_what_it_sends(shop: Shop, shelf: WeightsStore) -> None:
    shop.redirects, shop.promise = True, "0" * 64
    with pytest.raises(BadWeights, match="the other side promised"):
        pulled(shop, shelf, sha256=None)
    shop.promise, shop.cuts = SHA, [1000]
    assert pulled(shop, shelf, sha256=None).read_bytes() == DATA


def test_passing_refusals_are_tried_again_and_others_told(shop: Shop, shelf: WeightsStore) -> None:
    shop.refusals, waits = [503, 429, 500], list[float]()
    assert pulled(shop, shelf, waits).read_bytes() == DATA
    assert waits == [2.0, 4.0, 8.0]
    shelf.place(shop.weights()).unlink()
    for code, said in ((404, "it has moved"), (403, "set HF_TOKEN"), (400, "try again later")):
        shop.refusals = [code]
        with pytest.raises(NotFetched, match=f"answers {code} .*{said}"):
            pulled(shop, shelf)


def test_where_nobody_answers_it_is_told_after_some_tries(shelf: WeightsStore, shop: Shop) -> None:
    weights = shop.weights(url="http://127.0.0.1:9/toy")
    with pytest.raises(NotFetched, match=r"did not come: .*refused.*; 0 bytes of 300\.0 kB"):
        download.pull(weights, shelf, wait=lambda _: None)


PULL = """
import sys
from pathlib import Path
from filmgate.weights import download as fetch
from filmgate.weights.store import WeightsStore, Weights
weights = Weights(name="toy", family="fake", file="toy.safetensors", size_bytes=int(sys.argv[3]),
                  licence="MIT", commercial=True, sha256=sys.argv[4], url=sys.argv[2])
fetch.pull(weights, WeightsStore(Path(sys.argv[1])), tell=lambda *said: print(said[0], flush=True))
"""


def test_two_processes_at_once_fetch_it_once(shop: Shop, shelf: WeightsStore) -> None:
    shop.gate = Event()
    words = [sys.executable, "-c", PULL, str(shelf.path), shop.address, str(len(DATA)), SHA]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as one,
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as two,
    ):
        assert one.stdout is not None
        assert two.stdout is not None
        said = {one.stdout.readline().split()[0], two.stdout.readline().split()[0]}
        assert said == {"waiting", "fetching"}
        shop.gate.set()
        one.stdout.read()
        two.stdout.read()
    assert (one.returncode, two.returncode) == (0, 0)
    assert len(shop.asked) == 1
    assert shelf.place(shop.weights()).read_bytes() == DATA


def test_a_killed_download_goes_on(shop: Shop, shelf: WeightsStore) -> None:
    shop.gate = Event()
    words = [sys.executable, "-c", PULL, str(shelf.path), shop.address, str(len(DATA)), SHA]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "fetching\n"
        one.kill()
    shop.gate.set()
    shop.gate = None
    assert pulled(shop, shelf).read_bytes() == DATA
    assert int(shop.asked[-1][1]["Range"][6:-1]) > 0


def test_room_is_asked_first(
    shop: Shop, shelf: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 300_000))
    with pytest.raises(DoesNotFit, match=r"needs room for 300\.0 kB and 300\.0 kB are") as error:
        pulled(shop, shelf)
    assert error.value.needed_bytes == len(DATA)
    assert not shop.asked


def test_a_disk_that_fills_up_meanwhile_keeps_what_came(
    shop: Shop, shelf: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = open

    class Full:
        """A disk with room for 1,000 bytes more."""

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
    with pytest.raises(NotFetched, match=r"No space left on device; make room, and the same"):
        pulled(shop, shelf)
    monkeypatch.undo()
    assert pulled(shop, shelf).read_bytes() == DATA
    assert shop.asked[-1][1]["Range"] == "bytes=1000-"


@pytest.mark.parametrize("name", ["FILMGATE_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked_and_the_cure_is_told(
    name: str, shop: Shop, shelf: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(NotFetched) as error:
        pulled(shop, shelf)
    place = str(shelf.place(shop.weights()))
    assert all(word in str(error.value) for word in (name, "toy.safetensors", place, shop.address))
    assert not shop.asked
    Path(place).parent.mkdir(parents=True)
    Path(place).write_bytes(DATA)
    assert pulled(shop, shelf) == Path(place)
    monkeypatch.setenv(name, "0")
    assert not download.offline()


def test_a_folder_that_can_not_be_made_is_told(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(BadSetting, match="name another folder for models with FILMGATE_MODELS"):
        pulled(shop, WeightsStore(tmp_path / "models"))


def test_the_hub_is_a_place_too_and_may_be_another(
    shop: Shop, shelf: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = replace(shop.weights(), url="", hub="them/toys", path="a/toy.safetensors")
    assert weights.address == "https://huggingface.co/them/toys/resolve/main/a/toy.safetensors"
    monkeypatch.setenv("HF_ENDPOINT", shop.address.removesuffix("/toy"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert download.pull(weights, shelf).read_bytes() == DATA
    ((path, headers),) = shop.asked
    assert path == "/them/toys/resolve/main/a/toy.safetensors"
    assert "Authorization" not in headers  # never without encryption
