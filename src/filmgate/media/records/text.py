"""Records as text: JSON Lines, and lines of the MOT challenge."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from filmgate.core.frame import Frame
from filmgate.media.records.record_format import (
    ConcatenatedFormat,
    explain_record,
    iter_records,
    iter_tracked,
)


class JsonLines(ConcatenatedFormat):
    """One JSON object a line: `{"frame": index, "time": seconds, "duration": seconds, ...}`."""

    def encode(self, frames: Sequence[Frame]) -> Iterator[bytes]:
        """See `ConcatenatedFormat`."""
        return format_records(frames)


class MotText(ConcatenatedFormat):
    """Lines of the MOT challenge: frame from 1, id, left, top, width, height, score, -1, -1, -1.

    Left and top are 0 at the edge of the image. Only records with a number and a box have a line.
    """

    def encode(self, frames: Sequence[Frame]) -> Iterator[bytes]:
        """See `ConcatenatedFormat`."""
        for frame in frames:
            for record in iter_tracked(frame):
                box = ",".join(f"{value:.3f}" for value in record["box"])
                line = f"{frame.index + 1},{record['id']},{box},{record['score']:.4f},-1,-1,-1\n"
                yield line.encode()


def format_records(frames: Iterable[Frame]) -> Iterator[bytes]:
    """Yield each record of the frames as a line of JSON; fractions become numbers."""
    for frame in frames:
        for record in iter_records(frame):
            try:
                line = json.dumps(record, default=float, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise explain_record(frame.index, record, error) from error
            yield line.encode() + b"\n"
