"""The tiny films, each made once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.media.awkward import MORE
from tests.videos import BROKEN, VIDEOS, make

Reel = Callable[[str], Path]


@pytest.fixture(scope="session")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Reel:
    """Gives the path of the film with that name."""
    folder = tmp_path_factory.mktemp("films")

    def find(name: str) -> Path:
        path = folder / (name if name in BROKEN else name + VIDEOS[name].suffix)
        if path.exists():
            return path
        return BROKEN[name](path) if name in BROKEN else make(VIDEOS[name], path)

    return find


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory, reel: Reel) -> Reel:
    """Gives the path of the film with that name, the awkward ones too."""
    folder = tmp_path_factory.mktemp("awkward")

    def find(name: str) -> Path:
        if name not in MORE:
            return reel(name)
        path = folder / (name + MORE[name].suffix)
        return path if path.exists() else make(MORE[name], path)

    return find
