"""The plan as it is shown: to a person, and to a machine."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import filmgate as fg
from filmgate.backends.fit import Fit, fit
from filmgate.backends.limits import Limits
from filmgate.cli.plan import drawn, show
from tests import films


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    folder = tmp_path_factory.mktemp("plan")
    source = films.make(films.Film(frames=20), folder / "in.mp4")
    job = fg.Job(fg.File(source), fg.Output(folder / "out.mp4"), (fg.Interpolate(factor=2),))
    return fit(job, Limits(chunk=2))


def test_a_person_sees_what_goes_where_and_why(found: Fit) -> None:
    console = Console(width=100, file=StringIO())
    console.print(drawn(found))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "64x48 yuv420p, 25 fps, 20 frames  ->  64x48 yuv420p, 50 fps, 40 frames" in text
    for part in ("cuts", "interpolate", "until next", *found.host):
        assert f"\n{part} " in text
    assert "yours" in text
    assert "in all" in text
    assert "expected" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_machine_reads_the_same(found: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    show(found, json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["plan"]["chunk"] == 2
    assert said["reasons"]["chunk"] == "yours"
    assert said["predicted"]["host_bytes"] == sum(said["predicted"]["host_parts"].values())
    assert [stage["name"] for stage in said["stages"]] == ["cuts", "interpolate", "until next"]
    assert said["made"]["rate"] == "50"
    assert Path(found.job.sink.path).name == "out.mp4"  # type: ignore[attr-defined]
