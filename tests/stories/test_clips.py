"""Real clips: all frames and streams are in the result, and check finds nothing."""

from pathlib import Path

import pytest

import filmgate as fg
from filmgate.media.probe import probe
from filmgate.quality.verify import check

CLIPS = Path(__file__).parents[3] / "shared" / "clips"
SHOWN = {  # frames shown by the stream that is processed
    "intel_car": 377,
    "intel_person": 1394,
    "io_cockatoo": 280,
    "ls_demo1": 250,
    "nasa_13013": 390,
    "phalp_vid": 180,
    "pl_driving": 1531,  # 110 more are hidden by its edit list
    "sam2_bedroom": 200,
    "sk_bikes": 250,
}
FACTORS = {"sk_bikes": 2, "nasa_13013": 2}  # the others are only re-encoded

pytestmark = [
    pytest.mark.clips,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not CLIPS.is_dir(), reason=f"the real clips are not here ({CLIPS})"),
]


@pytest.mark.parametrize("name", SHOWN)
def test_no_frame_or_stream_is_lost_and_times_match(name: str, tmp_path: Path) -> None:
    clip, out = CLIPS / f"{name}.mp4", tmp_path / "out.mp4"
    factor = FACTORS.get(name, 1)
    tasks = (fg.Interpolate(factor=2),) if factor == 2 else ()
    done = fg.run(tasks, clip, fg.VideoOutput(out, preset="ultrafast"))
    report = check(out, clip)
    assert report.ok, report
    assert (done.read, done.written) == (SHOWN[name], factor * SHOWN[name])
    kinds = [track.kind for track in probe(clip).streams]
    assert [track.kind for track in probe(out).streams] == kinds
    if name == "nasa_13013":
        assert sorted(kinds) == ["audio", "audio", "subtitle", "subtitle", "video", "video"]
