"""What a task fixes of the shapes of its networks."""

from __future__ import annotations

from dataclasses import dataclass

from filmgate.errors import BadSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedShapes:
    """What fixes the shapes of a family's networks, besides its options.

    `frame`: width and height of the frames in pixels, None if not known. `scale`: of an upscaler.
    `size`: pixels of a side of an animated portrait, `keyframes`: how many it remembers at most.
    """

    frame: tuple[int, int] | None = None
    scale: int = 2
    size: int = 512
    keyframes: int = 0

    @property
    def known_frame(self) -> tuple[int, int]:
        """Width and height of the frames. Raises BadSetting if they are not known."""
        if self.frame is None:
            raise BadSetting("the size of the frames is not known, and the network is compiled for "
                             "one size: pass it, such as --frame-size 1920x1080")  # fmt: skip
        return self.frame
