"""Flags that may be given without their value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import get_args

from filmgate.media.options import Deinterlace

# By flag its values; the first one is meant where the flag is alone.
_VALUES: Mapping[str, tuple[str, ...]] = MappingProxyType({"--deinterlace": get_args(Deinterlace)})
# By flag what a value ends in, and the value that is meant where none follows.
_SUFFIXES: Mapping[str, tuple[str, str]] = MappingProxyType({"--profile": (".json", "-")})


def fill_bare_flags(words: Sequence[str]) -> list[str]:
    """Return the words of a command line, with a value for each flag that has none."""
    filled = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        values = _VALUES.get(word)
        if word in _SUFFIXES:
            suffix, default = _SUFFIXES[word]
            word = word if following.lower().endswith(suffix) else f"{word}={default}"
        filled.append(f"{word}={values[0]}" if values and following not in values else word)
    return filled
