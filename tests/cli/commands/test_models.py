"""`filmgate models` on a family that only this test has, with a server on this machine."""

import json
import sys
from collections.abc import Iterator
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from filmgate.cli.commands.models import show
from filmgate.cli.main import main
from filmgate.core.frame import StreamSpec
from filmgate.errors import BadSetting, Exit
from filmgate.models import families
from filmgate.models.contracts import Knobs
from filmgate.models.registry import folders, interpolator, weights_of
from filmgate.quality.weights_check import SIDE, Slide
from filmgate.weights.store import WeightsStore
from tests import videos
from tests.weights.conftest import nothing_said
from tests.weights.shop import Shop, opened

__all__ = ["nothing_said"]
SHIFTED = {"move": torch.tensor([4.0]), "more": torch.zeros(2, 3)}  # pixels of luma in half a frame
FAMILY = '''
"""A family for trials: slides a picture by what its weights say."""

from dataclasses import replace

import numpy as np

from filmgate.weights.state_dict import fitting, tensors
from filmgate.weights.store import WeightsStore, Weights

TOLD = {told}


def weights():
    return (Weights(**TOLD), Weights(**TOLD | {{
        "name": "bound", "file": "bound.pt", "commercial": None, "terms": "Be kind."}}))


def shapes(weights):
    return {{"move": (1,), "more": (2, 3)}}


def interpolator(spec, knobs):
    file = WeightsStore.here().verified(weights()[0], knobs.weights)
    move = int(fitting(tensors(file), shapes(None), file)["move"])

    def between(a, b, positions):
        moved = [np.roll(x, -move // (1 + (k > 0)), axis=1) for k, x in enumerate(a.arrays)]
        for k, x in enumerate(moved):  # what comes into the picture is seen in the next one
            step = move // (1 + (k > 0))
            if step:
                x[:, -step:] = b.arrays[k][:, -2 * step : -step]
        return [a.with_arrays(tuple(moved)) for _ in positions]

    return between
'''


@pytest.fixture
def shop() -> Iterator[Shop]:
    with opened(Shop(data=save(SHIFTED))) as shop:
        yield shop


