"""Folders of weights as transformers writes them, for networks that find people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.errors import BadSetting, BadWeights
from filmgate.installation import advise_install

if TYPE_CHECKING:
    from filmgate.weights.definitions import WeightsRepository

FILES = ("config.json", "preprocessor_config.json", "model.safetensors")


def require_transformers(what: str) -> None:
    """Raise BadSetting, with the command that installs it, if transformers or torchvision is not
    installed; `what` names the model."""
    from importlib.util import find_spec

    missing = [name for name in ("transformers", "torchvision") if find_spec(name) is None]
    if missing:
        raise BadSetting(f"{what} needs {' and '.join(missing)}, not installed here: "
                         f"run {advise_install('detection')}")  # fmt: skip


def list_files(
    folder: Path, repository: WeightsRepository, family: str, flag: str
) -> Iterator[Path]:
    """Yield the files of a folder. Raises BadWeights, which names `flag`, if one is missing."""
    for name in FILES:
        path = folder / name
        if not path.is_file():
            cure = f"run filmgate models pull {repository.name}, or pass {flag} FOLDER"
            raise BadWeights(f"{path} does not exist, wanted weights of {family}: {cure}")
        yield path
