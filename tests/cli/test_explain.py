"""Words that a command does not take are answered with what to pass instead."""

from pathlib import Path

import pytest

from filmgate.cli.main import main
from filmgate.errors import Exit
from filmgate.media.codecs import CODECS, suggest_codec
from tests.cli.test_main import FakeEvents, runs

__all__ = ["runs"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("convert in.mp4 out.mp4 -y", "there is no -y: pass --overwrite"),
        ("convert -i in.mp4 out.mp4", "there is no -i: pass the input first and the result last"),
        ("convert in.mp4 -c:v libx264 out.mp4", "there is no -c:v: pass --codec"),
        ("convert in.mp4 -crf 20 out.mp4", "there is no -crf: pass --crf"),
        ("convert in.mp4 -ss 5 out.mp4", "there is no -ss: pass --start"),
        ("convert in.mp4 -an out.mp4", "there is no -an: pass --drop audio"),
        ("convert in.mp4 -vf scale=2 out.mp4", "filters of ffmpeg cannot be used"),
        (
            "convert in.mp4 -r 30 out.mp4",
            "it is a flag of generate and interpolate, called --fps there",
        ),
        (
            "convert in.mp4 out.mp4 --fps 30",
            "convert has no --fps: it is a flag of generate and interpolate",
        ),
        ("interpolate in.mp4 -r 30 out.mp4", "there is no -r: pass --fps"),
        (
            "interpolate in.mp4 out.mp4 --scale 2",
            "has no --scale: it is a flag of generate and upscale",
        ),
        ("upscale in.mp4 out.mp4 --against a", "upscale has no --against: it is a flag of check"),
        ("plan upscale in.mp4 --factor 2", "plan upscale has no --factor"),
        ("upscale in.mp4 out.mp4 --no-refine", "refine is an option of rife"),
        ("track in.mp4 out.jsonl --tracker-n-init 3", "omit it, or pass --tracker phalp"),
        ("track in.mp4 out.jsonl --pose-body x", "there is no pose: omit it, or pass --pose hmr2"),
        ("upscale in.mp4 out.mp4 --scael 2", "there is no --scael: did you mean --scale?"),
        ("upscale in.mp4 out.mp4 --no-overwrite", "omit --overwrite to turn it off"),
        ("upscale in.mp4 out.mp4 --" + "x" * 5000, "xxx...xxx"),
        ("upscale in.mp4 out.mp4 --output o.mp4", "the last path names the result"),
        ("convert in.mp4 -o out.mp4", "out.mp4 is the name of a video: pass it as the last path"),
        ("convert in.mp4 out.mp4 --codec h265", "--codec is 'h265': it is called hevc here"),
        ("convert in.mp4 out.mp4 --codec libx264", "it is called h264 here, pass h264"),
        ("convert in.mp4 out.mp4 --codec copy", "frames are always encoded again"),
        ("convert in.mp4 out.mp4 --codec hvec", "did you mean hevc? It can be h264, hevc"),
        ("convert in.mp4 out.mp4 --crf 20.5", "'20.5' is not an integer"),
        ("convert in.mp4 out.mp4 --seed 1e3", "'1e3' is not an integer"),
        ("convert in.mp4 out.mp4 --crf", "--crf needs a value: pass one after it"),
        ("convert in.mp4 out.mp4 --crf 1 --crf 2", "--crf is given twice: omit one"),
        ("convert in.mp4 out.mp4 --threads " + "9" * 5000, "has too many digits"),
        ("interpolate in.mp4 out.mp4 --factor 1e1000000000", "has too many digits"),
        ("interpolate in.mp4 out.mp4 --start 1/" + "9" * 9999, "has too many digits"),
        ("models pull", "models pull needs NAME: pass it"),
        ("models download rife", "models has no 'download': it has pull, verify, try and build"),
        ("download rife", 'unknown command "download": did you mean "models pull"?'),
        ("verify out.mp4", 'unknown command "verify": did you mean "check"?'),
        ("probe in.mp4 a", "probe does not take 'a' as well: omit it"),
        ("completion ksh", "SHELL is 'ksh': did you mean zsh? It can be bash, zsh, fish"),
        ("in.mp4 out.mp4", "the command comes first, as in filmgate convert in.mp4 out.mp4"),
        ("-i in.mp4 out.mp4", "the command comes first"),
    ],
)
def test_word_that_is_not_taken_is_answered_with_what_to_pass(
    words: str, message: str, runs: FakeEvents, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == Exit.USER
    out, error = capsys.readouterr()
    assert message.replace("xxx...xxx", "x" * 40 + "...") in error
    assert len(error) < 600
    assert not out
    assert not runs.jobs


def test_other_names_of_codecs_lead_to_ours() -> None:
    for name in ("x264", "AVC", "h.265", "libx265", "svtav1", "libvpx-vp9", "prores_ks", "nvenc"):
        assert suggest_codec(name).rpartition(" ")[2] in CODECS, name
    assert "pass h264" in suggest_codec("H264")
    assert suggest_codec("mpeg2video") == ""


def test_flags_may_stand_between_the_paths(runs: FakeEvents) -> None:
    """As with ffmpeg: a flag between input and output made the output an "unused token"."""
    assert main(["convert", "in.mp4", "--crf", "20", "out.mp4", "--quiet"]) == Exit.DONE
    assert main(["interpolate", "--factor", "3", "in.mp4", "--quiet", "out.mp4"]) == Exit.DONE
    assert [job.sink.path for job in runs.jobs] == [Path("out.mp4")] * 2
