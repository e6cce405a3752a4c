"""A package of one new file adds a family: its flags and help, its laws, its row and its errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FAMILY = '''
"""The family `mine`: repeats pixels."""

from dataclasses import dataclass

from filmgate.models.contracts import Family


@dataclass(frozen=True)
class Options:
    """Options of the family `mine`."""

    gain: int = 1
    """How much brighter the result is."""


def build_upscaler(spec, scale, options, placement):
    import numpy as np

    def upscale(image):
        one = np.ones((scale, scale), image.arrays[0].dtype)
        return image.with_arrays(tuple(options.gain * np.kron(x, one) for x in image.arrays))

    return upscale


FAMILY = Family(
    name="mine",
    summary="Repeats pixels.",
    options=Options,
    build_upscaler=build_upscaler,
)
'''
CHECK = """
from filmgate.core.chain import Chain
from filmgate.models.registry import find_family
from filmgate.tasks.upscale import Upscale
from filmgate.testing.laws import check_stage
from tests.laws.test_samples import SPEC, video

task = Upscale(model="mine", options=find_family("mine").options(gain=2))
check_stage(Chain(task.stages(SPEC)), video(), tries=1)
print("the laws hold")
"""
END = "--- end of a command ---"
COMMANDS = f"""
import sys

from filmgate.cli.main import main

sys.stderr = sys.stdout
for words in ("upscale --model mine --help", "upscale --help", "models",
              "upscale in.mp4 out.mp4 --gain 2"):
    main(words.split())
    print({END!r})
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with an installed package: one file, and the metadata that pip writes."""
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (tmp_path / "mine.py").write_text(FAMILY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[filmgate.models]\nmine = mine\n")
    return tmp_path


def run(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(site), str(root)))}
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_its_stage_passes_the_laws(site: Path) -> None:
    result = run(site, "-c", CHECK)
    assert result.stdout == "the laws hold\n", result.stderr


def test_it_has_flags_with_help_a_row_among_the_models_and_errors(site: Path) -> None:
    """In one process: each takes a quarter of a second to start."""
    result = run(site, "-c", COMMANDS)
    helped, plain, models, refused = (result.stdout + result.stderr).split(END)[:-1]
    assert "--gain" in helped
    assert "How much brighter the result is." in helped
    assert "--gain" not in plain
    assert "mine" in models
    assert "gain is an option of mine, and the model is compact" in " ".join(refused.split())
