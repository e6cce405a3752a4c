"""Decoded outputs of complete runs equal the recorded ones, bit for bit."""

import pytest

from tests.net.jobs import JOBS, RECORD, hash_job, make_machine_key, read_recorded


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_outputs_are_the_recorded_ones(name: str) -> None:
    wanted = read_recorded()
    if not wanted:
        pytest.skip(f"nothing is recorded for this machine ({make_machine_key()}): run {RECORD}")
    assert hash_job(name) == wanted.get(name), (
        f"python -m tests.net.jobs show {name} shows what changed"
    )
