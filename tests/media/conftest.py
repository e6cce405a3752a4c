"""Small sample videos, each made once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.media.awkward import MORE
from tests.videos import BROKEN, VIDEOS, make

FindVideo = Callable[[str], Path]


@pytest.fixture(scope="session")
def find_video(tmp_path_factory: pytest.TempPathFactory) -> FindVideo:
    """Return a function from a sample's name to its path."""
    folder = tmp_path_factory.mktemp("videos")

    def find(name: str) -> Path:
        if name in BROKEN:
            path = folder / name
            return path if path.exists() else BROKEN[name](path)
        kind = VIDEOS.get(name) or MORE[name]
        path = folder / f"{name}{kind.suffix}"
        return path if path.exists() else make(kind, path)

    return find
