"""The models folder: find weights in it, and check that they are what was published."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filmgate.errors import BadSetting, BadWeights
from filmgate.storage.atomic import write_atomic
from filmgate.storage.fingerprint import (
    ProgressCallback,
    cached_sha256,
    ignore_progress,
    remember_sha256,
)
from filmgate.weights.definitions import Published, Weights, WeightsRepository


@dataclass(frozen=True, slots=True)
class WeightsStore:
    """The models folder: files of weights, accepted terms, and hashes of files."""

    path: Path

    @classmethod
    def open_default(cls) -> WeightsStore:
        """Return the folder that FILMGATE_MODELS names. Default: ~/.cache/filmgate/models."""
        name = os.environ.get("FILMGATE_MODELS")
        default = Path.home() / ".cache" / "filmgate" / "models"
        return cls(Path(name).expanduser() if name else default)

    def get_path(self, weights: Weights) -> Path:
        """Return the path of the complete file in this folder."""
        return self.path / weights.family / weights.file

    def get_folder(self, published: Published) -> Path:
        """Return the folder of its family, or its own one in that."""
        own = published.folder if isinstance(published, WeightsRepository) else ""
        return self.path / published.family / own

    def find(self, weights: Weights, place: Path | None = None) -> Path:
        """Return the file: in this folder, in the folder `place`, or `place` itself.

        Raises BadWeights if it is missing.
        """
        if place is not None and place.is_file():
            return place
        names = (weights.file, f"{weights.family}/{weights.file}", weights.path or weights.file)
        paths = [place / name for name in names] if place else [self.get_path(weights)]
        for path in paths:
            if path.is_file():
                return path
        if place is not None:
            problem = f"holds no {weights.file}" if place.is_dir() else "does not exist"
            raise BadWeights(
                f"{place} {problem}: pass the file {weights.file}, or a folder with it"
            )
        raise BadWeights(
            f"the weights {weights.description} are not here: run filmgate models pull "
            f"{weights.name}, put the file at {paths[0]}, or pass {weights.flag}"
        )

    def verify(
        self,
        weights: Weights,
        place: Path | None = None,
        *,
        again: bool = False,
        on_progress: ProgressCallback = ignore_progress,
    ) -> Path:
        """Return the file, its terms accepted and its bytes those that were published.

        Bytes are compared only for a file of the published name: one at `place` with another name
        is the user's own. It is hashed once, and `again` if asked or if it has changed. Raises
        BadWeights, and BadSetting for terms that are not accepted.
        """
        self.check_terms(weights)
        path = self.find(weights, place)
        if path.name == self.get_path(weights).name:
            try:
                self._compare(weights, path, place, again, on_progress)
            except OSError as error:
                raise BadWeights(f"{path} cannot be read: {error.strerror}; check the disk and the "
                                 "file's permissions") from error  # fmt: skip
        return path

    def _compare(
        self,
        weights: Weights,
        path: Path,
        place: Path | None,
        again: bool,
        on_progress: ProgressCallback,
    ) -> None:
        cure = f"filmgate models pull {weights.name} downloads it{'' if place else ' again'}"
        size = path.stat().st_size
        if not weights.has_size(size):
            raise BadWeights(f"{path} has {size:,} bytes, and {weights.description} has "
                             f"{weights.size_bytes:,}: {cure}")  # fmt: skip
        sha256 = self.sha256(path, again=again, on_progress=on_progress)
        expected = self.get_expected_sha256(weights)
        if expected is None:
            self.record_sha256(weights, sha256)
        elif not sha256.startswith(expected):
            raise BadWeights(f"{path} is damaged or not what was published: its sha256 is "
                             f"{sha256}, expected {expected}: {cure}")  # fmt: skip

    def check_terms(self, published: Published) -> None:
        """Raise BadSetting if the terms are not accepted."""
        if not self.has_accepted(published):
            raise BadSetting(f"the terms of {published.description} are not accepted:\n"
                             f"{published.terms}\nTo accept them: filmgate models pull "
                             f"{published.name} --accept")  # fmt: skip

    def has_accepted(self, published: Published) -> bool:
        """Return whether exactly these terms were accepted, or there are none."""
        if published.terms is None:
            return True
        with suppress(OSError):
            return self._get_terms_path(published).read_text(encoding="utf-8") == published.terms
        return False

    def accept(self, published: Published) -> None:
        """Store the text of the terms as accepted. Raises BadSetting."""
        if published.terms is not None:
            self.write_note(self._get_terms_path(published), published.terms)

    def get_expected_sha256(self, weights: Weights) -> str | None:
        """Return the published sha256, else that of the first download, else None."""
        if weights.sha256 is None:
            with suppress(OSError, IndexError):
                return self.get_record_path(weights).read_text(encoding="utf-8").split()[0]
        return weights.sha256

    def get_record_path(self, weights: Weights) -> Path:
        """Return where the sha256 of the first download is stored, as sha256sum writes it."""
        path = self.get_path(weights)
        return path.with_name(f"{path.name}.sha256")

    def record_sha256(self, weights: Weights, sha256: str) -> None:
        """Expect this sha256 from now on, if none was published."""
        if weights.sha256 is None:
            line = f"{sha256}  {self.get_path(weights).name}\n"
            self.write_note(self.get_record_path(weights), line)

    def sha256(
        self,
        path: Path,
        *,
        again: bool = False,
        on_progress: ProgressCallback = ignore_progress,
    ) -> str:
        """Return the file's sha256; a file that has not changed is read only once."""
        return cached_sha256(path, self._memos, again=again, on_progress=on_progress)

    def remember_sha256(self, path: Path, sha256: str) -> None:
        """Store the sha256 of a file as it is now."""
        remember_sha256(path, sha256, self._memos)

    def write_note(self, path: Path, text: str) -> None:
        """Write a small text file, so that it is complete or absent. Raises BadSetting."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text.encode())
        except OSError as error:
            raise BadSetting(f"{path} cannot be written: {error.strerror}; set FILMGATE_MODELS to "
                             "another folder") from error  # fmt: skip

    @property
    def _memos(self) -> Path:
        return self.path / ".hashes"

    def _get_terms_path(self, published: Published) -> Path:
        return self.get_folder(published) / f"{published.name}.terms-accepted"


def to_dict(published: Published) -> dict[str, object]:
    """Return the definition as plain values."""
    return asdict(published)
