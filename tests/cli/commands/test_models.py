"""`filmgate models` on a family that only this test has, with a server on this machine."""

import json
import sys
from collections.abc import Iterator
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from filmgate.cli.commands.models import show
from filmgate.cli.main import main
from filmgate.core.frame import StreamSpec
from filmgate.errors import BadSetting, Exit
from filmgate.models import families, registry
from filmgate.models.contracts import Family
from filmgate.models.registry import build_interpolator, find_weights, list_repositories
from filmgate.quality import weights_check
from filmgate.quality.weights_check import SIDE, SlidingTexture
from filmgate.weights.store import WeightsStore
from tests import videos
from tests.weights.conftest import clean_environment
from tests.weights.shop import Shop, serve_shop

__all__ = ["clean_environment"]
SHIFTED = {"move": torch.tensor([4.0]), "more": torch.zeros(2, 3)}  # pixels of luma in half a frame
FAMILY = '''
"""A family for tests: moves an image by as much as its weights say."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from filmgate.models.contracts import Family
from filmgate.weights.state_dict import check_tensors, load_tensors
from filmgate.weights.definitions import Weights
from filmgate.weights.store import WeightsStore

PUBLISHED = {published}


WEIGHTS = (Weights(**PUBLISHED), Weights(**PUBLISHED | {{
    "name": "bound", "file": "bound.pt", "commercial": None, "terms": "Be kind."}}))


@dataclass(frozen=True)
class Options:
    weights: Path | None = None
    """A file of weights."""


def tensor_shapes(weights):
    return {{"move": (1,), "more": (2, 3)}}


def build_interpolator(spec, options, placement):
    file = WeightsStore.open_default().verify(WEIGHTS[0], options.weights)
    move = int(check_tensors(load_tensors(file), tensor_shapes(None), file)["move"])

    def between(a, b, positions):
        moved = [np.roll(x, -move // (1 + (k > 0)), axis=1) for k, x in enumerate(a.arrays)]
        for k, x in enumerate(moved):  # what comes into the image is seen in the next one
            step = move // (1 + (k > 0))
            if step:
                x[:, -step:] = b.arrays[k][:, -2 * step : -step]
        return [a.with_arrays(tuple(moved)) for _ in positions]

    return between


FAMILY = Family(name=__name__.rpartition(".")[2], summary="Moves images.", options=Options,
                build_interpolator=build_interpolator, weights=WEIGHTS,
                tensor_shapes=tensor_shapes)
'''


@pytest.fixture
def shop() -> Iterator[Shop]:
    with serve_shop(Shop(data=save(SHIFTED))) as shop:
        yield shop


@pytest.fixture
def store(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsStore]:
    """A models folder, and the registry with one family more."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "fake.py").write_text(FAMILY.format(published=publish(shop)))
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path / "more")])
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    yield WeightsStore(tmp_path / "models")
    sys.modules.pop("filmgate.models.families.fake", None)
    families.__dict__.pop("fake", None)


def half(n: int) -> Fraction:
    return Fraction(n, 2)


def publish(shop: Shop) -> dict[str, Any]:
    return {"name": "toy", "family": "fake", "file": "toy.safetensors", "licence": "MIT",
            "size_bytes": len(shop.data), "commercial": True,
            "sha256": sha256(shop.data).hexdigest(), "url": shop.address}  # fmt: skip


def run_models(capsys: pytest.CaptureFixture[str], *words: str, code: Exit = Exit.DONE) -> str:
    assert main(["models", *words]) == code
    shown = capsys.readouterr()
    return shown.out if code in (Exit.DONE, Exit.VERDICT_NO) else shown.err


def test_families_without_weights_are_listed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path))
    found = json.loads(run_models(capsys, "--json"))
    assert found["folder"] == str(tmp_path)
    known = {"family": "dis", "weights": None, "commercial": True, "built_in": True}
    assert known in found["families"]
    text = run_models(capsys)
    assert "dis" in text
    assert str(tmp_path) in text


def test_a_detector_is_tried_by_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    message = run_models(capsys, "try", "keypointrcnn_resnet50_fpn", code=Exit.USER)
    assert "track --detector torchvision" in message


def test_nothing_is_claimed_about_the_family_of_another_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a family was listed with "commercial: yes, terms: none", which no one had said."""
    module = SimpleNamespace(FAMILY=Family(name="other", summary="Another package's."))
    point = SimpleNamespace(name="other", load=lambda: module)
    monkeypatch.setattr(registry, "_find_entry_points", lambda: (point,))
    (row,) = (one for one in json.loads(run_models(capsys, "--json"))["families"]
              if one["family"] == "other")  # fmt: skip
    assert (row["commercial"], row["built_in"]) == (None, False)
    (line,) = (line for line in run_models(capsys).splitlines() if line.startswith("other"))
    assert "yes" not in line
    assert "none" not in line
    assert line.count("unknown") == 6


