"""Where a film comes from and where its result goes: definitions, free of any library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from filmgate.errors import BadSetting

if TYPE_CHECKING:
    from filmgate.core.frame import Spec
    from filmgate.media.read import Film
    from filmgate.media.write import Recording

Codec = Literal["h264", "hevc", "ffv1"]
Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast",
    "medium", "slow", "slower", "veryslow", "placebo",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class File:
    """A film on disk."""

    path: Path

    video: int | None = None
    """The number of the video stream to process, as probe shows it. Without: the best one, which is
    never cover art."""

    def open(self, threads: int | None = None) -> Film:
        """The film, its first frame looked at. `threads` decode it. Raises BadFilm, Unsupported."""
        from filmgate.media.read import Film

        return Film.of(Path(self.path), self.video, threads)


@dataclass(frozen=True, slots=True)
class Output:
    """A result on disk: .mp4, .m4v, .mov or .mkv, encoded anew."""

    path: Path

    codec: Codec = "h264"
    """How the picture is encoded; ffv1 loses nothing."""

    crf: int = 18
    """Quality of h264 and hevc, 0 (best) to 51."""

    preset: Preset = "medium"
    """Time against size of h264 and hevc."""

    overwrite: bool = False
    """Replace the output if it exists."""

    def __post_init__(self) -> None:
        for name, known in (("codec", get_args(Codec)), ("preset", get_args(Preset))):
            if getattr(self, name) not in known:
                raise BadSetting(
                    f"{name} is {getattr(self, name)!r}: wanted one of {', '.join(known)}"
                )
        if not 0 <= self.crf <= 51:
            raise BadSetting(f"crf is {self.crf}: wanted 0 (best) to 51")

    def open(
        self,
        film: Film,
        spec: Spec,
        *,
        tracks: bool = True,
        tags: Mapping[str, str] | None = None,
        threads: int = 2,
    ) -> Recording:
        """The result being written, beside the other `tracks` of `film`. Raises UserError."""
        from filmgate.media.write import Recording

        return Recording(self, spec, film, tracks=tracks, tags=tags, threads=threads)
