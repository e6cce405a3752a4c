"""The decoded outputs of whole runs are, bit for bit, those that were recorded."""

import pytest

from tests.net.jobs import JOBS, RECORD, hashed, machine_key, recorded


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_outputs_are_the_recorded_ones(name: str) -> None:
    wanted = recorded()
    if not wanted:
        pytest.skip(f"nothing is recorded for this machine ({machine_key()}): {RECORD} does it")
    assert hashed(name) == wanted.get(name), f"python -m tests.net.jobs show {name} tells more"
