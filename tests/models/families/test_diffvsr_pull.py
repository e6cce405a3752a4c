"""The published folder of Stream-DiffVSR, pulled from a local hub and used."""

import shutil
from pathlib import Path

import pytest

import filmgate as fg
from filmgate.cli.main import main
from filmgate.errors import BadSetting, BadWeights, Exit
from filmgate.jobs import identity
from filmgate.models.families import diffvsr
from filmgate.models.families.diffvsr import DiffVsrOptions, loading
from filmgate.models.registry import build_upscaler, hash_weights
from filmgate.weights.store import WeightsStore
from tests import videos
from tests.laws import test_samples
from tests.models import tiny_diffvsr
from tests.weights.conftest import clean_environment, shop, store
from tests.weights.shop import Shop

__all__ = ["clean_environment", "shop", "store"]


def test_missing_weights_name_the_command_that_downloads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path))
    with pytest.raises(BadWeights, match="run filmgate models pull raft_large"):
        build_upscaler("diffvsr", test_samples.SPEC, 4)
    with pytest.raises(BadWeights, match="Run filmgate models pull diffvsr"):
        build_upscaler("diffvsr", test_samples.SPEC, 4, DiffVsrOptions(flow="dis"))
    with pytest.raises(BadSetting, match="steps is 0: pass 1 to 1000"):
        build_upscaler("diffvsr", test_samples.SPEC, 4, DiffVsrOptions(steps=0))
    monkeypatch.setattr(diffvsr, "find_spec", lambda name: None)
    with pytest.raises(BadSetting, match=r"Run pip install .*\[diffusion\]['\"]"):
        build_upscaler("diffvsr", test_samples.SPEC, 4)


def test_the_files_of_a_folder_are_part_of_the_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path))
    unet = tmp_path / "diffvsr" / "unet" / "diffusion_pytorch_model.safetensors"
    unet.parent.mkdir(parents=True)
    words, note = tmp_path / "diffvsr" / loading.PROMPT, unet.with_name("config.json.lock")
    for path in (unet, words, note):
        path.write_bytes(b"numbers")
    for given in (None, tmp_path / "diffvsr"):
        task = fg.Upscale(scale=4, model="diffvsr", options=DiffVsrOptions(weights=given))
        job = fg.Job(
            fg.VideoFile(tmp_path / "in.mp4"), fg.VideoOutput(tmp_path / "out.mp4"), (task,)
        )
        assert list(identity._find_weight_files(job)) == [unet, words]


@pytest.mark.slow
def test_a_pulled_folder_is_found_by_default(
    shop: Shop, store: WeightsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = tiny_diffvsr.folder()
    files = {path.relative_to(tiny).as_posix(): path.read_bytes() for path in tiny.rglob("*.*")}
    del files[loading.PROMPT]
    more = ("text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/vocab.json")
    shop.commits = {"1" * 40: files | dict.fromkeys(more, b"{}")}
    monkeypatch.setenv("HF_ENDPOINT", shop.address.removesuffix("/toy"))
    monkeypatch.setenv("FILMGATE_MODELS", str(store.path))
    videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    task = fg.Upscale(scale=4, model="diffvsr", options=DiffVsrOptions(steps=1, flow="dis"))
    # weights by rule make invalid images
    sink, limits = fg.VideoOutput(tmp_path / "out.mp4", preset="ultrafast"), fg.Limits(guard=False)
    assert main(["models", "pull", "diffvsr"]) == Exit.DONE
    shutil.copy(tiny / loading.PROMPT, store.path / "diffvsr")
    assert fg.run(task, tmp_path / "in.mp4", sink, limits=limits).written
    assert hash_weights("diffvsr", DiffVsrOptions(flow="dis")) != ""
    given = DiffVsrOptions(weights=store.path / "diffvsr", flow="dis")
    assert hash_weights("diffvsr", given) == hash_weights("diffvsr", DiffVsrOptions(flow="dis"))
    (store.path / "diffvsr" / "unet" / "config.json").write_bytes(b"{}")
    with pytest.raises(BadWeights, match=r"config\.json has 2 bytes.*downloads it again"):
        build_upscaler("diffvsr", test_samples.SPEC, 4, DiffVsrOptions(flow="dis"))
