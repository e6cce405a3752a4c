"""The cache on disk: damage, death and races never give a wrong result."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from filmgate.core.chain import Chain
from filmgate.core.frame import Frame
from filmgate.core.wrappers.cached import cached
from filmgate.errors import BadSetting
from filmgate.storage.result_cache import SIZE, ResultCache, find_cache_folder, open_cache
from filmgate.testing import laws
from tests.laws.synthetic import STAGES, Recurrent, make_video

STRIDE = int(os.environ.get("FILMGATE_STRIDE", "1"))  # try less often
KEY = {"source": "a video", "range": "all", "settings": "none", "weights": "none", "code": "1"}
VIDEO = make_video([25] * 24, 5)
# What every writer puts under a name: anything else that is ever read is a wrong result.
WRITER = """
import sys
from pathlib import Path
from filmgate.storage.result_cache import ResultCache
cache, turn = ResultCache(Path(sys.argv[1]), int(sys.argv[2])), int(sys.argv[3])
wrong, i = 0, turn
while i < turn + int(sys.argv[4]):
    name = f"{i * 7 % 23:040x}"
    data = name.encode() * 500
    seen = cache.get(name)
    wrong += seen is not None and seen != data
    cache.put(name, data)
    if i == turn:
        print("ready", flush=True)
    i += 1
