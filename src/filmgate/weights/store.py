"""Weights: what a model's published file is, where it lies, and whether it may be believed."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import get_ident

from filmgate.errors import BadSetting, BadWeights
from filmgate.storage.fingerprint import Tell, memo_key, nobody, sha256_of, stat_of
from filmgate.weights.definitions import Published, Weights


@dataclass(frozen=True, slots=True)
class WeightsStore:
    """The models folder: files of weights, whose terms were accepted, and what was hashed."""

    path: Path

    @classmethod
    def here(cls) -> WeightsStore:
        """The folder that FILMGATE_MODELS names; without, ~/.cache/filmgate/models."""
        told = os.environ.get("FILMGATE_MODELS")
        return cls(
            Path(told).expanduser() if told else Path.home() / ".cache" / "filmgate" / "models"
        )

    def place(self, weights: Weights) -> Path:
        """Where the file lies once it is whole."""
        return self.path / weights.family / weights.file

    def home(self, one: Published) -> Path:
        """Where what belongs to its family lies."""
        return self.path / one.family

    def find(self, weights: Weights, given: Path | None = None) -> Path:
        """Where the file is: here, in the folder `given`, or `given` itself. Raises BadWeights."""
        if given is not None and given.is_file():
            return given
        inside = (weights.file, f"{weights.family}/{weights.file}", weights.path or weights.file)
        where = [given / name for name in inside] if given else [self.place(weights)]
        for path in where:
            if path.is_file():
                return path
        if given is not None:
            what = f"holds no {weights.file}" if given.is_dir() else "does not exist"
            raise BadWeights(f"{given} {what}: wanted the file {weights.file}, or a folder with it")
        raise BadWeights(
            f"the weights {weights.told} are not here: filmgate models pull {weights.name} fetches "
            f"them; or put the file at {where[0]}, or name where it lies with {weights.flag}"
        )

    def verified(
        self,
        weights: Weights,
        given: Path | None = None,
        *,
        again: bool = False,
        tell: Tell = nobody,
    ) -> Path:
        """The file, accepted and believed: what bears the published name is what was published.

        A file `given` under another name is its owner's affair: its keys and shapes will tell.
        Hashed once, and `again` when asked or when the file has changed. Raises BadWeights,
        BadSetting for terms that nobody has accepted.
        """
        self.agreed(weights)
        path = self.find(weights, given)
        if path.name == self.place(weights).name:
            try:
                self._published(weights, path, given, again, tell)
            except OSError as error:
                raise BadWeights(f"{path} can't be read: {error.strerror}; look at that disk, "
                                 "and at who may read it") from error  # fmt: skip
        return path

    def _published(
        self, weights: Weights, path: Path, given: Path | None, again: bool, tell: Tell
    ) -> None:
        size = path.stat().st_size
        if not weights.fits(size):
            raise BadWeights(f"{path} has {size:,} bytes, and {weights.told} has "
                             f"{weights.size_bytes:,}: {_cure(weights, given)}")  # fmt: skip
        found, wanted = self.sha256(path, again=again, tell=tell), self.wanted(weights)
        if wanted is None:
            self.record(weights, found)
        elif not found.startswith(wanted):
            raise BadWeights(f"{path} is damaged or not what was published: its sha256 is "
                             f"{found}, wanted {wanted}: {_cure(weights, given)}")  # fmt: skip

    def agreed(self, weights: Published) -> None:
        """Raises BadSetting where the terms are not accepted."""
        if not self.accepted(weights):
            raise BadSetting(f"{weights.told} come under terms that nobody has accepted here:\n"
                             f"{weights.terms}\nto accept them: filmgate models pull "
                             f"{weights.name} --accept")  # fmt: skip

    def accepted(self, weights: Published) -> bool:
        """Whether these very terms were accepted, or there are none."""
        if weights.terms is None:
            return True
        with suppress(OSError):
            return self._terms(weights).read_text(encoding="utf-8") == weights.terms
        return False

    def accept(self, weights: Published) -> None:
        """Remembers that the terms were accepted, by their text. Raises BadSetting."""
        if weights.terms is not None:
            self.put(self._terms(weights), weights.terms)

    def wanted(self, weights: Weights) -> str | None:
        """The sha256 that the file must have: the published one, or that of the first file."""
        if weights.sha256 is None:
            with suppress(OSError, IndexError):
                return self.recorded(weights).read_text(encoding="utf-8").split()[0]
        return weights.sha256

    def recorded(self, weights: Weights) -> Path:
        """Where the sha256 of the first file stands, as sha256sum writes it."""
        place = self.place(weights)
        return place.with_name(f"{place.name}.sha256")

    def record(self, weights: Weights, sha256: str) -> None:
        """From now on this one is wanted, where nothing was published."""
        if weights.sha256 is None:
            self.put(self.recorded(weights), f"{sha256}  {self.place(weights).name}\n")

    def sha256(self, path: Path, *, again: bool = False, tell: Tell = nobody) -> str:
        """The file's sha256; one that has not changed since is read only once."""
        before = stat_of(path)
        with suppress(OSError, ValueError, KeyError, TypeError):
            mark = json.loads(self._mark(path).read_text(encoding="utf-8"))
            if not again and mark["looks"] == before:
                return str(mark["sha256"])
        found = sha256_of(path, tell)
        if stat_of(path) == before:
            self.seen(path, found)
        return found

    def seen(self, path: Path, sha256: str) -> None:
        """Remembers what a file's sha256 is while it looks as it does now."""
        mark = {"path": str(path), "looks": stat_of(path), "sha256": sha256}
        with suppress(BadSetting):  # a folder that can't be written: it is read again next time
            self.put(self._mark(path), json.dumps(mark))

    def _mark(self, path: Path) -> Path:
        return self.path / ".seen" / f"{memo_key(path)}.json"

    def _terms(self, weights: Published) -> Path:
        return self.home(weights) / f"{weights.name}.terms-accepted"

    def put(self, path: Path, text: str) -> None:
        """Writes a note, whole or not at all. Raises BadSetting."""
        aside = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(aside, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except OSError as error:
            with suppress(OSError):
                aside.unlink()
            raise BadSetting(f"{path} can't be written: {error.strerror}; name another folder for "
                             "models with FILMGATE_MODELS") from error  # fmt: skip


def plain(weights: Published) -> dict[str, object]:
    """The definition as JSON holds it."""
    return asdict(weights)


def _cure(weights: Weights, given: Path | None) -> str:
    pull = f"filmgate models pull {weights.name}"
    return f"{pull} fetches it" if given else f"{pull} fetches it again"
