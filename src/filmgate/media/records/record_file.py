"""The definition of an input of records. No library is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from filmgate.media.settings import check_settings


@dataclass(frozen=True, slots=True)
class RecordFile:
    """Records by frame: JSON Lines as a run writes them, or text of the MOT challenge."""

    path: Path

    def __post_init__(self) -> None:
        check_settings(self)
