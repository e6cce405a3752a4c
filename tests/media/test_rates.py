"""Rates and fractions: what people write, what is meant, and what FFmpeg takes."""

from contextlib import suppress
from fractions import Fraction as F
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import filmgate as fg
from filmgate.core.frame import Frame
from filmgate.errors import BadSetting, UserError
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.rates import LossWatch, check_fraction, check_rate, fit_fraction
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import ImageSequence, VideoFile
from filmgate.tasks.interpolate import Interpolate
from tests.cases import mark_slow_cases, mark_slow_combinations
from tests.videos import Video, make

MOST = (1 << 31) - 1


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("59.94005994", F(60000, 1001)),
        ("59.94005994005994005994", F(60000, 1001)),
        ("59.94", F(60000, 1001)),
        (59.94, F(60000, 1001)),
        ("23.976", F(24000, 1001)),
        ("23.98", F(24000, 1001)),
        ("29.97", F(30000, 1001)),
        ("119.88", F(120000, 1001)),
        ("60000/1001", F(60000, 1001)),
        (60, F(60)),
        ("12.5", F(25, 2)),
        ("29.98", F(1499, 50)),
        ("24.0", F(24)),
        ("33.3333333", F(333333333, 10000000)),
    ],
)
def test_decimal_form_of_a_standard_rate_means_that_rate(written: object, meant: F) -> None:
    assert check_rate("fps", written) == meant


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("1e400", r"fps is 1e\+400, wanted 1/86400 to 1000"),
        ("1e999999999", "too many digits"),
        ("1/100000000000000000000", "fps is 1e-20, wanted 1/86400"),
        (1_000_000, "fps is 1000000, wanted 1/86400 to 1000"),
        ("33.33333333333333333", "pass 100/3"),
        (F(10**12 + 1, 10**11), "pass 10,"),
        (0, "more than 0"),
        ("-25", "more than 0"),
        ("9" * 5000, "too many digits"),
        ("fast", "'fast': wanted a number"),
        ("1/0", "wanted a number"),
        (float("nan"), "wanted a number"),
        (float("inf"), "wanted a number"),
    ],
)
def test_what_is_no_rate_is_refused_when_constructed(written: object, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        Interpolate(fps=written)  # type: ignore[arg-type]
    with pytest.raises(BadSetting):
        FrameCounter(frames=1, fps=written)  # type: ignore[arg-type]
    if written != 1_000_000:
        with pytest.raises(BadSetting):
            ImageSequence("images", in_fps=written)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factor": 1_000_000}, "factor is 1000000, wanted 1/10000 to 120"),
        ({"factor": "1e-30"}, "factor is 1e-30, wanted 1/10000"),
        ({"factor": "0.33333333333333"}, "too many digits: pass 1/3"),
        ({"slow": "1e400"}, "wanted 1/1000 to 1000"),
        ({"slow": 500}, "pass --fps"),
        ({"slow": 0}, "more than 0"),
    ],
)
def test_absurd_factors_are_refused_when_constructed(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(BadSetting, match=message):
        Interpolate(**settings)  # type: ignore[arg-type]


def test_text_and_floats_are_taken_from_python() -> None:
    assert Interpolate(fps="60000/1001").fps == F(60000, 1001)  # type: ignore[arg-type]
    assert Interpolate(factor=2.5).factor == F(5, 2)  # type: ignore[arg-type]
    assert Interpolate(slow=500, fps=60).slow == 500
    assert ImageSequence("images", in_fps="23.976").in_fps == F(24000, 1001)  # type: ignore[arg-type]
    assert FrameCounter(frames=1, fps="59.94").fps == F(60000, 1001)  # type: ignore[arg-type]


def test_factor_of_1_warns() -> None:
    assert "no new ones" in Interpolate(factor=1).warnings[0]
    assert not Interpolate(factor=1, slow=2).warnings
    assert not Interpolate().warnings


@given(st.fractions(F(1, 10**14), 10**14), st.integers(1, 10**30))
def test_fitted_fraction_is_near_and_fits(value: F, digits: int) -> None:
    value += F(1, digits)
    fitted = fit_fraction(value)
    assert 0 < fitted.numerator <= MOST
    assert 0 < fitted.denominator <= MOST
    if F(1, 10**9) < value < 10**9:
        assert abs(fitted / value - 1) <= F(1, 10**9)


@given(st.integers(1, MOST), st.integers(1, MOST))
def test_fraction_that_fits_is_not_changed(numerator: int, denominator: int) -> None:
    assert fit_fraction(F(numerator, denominator)) == F(numerator, denominator)


def test_bounds_are_part_of_the_range() -> None:
    assert check_fraction("factor", 120, F(1, 10), F(120)) == 120
    with pytest.raises(BadSetting, match="wanted 1/10 to 120"):
        check_fraction("factor", F(1201, 10), F(1, 10), F(120))


def frame(n: int, time: F) -> Frame:
    return Frame(n, time, F(1, 30), None)


def test_a_frame_that_leaves_the_rate_is_reported_once() -> None:
    even, late = LossWatch("y4m", F(30), captions=False), LossWatch("y4m", F(30), captions=False)
    assert not even.check([frame(n, F(n, 30) + F(1, 30) * (n > 5)) for n in range(100)])
    assert not late.check([frame(n, F(n, 30)) for n in range(300)])
    frames = [frame(300 + n, 10 + F(n, 24)) for n in range(30)]
    (message,) = late.check(frames)
    assert "from about 10.375 s on" in message
    assert "no longer 30, and y4m cannot store times" in message
    assert not late.check(frames)
    assert not LossWatch("mp4", None, captions=False).check(frames)


@pytest.fixture(scope="module")
def late_change(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a video of 30 frames per second for 9 s, then of 24 for 1 s."""
    times = (*(F(n, 30) for n in range(270)), *(9 + F(n, 24) for n in range(24)))
    kind = Video(len(times), (16, 16), F(30), times, F(1, 24), codec="ffv1", options={},
                 suffix=".mkv")  # fmt: skip
    return make(kind, tmp_path_factory.mktemp("rates") / "in.mkv")


@pytest.mark.parametrize(
    ("out", "reported"),
    mark_slow_cases(
        [("out.y4m", True), ("out.mkv", False)],
        [("out.y4m", True), ("images/%06d.png", True), ("out.mkv", False)],
    ),
)
def test_a_rate_that_changes_late_is_reported_where_times_are_lost(
    out: str, reported: bool, late_change: Path, tmp_path: Path
) -> None:
    heard: list[fg.Event] = []
    path = tmp_path / out
    output = VideoOutput(path, codec="ffv1") if path.suffix == ".mkv" else path
    fg.run((), late_change, output, on_event=heard.append)
    texts = [event.message for event in heard if isinstance(event, fg.Warned)]
    assert ["their rate is no longer 30" in text for text in texts] == [True] * reported


def test_y4m_has_every_frame_of_a_rate_that_rises_late(tmp_path: Path) -> None:
    times = (*(F(n, 24) for n in range(270)), *(F(270, 24) + F(n, 60) for n in range(60)))
    kind = Video(len(times), (16, 16), F(24), times, F(1, 60), codec="ffv1", options={},
                 suffix=".mkv")  # fmt: skip
    done = fg.run((), make(kind, tmp_path / "in.mkv"), tmp_path / "out.y4m")
    assert done.written == 330
    assert len(list(VideoFile(tmp_path / "out.y4m").open().iter_times())) == 330


def test_a_factor_of_1_warns_in_a_run(tmp_path: Path) -> None:
    heard: list[fg.Event] = []
    source = make(Video(frames=3), tmp_path / "in.mp4")
    fg.run(Interpolate(factor=1), source, tmp_path / "out.mp4", on_event=heard.append)
    assert any(isinstance(e, fg.Warned) and "factor is 1" in e.message for e in heard)


@pytest.mark.parametrize(
    ("rate", "suffix"),
    mark_slow_combinations(
        [("2147483647:1", ".mp4"), ("2147483647:1", ".y4m"), ("1:2147483647", ".mkv"),
         ("1:2147483647", ".mp4"), ("1000000:1", ".mkv"), ("0:0", ".mp4")],
        ["2147483647:1", "1:2147483647", "1000000:1", "0:0"],
        [".mp4", ".mkv", ".y4m"],
    ),
)  # fmt: skip
def test_a_y4m_of_an_absurd_rate_gives_a_result_or_a_clear_error(
    rate: str, suffix: str, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.y4m", tmp_path / f"out{suffix}"
    pixels = bytes([128]) * (16 * 16 * 3 // 2)
    source.write_bytes(f"YUV4MPEG2 W16 H16 F{rate} Ip A1:1 C420\n".encode()
                       + (b"FRAME\n" + pixels) * 3)  # fmt: skip
    with suppress(UserError):  # any other error fails
        assert fg.run((), source, out).written == 3
    assert not list(tmp_path.glob("*.part*"))
