"""The definition of an input of audio. No media library is needed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.media.settings import check_settings

if TYPE_CHECKING:
    from filmgate.core.frame import StreamSpec
    from filmgate.core.job import Source
    from filmgate.core.stage import AnyStage


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A file with audio: wav, flac, mp3, aac, aiff, or any video that has some."""

    path: Path

    def __post_init__(self) -> None:
        check_settings(self)

    def open(self, threads: int | None = None) -> AbstractContextManager[Source]:
        """Open the file; its frames are seconds of sound. Raises BadInput."""
        from filmgate.media.audio.reader import AudioReader

        return AudioReader(Path(self.path)).check()

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Return no stages."""
        return ()
