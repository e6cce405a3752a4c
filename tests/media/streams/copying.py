"""Copy a video with its other streams, without the machinery of a run."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile


def copy(
    source: VideoFile, sink: VideoOutput, time_scale: Fraction = Fraction(1), **options: Any
) -> Any:
    """Copy all frames, `time_scale` times as long; return the closed writer.

    Frames are tiny: several threads wait for each other longer than they compute.
    """
    reader = source.open(threads=1)
    if sink.suffix not in (".webm", ".y4m"):
        sink = replace(sink, preset="ultrafast")
    settings = {"time_scale": time_scale, "threads": 1, **options}
    with sink.open(reader.metadata, reader.spec, **settings) as writer:
        for frames, _ in reader.read(None, 8):
            writer.write([
                replace(frame, time=frame.time * time_scale, duration=frame.duration * time_scale)
                for frame in frames
            ])  # fmt: skip
        writer.complete()
        writer.publish()
    return writer
