"""Bytes as text and back."""

import pytest

from filmgate.errors import BadSetting
from filmgate.units import parse_bytes

MB = 10**6


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 1 << 20),
        ("800MB", 800 * MB),
        ("1.5 GiB", 3 << 29),
        ("12g", 12 * 10**9),
        ("2kib", 2048),
    ],
)
def test_sizes_are_parsed(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "8 bytes", "1e9", "12QB"])
def test_an_invalid_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadSetting, match="pass 800MB"):
        parse_bytes(text)
