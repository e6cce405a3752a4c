"""The tiny films, each made once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.films import BROKEN, FILMS, make

Reel = Callable[[str], Path]


@pytest.fixture(scope="session")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Reel:
    """Gives the path of the film with that name."""
    folder = tmp_path_factory.mktemp("films")

    def find(name: str) -> Path:
        path = folder / (name if name in BROKEN else name + FILMS[name].suffix)
        if path.exists():
            return path
        return BROKEN[name](path) if name in BROKEN else make(FILMS[name], path)

    return find