@pytest.fixture
def shelf(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsStore]:
    """A models folder, and the registry with one family more."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "fake.py").write_text(FAMILY.format(told=told_by(shop)))
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path / "more")])
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    yield WeightsStore(tmp_path / "models")
    sys.modules.pop("filmgate.models.families.fake", None)
    families.__dict__.pop("fake", None)


def half(n: int) -> Fraction:
    return Fraction(n, 2)


def told_by(shop: Shop) -> dict[str, Any]:
    return {"name": "toy", "family": "fake", "file": "toy.safetensors", "licence": "MIT",
            "size_bytes": len(shop.data), "commercial": True,
            "sha256": sha256(shop.data).hexdigest(), "url": shop.address}  # fmt: skip


def said(capsys: pytest.CaptureFixture[str], *words: str, code: Exit = Exit.DONE) -> str:
    assert main(["models", *words]) == code
    shown = capsys.readouterr()
    return shown.out if code in (Exit.DONE, Exit.VERDICT_NO) else shown.err


def test_without_weights_there_is_what_needs_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path))
    found = json.loads(said(capsys, "--json"))
    assert found["folder"] == str(tmp_path)
    assert {"family": "dis", "weights": None} in found["families"]
    shown = said(capsys)
    assert "dis" in shown
    assert str(tmp_path) in shown


def test_weights_are_shown_fetched_and_verified(
    shelf: WeightsStore, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    def is_() -> dict[str, Any]:
        show(json=True)
        rows = json.loads(capsys.readouterr().out)["families"]
        found: dict[str, Any] = next(row for row in rows if row["weights"] == "toy")
        return found

    row = is_()
    assert (row["state"], row["licence"], row["commercial"]) == ("absent", "MIT", True)
    assert (row["proven"], row["accepted"]) == (False, True)
    assert "depends" in said(capsys)
    assert "no weights are in" in said(capsys, "verify")
    assert "toy is here: " in said(capsys, "pull", "toy")
    assert is_()["state"] == "here"
    assert said(capsys, "verify").startswith("toy  ")
    path = shelf.path / "fake" / "toy.safetensors"
    path.write_bytes(shop.data[::-1])
    assert "damaged or not what" in said(capsys, "verify", "toy", code=Exit.VERDICT_NO)
    found = json.loads(said(capsys, "verify", "--json", code=Exit.VERDICT_NO))
    assert [row["ok"] for row in found] == [False]
    path.with_name("toy.safetensors.part").write_bytes(b"half")
    path.unlink()
    row = is_()
    assert (row["state"], row["part_bytes"]) == ("part of it", 4)


def test_terms_are_shown_and_accepted_once(
    shelf: WeightsStore, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(capsys, "pull", "bound", code=Exit.USER)
    assert "Be kind." in told
    assert "filmgate models pull bound --accept" in told
    assert "bound is here" in said(capsys, "pull", "bound", "--accept")
    assert "bound is here" in said(capsys, "pull", "bound")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("pull tyo", "no weights are called 'tyo': did you mean 'toy'?"),
        ("pull dis", "dis is a family, and wanted is one of its weights: it needs none"),
        ("pull fake", "they are toy, bound"),
        ("verify toy", "are not here: filmgate models pull toy fetches them"),
        ("try toy", "are not here: filmgate models pull toy fetches them"),
        ("try toy --weights none", "none does not exist: wanted the file toy.safetensors"),
        ("verify --weights x", "no name is given"),
    ],
)
def test_a_mistake_is_told(
    words: str, told: str, shelf: WeightsStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in said(capsys, *words.split(), code=Exit.USER)


def test_offline_the_file_and_its_place_are_told(
    shelf: WeightsStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FILMGATE_OFFLINE", "1")
    told = said(capsys, "pull", "toy", code=Exit.OURS)
    assert str(shelf.path / "fake" / "toy.safetensors") in told
    assert "FILMGATE_OFFLINE is set" in told


def test_try_runs_16_frames_and_writes_a_report_without_places(
    shelf: WeightsStore, shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "pull", "toy")
    assert "please send it" in said(capsys, "try", "toy")
    text = (tmp_path / "filmgate-try-toy.json").read_text()
    assert str(tmp_path) not in text
    report = json.loads(text)
    assert report["ok"]
    assert report["tensors"]["names"] == {"move": ["float32", 1], "more": ["float32", 2, 3]}
    assert report["file"]["sha256"] == sha256(shop.data).hexdigest()
    assert (report["run"]["frames_in"], report["run"]["frames_out"]) == (16, 32)
    assert report["run"]["psnr_db"]["least"] == 200.0  # the toy's weights are exact


@pytest.mark.parametrize(
    ("held", "part", "told"),
    [
        ({"move": torch.tensor([4.0])}, "tensors", "1 of 2 are missing: more"),
        ({**SHIFTED, "more": torch.zeros(3, 2)}, "tensors", "more is 3x2, wanted 2x3"),
        ({**SHIFTED, "more": torch.full((2, 3), torch.nan)}, "tensors", ""),
        ({**SHIFTED, "move": torch.tensor([0.0])}, "run", ""),
    ],
)
def test_try_says_no_to_other_weights(
    held: dict[str, torch.Tensor],
    part: str,
    told: str,
    shelf: WeightsStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_file(held, tmp_path / "own.safetensors")
    words = ("--weights", "own.safetensors", "--report", "r.json")
    assert told in said(capsys, "try", "toy", *words, code=Exit.VERDICT_NO)
    report = json.loads((tmp_path / "r.json").read_text())
    assert not report["ok"]
    assert not report[part]["ok"]


def test_a_report_that_can_not_be_written_is_told(
    shelf: WeightsStore, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "pull", "toy")
    told = said(capsys, "try", "toy", "--report", "no/r.json", code=Exit.USER)
    assert "name another file with --report" in told


def test_a_family_with_weights_is_used_with_those_given(
    shelf: WeightsStore, tmp_path: Path
) -> None:
    save_file(SHIFTED, tmp_path / "own.safetensors")
    video = Slide()
    between = interpolator("fake", video.spec, Knobs(tmp_path / "own.safetensors"))
    (made,) = between(video.picture(half(0)), video.picture(half(2)), [half(1)])
    assert (made.arrays[0] == video.picture(half(1)).arrays[0]).all()  # type: ignore[attr-defined]
    with pytest.raises(BadSetting, match="the model dis has no such thing: leave"):
        interpolator("dis", video.spec, Knobs(tmp_path))


def test_a_film_is_made_with_weights_by_hand_and_its_tag_tells_no_place(
    shelf: WeightsStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(SHIFTED, tmp_path / "own.safetensors")
    videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    words = ["interpolate", "in.mp4", "out.mp4", "--model", "fake", "--preset", "ultrafast"]
    assert main([*words, "--quiet"]) == Exit.USER
    assert "filmgate models pull toy fetches them" in capsys.readouterr().err
    assert main([*words, "--quiet", "--weights", "own.safetensors"]) == Exit.DONE
    assert main(["probe", "out.mp4"]) == Exit.DONE
    shown = capsys.readouterr().out
    assert '"model": "fake"' in shown
    assert "own.safetensors" not in shown


def test_a_bar_is_drawn_where_there_is_a_terminal(
    shelf: WeightsStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["models", "pull", "toy"]) == Exit.DONE
    shown = capsys.readouterr()
    assert "fetching" in shown.err
    assert "toy is here" in shown.out


def test_a_published_folder_is_shown_fetched_and_verified(
    shelf: WeightsStore,
    shop: Shop,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_() -> tuple[str, int | None]:
        show(json=True)
        rows = json.loads(capsys.readouterr().out)["families"]
        (row,) = (row for row in rows if row["family"] == "diffvsr")
        return row["state"], row["size_bytes"]

    (published,) = folders("diffvsr")
    paths = [entry.partition("|")[0].replace("*", "vocab.json") for entry in published.wanted]
    size = sum(map(len, paths))
    shop.commits = {"1" * 40: {path: path.encode() for path in paths}}
    monkeypatch.setenv("HF_ENDPOINT", shop.address.removesuffix("/toy"))
    assert is_() == ("absent", None)
    assert "not asked yet what diffvsr" in said(capsys, "verify", "diffvsr", code=Exit.USER)
    assert f"diffvsr is here: {shelf.path / 'diffvsr'}" in said(capsys, "pull", "diffvsr")
    assert is_() == ("here", size)
    assert said(capsys, "verify", "diffvsr").count("  ok  ") == len(paths)
    (shelf.path / "diffvsr" / paths[0]).unlink()
    assert is_() == ("part of it", size)
    assert said(capsys, "verify").count("  ok  ") == len(paths) - 1
    assert "pull diffvsr fetches them" in said(capsys, "verify", "diffvsr", code=Exit.VERDICT_NO)
    shelf.path.joinpath("diffvsr", "diffvsr.listed.json").unlink()
    assert is_() == ("part of it", None)  # as if put there by hand
    shelf.path.joinpath("diffvsr", paths[0]).write_text("mine")
    assert is_() == ("here", size - len(paths[0]) + 4)
    assert "depends" in said(capsys)
    said(capsys, "pull", "diffvsr")
    shelf.path.joinpath("diffvsr", paths[-1]).write_text("another")
    assert is_() == ("damaged", size)
    assert "models try knows single files" in said(capsys, "try", "diffvsr", code=Exit.USER)


def test_two_files_of_one_name_are_refused(shelf: WeightsStore, tmp_path: Path) -> None:
    text = (tmp_path / "more" / "fake.py").read_text()
    (tmp_path / "more" / "twin.py").write_text(text)
    with pytest.raises(BadSetting, match="two files of weights are called bound: name them apart"):
        weights_of("toy")
    sys.modules.pop("filmgate.models.families.twin", None)
    families.__dict__.pop("twin", None)


def test_the_film_of_a_trial_is_exact_half_way_and_of_its_size() -> None:
    video = Slide()
    a, between, b = (video.picture(half(n)).arrays[0] for n in (0, 1, 2))
    assert a.shape == (SIDE, SIDE)
    assert (a[:, 8:] == b[:, :-8]).all()
    assert (a[:, 4:] == between[:, :-4]).all()
    spec: StreamSpec = video.spec
    assert sum(len(frames) for frames, _ in video.read(None, 5)) == spec.frames
