"""The seam check finds planted seams with their period, and none in videos without seams."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import ImageDraw

from filmgate.cli.main import main
from filmgate.core.frame import Frame, StreamSpec
from filmgate.errors import BadSetting, Exit
from filmgate.media.pixels.planes import Planes
from filmgate.quality.seams.periodicity import measure_breathing
from filmgate.quality.seams.report import check_seams, draw_seams
from filmgate.quality.seams.score import (
    KINDS,
    SeamReport,
    Signals,
    judge_signals,
    measure_signals,
)
from tests.cases import mark_slow_cases
from tests.flow.scenes import texture
from tests.videos import VIDEOS, make

FRAMES, ROWS, COLUMNS = 72, 64, 96
SPEC = StreamSpec(
    width=COLUMNS, height=ROWS, rate=Fraction(25), time_base=Fraction(1, 25), pixels="gray"
)
BASE = texture(3, 120, 260).astype(np.float32)
OTHER = texture(4, 120, 260).astype(np.float32)


def frame(i: int, array: npt.NDArray[np.float32]) -> Frame:
    image = np.clip(array + 0.5, 0, 255).astype(np.uint8)
    return Frame(i, Fraction(i, 25), Fraction(1, 25), Planes((image,), "gray"))


def judge(image_at: Callable[[int], npt.NDArray[np.float32]], *periods: int) -> SeamReport:
    chunks = ([frame(i, image_at(i))] for i in range(FRAMES))
    return judge_signals(Path("video.mp4"), measure_signals(SPEC, chunks), periods)


def still(i: int) -> npt.NDArray[np.float32]:
    return BASE[:ROWS, :COLUMNS]


def pan(i: int) -> npt.NDArray[np.float32]:
    return BASE[:ROWS, i : i + COLUMNS]


def grain(i: int, strength: float = 3.0) -> npt.NDArray[np.float32]:
    noise = np.random.default_rng(i).normal(0, strength, (ROWS, COLUMNS))
    return np.asarray(BASE[:ROWS, :COLUMNS] * 0.7 + 40 + noise, np.float32)


def fade(i: int) -> npt.NDArray[np.float32]:
    return pan(i) * np.float32(min(1.0, max(0.0, (i - 30) / 10)))


def short_fades(i: int) -> npt.NDArray[np.float32]:
    return grain(i, 1.0) * np.float32(1 - 0.5 * max(0, 4 - abs(i % 24 - 12)) / 4)


def flashes(i: int) -> npt.NDArray[np.float32]:
    return np.asarray(grain(i) + 60 * (i in (20, 47)), np.float32)


def shots(i: int) -> npt.NDArray[np.float32]:
    source = (BASE, OTHER)[i // 18 % 2]
    return source[:ROWS, i : i + COLUMNS]


def animated(i: int) -> npt.NDArray[np.float32]:
    return pan(3 * (i // 3))


def bouncing(i: int) -> npt.NDArray[np.float32]:
    left = 40 + round(20 * np.sin(i / 4))
    return BASE[:ROWS, left : left + COLUMNS]


@pytest.mark.parametrize(
    "video",
    mark_slow_cases(
        [still, grain, fade, flashes, shots, animated, bouncing],
        [still, pan, grain, fade, short_fades, flashes, shots, animated, bouncing],
    ),
)
def test_a_video_without_seams_passes(
    video: Callable[[int], npt.NDArray[np.float32]],
) -> None:
    found = judge(video, 8)
    assert found.ok, found


def brighter(i: int) -> npt.NDArray[np.float32]:
    """Each batch of 8 frames is a little brighter or darker than the one before it."""
    return np.asarray(grain(i) + 1.5 * (-1) ** (i // 8), np.float32)


def cold(i: int) -> npt.NDArray[np.float32]:
    """Each batch of 8 starts with grain, and loses it as its state settles."""
    return grain(i, 4.0 / (1 + i % 8) ** 0.5)


def redrawn(i: int) -> npt.NDArray[np.float32]:
    """Each batch of 8 has fine detail of its own, in a moving video."""
    detail = np.random.default_rng(i // 8).normal(0, 6, BASE.shape)
    return np.asarray((BASE * 0.7 + 40 + detail)[:ROWS, i : i + COLUMNS], np.float32)


def shaken_still(i: int) -> npt.NDArray[np.float32]:
    return np.asarray(still(i) * 0.9 + 2 * (-1) ** (i // 8), np.float32)


@pytest.mark.parametrize("video", [brighter, cold, redrawn, shaken_still])
def test_a_seam_every_eight_frames_is_found_with_its_period(
    video: Callable[[int], npt.NDArray[np.float32]],
) -> None:
    found = judge(video)
    assert not found.ok
    assert found.found is not None
    assert (found.found.frames, found.found.first) == (8, 0)


def test_a_given_period_is_measured_at_any_offset() -> None:
    found = judge(lambda i: brighter(i + 5), 8, 7)
    right, wrong = found.given
    assert (right.frames, right.first, right.ok) == (8, 3, False)
    assert wrong.ok


def test_a_single_seam_is_reported_with_its_frame() -> None:
    found = judge(lambda i: np.asarray(grain(i, 1.0) + 8 * (i >= 33), np.float32))
    assert not found.ok
    assert (found.worst[0].frame, found.worst[0].kind) == (33, "luma")


def test_blended_batches_breathe() -> None:
    """Blended batches do not jump, but the image gets softer at each blend."""
    rng = np.random.default_rng(1)
    soft = np.array([-0.1 if i % 16 < 4 else 0.0 for i in range(160)])
    noise = rng.normal(0, 0.01, 160)
    assert measure_breathing(soft + noise, 16)[2]
    assert not measure_breathing(soft + noise, 15)[2]
    assert not measure_breathing(noise, 16)[2]
    assert not measure_breathing(np.cumsum(noise), 16)[2]
    assert not measure_breathing(np.zeros(160), 16)[2]


def test_no_frame_is_kept() -> None:
    alive = []

    def chunks() -> object:
        import weakref

        for i in range(40):
            one = frame(i, grain(i))
            assert isinstance(one.image, Planes)
            alive.append(weakref.ref(one.image.arrays[0]))
            yield [one]
            del one
            assert sum(ref() is not None for ref in alive) <= 6

    measure_signals(SPEC, chunks())  # type: ignore[arg-type]


def test_a_period_too_long_for_the_video_is_refused() -> None:
    with pytest.raises(BadSetting, match="72 frames, so pass 2 to 36"):
        judge(grain, 40)


def test_a_video_of_one_frame_has_no_seam(tmp_path: Path) -> None:
    video = make(VIDEOS["one_frame"], tmp_path / "video.mp4")
    assert check_seams(video, tmp_path / "page.html").ok


def write_video(path: Path, image_at: Callable[[int], npt.NDArray[np.float32]]) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = COLUMNS, ROWS, "gray"
        for i in range(FRAMES):
            grey = np.clip(image_at(i) + 0.5, 0, 255).astype(np.uint8)
            image = av.VideoFrame.from_ndarray(grey, "gray")
            image.pts, image.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(image))
        out.mux(stream.encode(None))
    return path


def test_the_command_fails_on_seams_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "video.mkv", brighter)
    assert main(["check", str(video), "--seams", "--period", "8"]) == Exit.VERDICT_NO
    assert "jumps every 8 frames" in capsys.readouterr().out
    page = (tmp_path / "video.mkv.seams.html").read_text()
    assert "jumps every 8 frames" in page
    assert page.count("data:image/png;base64,") >= 2
    assert 'src="http' not in page
    drawn = cv2.imread(str(tmp_path / "video.mkv.seams.png"))
    assert drawn is not None
    assert drawn.shape[1] == 960
    words = ["check", str(video), "--seams", "--json", "--report", str(tmp_path / "a.html")]
    assert main(words) == Exit.VERDICT_NO
    output = json.loads(capsys.readouterr().out)
    assert (output["ok"], output["seams"]["found"]["frames"]) == (False, 8)


def test_seams_and_the_source_are_checked_in_one_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "video.mkv", grain)
    words = ["check", str(video), "--against", str(video), "--seams"]
    assert main(words) == Exit.DONE
    output = capsys.readouterr().out
    assert "passes all checks" in output
    assert "no seams in 72 frames (highest score " in output
    assert "threshold 12)" in output
    assert "jumps" not in output
    assert not any(f" in {kind}" in output for kind in KINDS)


def test_a_plot_names_its_axes_its_curves_and_the_threshold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = list[str]()
    draw_text = ImageDraw.ImageDraw.text

    def record(self: ImageDraw.ImageDraw, place: Any, text: str, *rest: Any, **words: Any) -> None:
        written.append(text)
        draw_text(self, place, text, *rest, **words)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record)
    line, none = np.arange(60, dtype=float), np.zeros(60, bool)
    signals = Signals(line, line, line, line, none, none)
    result = judge_signals(Path("video.mkv"), signals, [8])
    image = np.asarray(draw_seams(result, signals)).astype(int)
    for text in ("score of the frame", "seam: a single frame, 12", "every 8 frames",
                 "time, seconds", "score", "lag, frames", "levels"):  # fmt: skip
        assert text in written, text
    red = (image[:200, :, 0] - image[:200, :, 1] > 80).sum(1)
    assert red.max() > 400  # the threshold, a dashed line over the panel, whatever the scores


def test_useless_or_wrong_flags_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "video.mkv"]) == Exit.USER
    assert "--against VIDEO, --seams or --combs" in capsys.readouterr().err
    assert main(["check", "video.mkv", "--against", "a.mkv", "--period", "8"]) == Exit.USER
    video = write_video(tmp_path / "video.mkv", grain)
    assert main(["check", str(video), "--seams", "--report", str(tmp_path / "a.txt")]) == Exit.USER
    assert "ends in .html" in capsys.readouterr().err