def test_weights_are_listed_downloaded_and_verified(
    store: WeightsStore, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    def find_row() -> dict[str, Any]:
        show(json=True)
        rows = json.loads(capsys.readouterr().out)["families"]
        found: dict[str, Any] = next(row for row in rows if row["weights"] == "toy")
        return found

    row = find_row()
    assert (row["state"], row["licence"], row["commercial"]) == ("absent", "MIT", True)
    assert (row["proven"], row["accepted"]) == ("", True)
    assert "depends" in run_models(capsys)
    assert "there are no weights in" in run_models(capsys, "verify")
    assert "toy is in " in run_models(capsys, "pull", "toy")
    assert find_row()["state"] == "here"
    assert run_models(capsys, "verify").startswith("toy  ")
    path = store.path / "fake" / "toy.safetensors"
    path.write_bytes(shop.data[::-1])
    assert "damaged or not what" in run_models(capsys, "verify", "toy", code=Exit.VERDICT_NO)
    found = json.loads(run_models(capsys, "verify", "--json", code=Exit.VERDICT_NO))
    assert [row["ok"] for row in found] == [False]
    path.with_name("toy.safetensors.part").write_bytes(b"half")
    path.unlink()
    row = find_row()
    assert (row["state"], row["part_bytes"]) == ("incomplete", 4)


def test_terms_are_shown_and_accepted_once(
    store: WeightsStore, capsys: pytest.CaptureFixture[str]
) -> None:
    text = run_models(capsys, "pull", "bound", code=Exit.USER)
    assert "Be kind." in text
    assert "filmgate models pull bound --accept" in text
    assert "bound is in " in run_models(capsys, "pull", "bound", "--accept")
    assert "bound is in " in run_models(capsys, "pull", "bound")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("pull tyo", "no weights are called 'tyo': did you mean 'toy'?"),
        ("pull dis", "dis is a family, not the name of weights: it has none"),
        ("pull fake", "pass toy or bound"),
        ("verify toy", "are not here: run filmgate models pull toy"),
        ("try toy", "are not here: run filmgate models pull toy"),
        ("try toy --weights none", "none does not exist: pass the file toy.safetensors"),
        ("verify --weights x", "without a name"),
    ],
)
def test_user_error_says_what_to_do(
    words: str, text: str, store: WeightsStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert text in run_models(capsys, *words.split(), code=Exit.USER)


def test_offline_error_names_the_file_and_its_place(
    store: WeightsStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FILMGATE_OFFLINE", "1")
    text = run_models(capsys, "pull", "toy", code=Exit.OURS)
    assert str(store.path / "fake" / "toy.safetensors") in text
    assert "FILMGATE_OFFLINE is set" in text


def test_try_runs_16_frames_and_writes_a_report_without_places(
    store: WeightsStore, shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_models(capsys, "pull", "toy")
    assert "please send it" in run_models(capsys, "try", "toy")
    text = (tmp_path / "filmgate-try-toy.json").read_text()
    assert str(tmp_path) not in text
    report = json.loads(text)
    assert report["ok"]
    assert report["tensors"]["names"] == {"move": ["float32", 1], "more": ["float32", 2, 3]}
    assert report["file"]["sha256"] == sha256(shop.data).hexdigest()
    assert (report["run"]["frames_in"], report["run"]["frames_out"]) == (16, 32)
    assert report["run"]["psnr_db"]["least"] == 200.0  # the toy's weights are exact


@pytest.mark.parametrize(
    ("held", "part", "text"),
    [
        ({"move": torch.tensor([4.0])}, "tensors", "1 of 2 are missing: more"),
        ({**SHIFTED, "more": torch.zeros(3, 2)}, "tensors", "more is 3x2, expected 2x3"),
        ({**SHIFTED, "more": torch.full((2, 3), torch.nan)}, "tensors", ""),
        ({**SHIFTED, "move": torch.tensor([0.0])}, "run", ""),
    ],
)
def test_try_rejects_other_weights(
    held: dict[str, torch.Tensor],
    part: str,
    text: str,
    store: WeightsStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_file(held, tmp_path / "own.safetensors")
    words = ("--weights", "own.safetensors", "--report", "r.json")
    assert text in run_models(capsys, "try", "toy", *words, code=Exit.VERDICT_NO)
    report = json.loads((tmp_path / "r.json").read_text())
    assert not report["ok"]
    assert not report[part]["ok"]


@pytest.mark.usefixtures("store")
def test_report_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, folder = ("try", "toy", "--report", "no/r.json"), tmp_path / "no"
    text = run_models(capsys, *words, code=Exit.USER)
    assert "the folder no does not exist: create it first" in text, "before the trial"

    def remove_folder(*_: object) -> dict[str, Any]:
        folder.rmdir()
        return {}

    folder.mkdir()
    monkeypatch.setattr(weights_check, "try_weights", remove_folder)
    assert "name another file with --report" in run_models(capsys, *words, code=Exit.USER)


def test_family_uses_the_given_weights(store: WeightsStore, tmp_path: Path) -> None:
    save_file(SHIFTED, tmp_path / "own.safetensors")
    video = SlidingTexture()
    between = build_interpolator(
        "fake", video.spec, registry.find_family("fake").options(tmp_path / "own.safetensors")
    )
    (made,) = between(video.image_at(half(0)), video.image_at(half(2)), [half(1)])
    assert (made.arrays[0] == video.image_at(half(1)).arrays[0]).all()  # type: ignore[attr-defined]
    with pytest.raises(
        BadSetting, match="options is Options, and the model is dis: pass NoOptions"
    ):
        build_interpolator("dis", video.spec, registry.find_family("fake").options(tmp_path))


def test_result_with_given_weights_has_no_path_in_its_tag(
    store: WeightsStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(SHIFTED, tmp_path / "own.safetensors")
    videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    words = ["interpolate", "in.mp4", "out.mp4", "--model", "fake", "--preset", "ultrafast"]
    assert main([*words, "--quiet"]) == Exit.USER
    assert "run filmgate models pull toy" in capsys.readouterr().err
    assert main([*words, "--quiet", "--weights", "own.safetensors"]) == Exit.DONE
    assert main(["probe", "out.mp4"]) == Exit.DONE
    shown = capsys.readouterr().out
    assert '"model": "fake"' in shown
    assert "own.safetensors" not in shown


def test_bar_is_drawn_on_a_terminal(
    store: WeightsStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["models", "pull", "toy"]) == Exit.DONE
    shown = capsys.readouterr()
    assert "downloading" in shown.err
    assert "toy is in " in shown.out


def test_published_folder_is_listed_downloaded_and_verified(
    store: WeightsStore,
    shop: Shop,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find_row() -> tuple[str, int | None]:
        show(json=True)
        rows = json.loads(capsys.readouterr().out)["families"]
        (row,) = (row for row in rows if row["family"] == "diffvsr")
        return row["state"], row["size_bytes"]

    (published,) = list_repositories("diffvsr")
    paths = [entry.partition("|")[0].replace("*", "vocab.json") for entry in published.wanted]
    size = sum(map(len, paths))
    shop.commits = {"1" * 40: {path: path.encode() for path in paths}}
    monkeypatch.setenv("HF_ENDPOINT", shop.address.removesuffix("/toy"))
    assert find_row() == ("absent", None)
    assert "the files of diffvsr" in run_models(capsys, "verify", "diffvsr", code=Exit.USER)
    assert f"diffvsr is in {store.path / 'diffvsr'}" in run_models(capsys, "pull", "diffvsr")
    assert find_row() == ("here", size)
    assert run_models(capsys, "verify", "diffvsr").count("  ok  ") == len(paths)
    (store.path / "diffvsr" / paths[0]).unlink()
    assert find_row() == ("incomplete", size)
    assert run_models(capsys, "verify").count("  ok  ") == len(paths) - 1
    assert "pull diffvsr" in run_models(capsys, "verify", "diffvsr", code=Exit.VERDICT_NO)
    store.path.joinpath("diffvsr", "diffvsr.listed.json").unlink()
    assert find_row() == ("incomplete", None)  # as if put there by hand
    store.path.joinpath("diffvsr", paths[0]).write_text("mine")
    assert find_row() == ("here", size - len(paths[0]) + 4)
    assert "depends" in run_models(capsys)
    run_models(capsys, "pull", "diffvsr")
    store.path.joinpath("diffvsr", paths[-1]).write_text("another")
    assert find_row() == ("damaged", size)
    assert "models try takes single files" in run_models(capsys, "try", "diffvsr", code=Exit.USER)


def test_two_files_of_one_name_are_refused(store: WeightsStore, tmp_path: Path) -> None:
    text = (tmp_path / "more" / "fake.py").read_text()
    (tmp_path / "more" / "twin.py").write_text(text)
    with pytest.raises(BadSetting, match="two files of weights are called bound: rename one"):
        find_weights("toy")
    sys.modules.pop("filmgate.models.families.twin", None)
    families.__dict__.pop("twin", None)


def test_trial_video_is_exact_halfway_and_has_its_size() -> None:
    video = SlidingTexture()
    a, between, b = (video.image_at(half(n)).arrays[0] for n in (0, 1, 2))
    assert a.shape == (SIDE, SIDE)
    assert (a[:, 8:] == b[:, :-8]).all()
    assert (a[:, 4:] == between[:, :-4]).all()
    spec: StreamSpec = video.spec
    assert sum(len(frames) for frames, _ in video.read(None, 5)) == spec.frames
