"""One app for the tests that do not need their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.service.api.helpers import open_app


@pytest.fixture(scope="package")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of a service whose jobs finish at once."""
    with open_app(tmp_path_factory.mktemp("service")) as client:
        yield client
