"""Another video that goes along as it is."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from tests.media.streams.copying import copy
from tests.videos import GOP, Video, make


def list_times(path: Path, height: int) -> list[Fraction]:
    """Return when packets of the video of that height are shown."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams.video if s.height == height)
        times = [(p.pts, p.time_base) for p in container.demux(stream) if p.size]
    return [(pts or 0) * tick for pts, tick in times]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_reordered_frames_of_a_matroska_keep_their_times(suffix: str, tmp_path: Path) -> None:
    """FFmpeg finds no decoding times for the first ones; those were shown much later."""
    video = Video(frames=20, options=GOP, suffix=".mkv", second=True, tick=Fraction(1, 1000))
    path = make(video, tmp_path / "a.mkv")
    wanted = list_times(path, 48)
    assert wanted != sorted(wanted)
    source = VideoFile(path, stream=0)
    sink = copy(source, VideoOutput(tmp_path / f"out{suffix}"))
    found = list_times(tmp_path / f"out{suffix}", 48)
    assert [round(1000 * time) for time in found] == [round(1000 * time) for time in wanted]
    assert sink.dropped == []
