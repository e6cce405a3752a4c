"""The published folder of Stream-DiffVSR, pulled from a hub on this machine and then used."""

import shutil
from pathlib import Path

import pytest

import filmgate as fg
from filmgate.cli.main import main
from filmgate.errors import BadSetting, BadWeights, Exit
from filmgate.jobs import identity
from filmgate.models.contracts import Knobs
from filmgate.models.families import diffvsr
from filmgate.models.families.diffvsr import loading
from filmgate.models.registry import upscaler, weights_hash
from filmgate.weights.store import WeightsStore
from tests import videos
from tests.laws import test_found
from tests.models import tiny_diffvsr
from tests.weights.conftest import nothing_said, shelf, shop
from tests.weights.shop import Shop

__all__ = ["nothing_said", "shelf", "shop"]


def test_where_it_is_absent_the_command_that_fetches_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path))
    with pytest.raises(BadWeights, match="filmgate models pull raft_large fetches"):
        upscaler("diffvsr", test_found.SPEC, 4)
    with pytest.raises(BadWeights, match="filmgate models pull diffvsr fetches it"):
        upscaler("diffvsr", test_found.SPEC, 4, Knobs(flow="dis"))
    with pytest.raises(BadSetting, match="steps is 0: wanted 1 to 1000"):
        upscaler("diffvsr", test_found.SPEC, 4, Knobs(steps=0))
    monkeypatch.setattr(diffvsr, "find_spec", lambda name: None)
    with pytest.raises(BadSetting, match=r"pip install 'filmgate\[diffusion\]' does that"):
        upscaler("diffvsr", test_found.SPEC, 4)


def test_the_parts_of_a_folder_tell_a_run_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path))
    unet = tmp_path / "diffvsr" / "unet" / "diffusion_pytorch_model.safetensors"
    unet.parent.mkdir(parents=True)
    words, note = tmp_path / "diffvsr" / loading.PROMPT, unet.with_name("config.json.lock")
    for path in (unet, words, note):
        path.write_bytes(b"numbers")
    for given in (None, tmp_path / "diffvsr"):
        task = fg.Upscale(scale=4, model="diffvsr", weights=given)
        job = fg.Job(
            fg.VideoFile(tmp_path / "in.mp4"), fg.VideoOutput(tmp_path / "out.mp4"), (task,)
        )
        assert list(identity._weights(job)) == [unet, words]


@pytest.mark.slow
def test_a_folder_that_was_pulled_is_found_without_naming_it(
    shop: Shop, shelf: WeightsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = tiny_diffvsr.folder()
    files = {path.relative_to(tiny).as_posix(): path.read_bytes() for path in tiny.rglob("*.*")}
    del files[loading.PROMPT]
    more = ("text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/vocab.json")
    shop.commits = {"1" * 40: files | dict.fromkeys(more, b"{}")}
    monkeypatch.setenv("HF_ENDPOINT", shop.address.removesuffix("/toy"))
    monkeypatch.setenv("FILMGATE_MODELS", str(shelf.path))
    videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    task = fg.Upscale(scale=4, model="diffvsr", steps=1, flow="dis")
    # numbers drawn by rule draw what no right picture can be
    sink, limits = fg.VideoOutput(tmp_path / "out.mp4", preset="ultrafast"), fg.Limits(guard=False)
    assert main(["models", "pull", "diffvsr"]) == Exit.DONE
    shutil.copy(tiny / loading.PROMPT, shelf.path / "diffvsr")
    assert fg.run(task, tmp_path / "in.mp4", sink, limits=limits).written
    assert weights_hash("diffvsr", Knobs(flow="dis")) != ""
    given = Knobs(shelf.path / "diffvsr", flow="dis")
    assert weights_hash("diffvsr", given) == weights_hash("diffvsr", Knobs(flow="dis"))
    (shelf.path / "diffvsr" / "unet" / "config.json").write_bytes(b"{}")
    with pytest.raises(BadWeights, match=r"config\.json has 2 bytes.*fetches it again"):
        upscaler("diffvsr", test_found.SPEC, 4, Knobs(flow="dis"))