cache.report_counts()
print(wrong, cache.counts["damaged"])
"""


def played(cache: ResultCache, name: str = "recurrent") -> list[Frame]:
    return laws.run_chain(Chain((cached(STAGES[name](), cache, KEY, every=4),)), VIDEO)


def results(folder: Path) -> list[Path]:
    return sorted(one.path for one in ResultCache(folder).files() if one.path.suffix == ".result")


def spoil(path: Path, chance: Random) -> None:
    """One of the ways in which a file gets lost."""
    data = bytearray(path.read_bytes())
    kind = chance.randrange(6)
    if kind == 0:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del data[chance.randrange(len(data)) :]
    elif kind == 2:
        data[:18] = b"filmgate result 9\n"
    elif kind == 3:
        begin = chance.randrange(len(data))
        data[begin : begin + 512] = bytes(len(data[begin : begin + 512]))
    elif kind == 4:
        data += b"more"
    elif kind == 5:
        path.unlink()
        return
    path.write_bytes(data)


def corrupted(folder: Path, times: int) -> None:
    chance, want = Random(times), laws.run_chain(Chain((Recurrent(),)), VIDEO)
    cache = ResultCache(folder)
    laws.assert_same_frames(played(cache), want, "cold")
    damaged = 0
    for n in range(times):
        files = results(folder)
        before = {path: path.read_bytes() for path in files}
        for path in chance.sample(files, chance.randint(1, 4)):
            spoil(path, chance)
        damaged += sum(path.exists() and path.read_bytes() != old for path, old in before.items())
        laws.assert_same_frames(played(cache), want, f"corruption {n}")
    # A spoilt file behind a spoilt state may be written over unread; each that is read is counted.
    assert 0 < cache.counts["damaged"] <= damaged
    assert ResultCache(folder).total()["damaged"] == cache.counts["damaged"]
    assert {path.read_bytes() for path in results(folder)} == set(before.values())


def test_thirty_corruptions_are_recomputed_and_counted(tmp_path: Path) -> None:
    corrupted(tmp_path, 30)


@pytest.mark.slow
def test_two_hundred_corruptions_are_recomputed_and_counted(tmp_path: Path) -> None:
    corrupted(tmp_path, 200)


def test_every_flipped_bit_is_detected(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path)
    cache.put("ab" * 20, b"a result")
    (path,) = results(tmp_path)
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        assert cache.get("ab" * 20) is None
        assert not path.exists()
    path.write_bytes(data)
    assert cache.get("ab" * 20) == b"a result"
    assert cache.counts["damaged"] == len(data)


def test_file_under_another_name_is_damaged(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path)
    cache.put("ab" * 20, b"a result")
    (path,) = results(tmp_path)
    path.rename(path.with_stem("ab" * 19 + "cd"))
    assert cache.get("ab" * 19 + "cd") is None
    assert cache.counts["damaged"] == 1


def test_least_recently_used_is_evicted_first(tmp_path: Path) -> None:
    cache, names = ResultCache(tmp_path, budget_bytes=10_000), [f"{n:02x}" * 20 for n in range(9)]
    for age, name in enumerate(names):
        cache.put(name, bytes(950))
        os.utime(cache._path(name), (1000 + age, 1000 + age))
    assert cache.get(names[0]) is not None  # now it is the youngest
    cache.put("ff" * 20, bytes(950))
    held = [name for name in names if cache.get(name)]
    assert names[0] in held
    assert held[1:] == names[-len(held) + 1 :]
    assert sum(one.size_bytes for one in cache.files() if one.path.parent != tmp_path) <= 10_000


def test_cache_stays_within_its_budget(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path, budget_bytes=20_000)
    for n in range(120):
        cache.put(f"{n:040x}"[::-1], bytes(1900))
        if n % 10 == 0:
            assert sum(one.size_bytes for one in cache.files()) <= 20_000
    cache.put("ff" * 20, bytes(30_000))
    assert cache.get("ff" * 20) is None
    assert cache.counts["refused"] == 1


def test_unwritable_folder_does_not_stop_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = ResultCache(tmp_path / "file" / "cache")
    laws.assert_same_frames(played(cache), laws.run_chain(Chain((Recurrent(),)), VIDEO), "cached")
    assert cache.counts["kept"] == cache.counts["hits"] == 0
    assert cache.counts["refused"] == cache.counts["misses"] > 0


def test_old_temporary_files_of_dead_processes_are_deleted(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path)
    cache.put("ab" * 20, b"x")
    old, young = (tmp_path / "ab" / f".{n}.new" for n in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half of it")
    os.utime(old, (1000, 1000))
    ResultCache(tmp_path).put("cd" * 20, b"x")
    assert not old.exists()
    assert young.exists()


def writers(folder: Path, budget: int, turns: int, loops: int) -> Iterator[subprocess.Popen[str]]:
    for turn in range(turns):
        words = [sys.executable, "-c", WRITER, str(folder), str(budget), str(turn * 5), str(loops)]
        yield subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def raced(folder: Path, loops: int) -> None:
    """Two writers, and one that spoils files, in a cache too small for all results."""
    chance = Random(1)
    running = list(writers(folder, 60_000, 2, loops))
    while any(one.poll() is None for one in running):
        for path in results(folder)[:2]:
            with suppress(OSError, ValueError):  # forgotten meanwhile, or in use on Windows
                spoil(path, chance)
    for one in running:
        out, _ = one.communicate()
        wrong, _ = map(int, out.split()[1:])
        assert one.returncode == 0
        assert wrong == 0


def killed(folder: Path, times: int) -> None:
    """SIGKILL anywhere while a process writes: a reader finds complete results or none."""
    chance = Random(2)
    for _ in range(times):
        (writer,) = writers(folder, 60_000, 1, 10**9)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        cache, looks = ResultCache(folder, 60_000), chance.randrange(40)
        for n in range(looks):
            check_one(cache, n)
        writer.kill()
        writer.communicate()
        for n in range(23):
            check_one(cache, n)
        assert cache.counts["damaged"] == 0  # a file is complete or absent: death spoils none


def check_one(cache: ResultCache, n: int) -> None:
    name = f"{n % 23:040x}"
    assert cache.get(name) in (None, name.encode() * 500)


def test_processes_race_with_each_other_and_with_damage(tmp_path: Path) -> None:
    raced(tmp_path, 60)


def test_process_killed_while_it_writes_damages_nothing(tmp_path: Path) -> None:
    killed(tmp_path, 2)


@pytest.mark.slow
def test_processes_race_for_long(tmp_path: Path) -> None:
    raced(tmp_path, 8_000 // STRIDE)  # each turn meets what another process wrote or spoilt


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_processes_are_killed_while_they_write(tmp_path: Path) -> None:
    killed(tmp_path, 200 // STRIDE)


@pytest.mark.parametrize("name", ["windowed, doubles", "blocks, overlapping", "each with noise"])
def test_stage_gives_the_same_frames_from_the_cache(tmp_path: Path, name: str) -> None:
    want = laws.run_chain(Chain((STAGES[name](),)), VIDEO)
    for _ in range(2):
        laws.assert_same_frames(played(ResultCache(tmp_path), name), want, "cached")
    assert ResultCache(tmp_path).total()["hits"] >= len(VIDEO.frames)  # also of the first


def test_folder_and_size_come_from_the_environment(tmp_path: Path) -> None:
    assert find_cache_folder({"FILMGATE_CACHE": str(tmp_path)}) == tmp_path / "results"
    assert find_cache_folder({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "filmgate" / "results"
    assert open_cache(tmp_path, {SIZE: "2GB"}).budget_bytes == 2 * 10**9
    with pytest.raises(BadSetting, match="FILMGATE_CACHE_SIZE is not a size"):
        open_cache(tmp_path, {SIZE: "much"})


def test_cache_in_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"precious")
    with pytest.raises(BadSetting, match="cache is no folder: set FILMGATE_CACHE"):
        open_cache(environ={"FILMGATE_CACHE": str(tmp_path / "cache")})
    with pytest.raises(BadSetting, match="cache is no folder"):
        open_cache(tmp_path / "cache")
    assert (tmp_path / "cache").read_bytes() == b"precious"


def test_files_of_the_user_are_no_results(tmp_path: Path) -> None:
    kept = [tmp_path / "counts", tmp_path / "ab" / "holiday.mp4", tmp_path / "ab.result"]
    (tmp_path / "ab").mkdir()
    for path in kept:
        path.write_bytes(b"of the user")
    assert ResultCache(tmp_path).clean() == 0
    assert all(path.read_bytes() == b"of the user" for path in kept)
