"""Raw video is read back as it was written, or refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import filmgate as fg
from filmgate.backends import inline
from filmgate.errors import BadSetting
from filmgate.media.pixels.planes import Planes
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from tests.cases import mark_slow_combinations
from tests.media.conftest import FindVideo
from tests.media.writing.test_video_writer import frames


@pytest.mark.parametrize(
    ("pix_fmt", "in_segments"),
    mark_slow_combinations(
        [("yuv420p", True), ("yuv422p10le", False), ("gbrp", False), ("yuva420p", True)],
        ["yuv420p", "yuv422p10le", "gbrp", "gray16le", "yuva420p"],
        [False, True],
    ),
)
def test_raw_video_in_a_nut_is_read_back(
    find_video: FindVideo, tmp_path: Path, pix_fmt: str, in_segments: bool
) -> None:
    """The pixel format was missing in the file: readers refused it or decoded noise."""
    output = VideoOutput(tmp_path / "out.nut", "rawvideo", pix_fmt=pix_fmt)
    job = fg.Job(VideoFile(find_video("even")), output)
    if in_segments:
        list(fg.events(job, fg.Plan(segment_frames=8)))
    else:
        list(inline.run(job))
    job = replace(job, sink=VideoOutput(tmp_path / "out.mkv", "ffv1", pix_fmt=pix_fmt))
    list(inline.run(job))
    paths = (output.path, tmp_path / "out.mkv")
    raw, lossless = (frames(VideoFile(path).open()) for path in paths)
    assert len(raw) == len(lossless) > 0
    for ours, theirs in zip(raw, lossless, strict=True):
        assert isinstance(ours.image, Planes)
        assert isinstance(theirs.image, Planes)
        assert ours.image.pixels == theirs.image.pixels == pix_fmt
        for a, b in zip(ours.image.arrays, theirs.image.arrays, strict=True):
            np.testing.assert_array_equal(a, b)


def test_raw_video_in_other_containers_is_refused() -> None:
    for name in ("out.mov", "out.mp4", "out.mkv"):
        with pytest.raises(BadSetting, match=r"wanted \.nut or \.y4m: .*--codec ffv1"):
            VideoOutput(Path(name), "rawvideo")
