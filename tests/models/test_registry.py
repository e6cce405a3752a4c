"""The registry: families of ours and of packages, and whose weights a file holds."""

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

from filmgate.errors import BadSetting, BadWeights
from filmgate.models import registry
from filmgate.models.families import compact, image
from filmgate.models.registry import chosen, families, family_of
from filmgate.tasks.interpolate import Interpolate
from filmgate.tasks.job_config import job_from
from tests.models import tiny

DECLARED = sorted({one.family for one in registry.weights()} & set(families()))


@pytest.mark.parametrize("family", DECLARED)
def test_exactly_one_family_claims_its_weights(family: str) -> None:
    assert family_of(tiny.weights(family)) == family
    for weights in registry.weights():
        if weights.family == family:
            assert registry.claimed(registry.shapes(weights)) == [family]


def test_no_network_of_ours_is_taken_for_another() -> None:
    """spandrel tells networks by a few names; `image` is asked only where nobody else knows."""
    assert family_of(Path(compact.__file__).with_name("x4.safetensors")) == "compact"
    for weights in registry.weights():
        wanted = [weights.family] if weights.family in families() else []
        assert registry.claimed(registry.shapes(weights)) == wanted


def test_the_last_resort_is_asked_where_nobody_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "claims", lambda shapes: True)
    assert family_of(tiny.weights("film")) == "film"
    assert registry.claimed({"x": (1,)}) == ["image"]
    monkeypatch.setattr(compact, "claims", lambda shapes: True)
    with pytest.raises(BadSetting, match="is claimed by compact and film: name the family"):
        family_of(tiny.weights("film"))


def test_a_file_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(BadWeights, match=r"1 tensors \(x ...\) that no family here knows"):
        family_of(tmp_path / "x.safetensors")
    (tmp_path / "y.safetensors").write_bytes(b"no weights")
    with pytest.raises(BadWeights, match="can't be read as weights"):
        family_of(tmp_path / "y.safetensors")


def test_without_spandrel_it_is_told_that_more_are_known_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(
        BadWeights, match=r"shows what there is, and pip install 'filmgate\[image\]'"
    ):
        family_of(tiny.weights("image"))


def test_one_tensor_more_or_of_another_shape_is_another_model(tmp_path: Path) -> None:
    for name, tensor in (("more", torch.zeros(1)), ("fuse.output_conv.bias", torch.zeros(4))):
        save_file(tiny.film_tensors() | {name: tensor}, tmp_path / "x.safetensors")
        with pytest.raises(BadWeights, match="no family here knows"):
            family_of(tmp_path / "x.safetensors")


def test_a_file_in_place_of_a_family(tmp_path: Path) -> None:
    path = tiny.weights("film")
    assert chosen({"model": str(path), "factor": 2}) == {
        "model": "film", "weights": path, "factor": 2}  # fmt: skip
    assert chosen({"model": "dis"}) == {"model": "dis"}
    with pytest.raises(BadSetting, match="give one"):
        chosen({"model": str(path), "weights": path})
    form = {"input": "a.mp4", "output": "b.mp4"}
    tasks = [{"task": "interpolate", "model": path.name}]
    job = job_from({**form, "tasks": tasks}, path.parent)
    assert job.tasks == (Interpolate(model="film", weights=path),)


def test_an_installed_package_adds_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("their_family")
    module.__dict__["interpolator"] = lambda spec: "theirs"
    monkeypatch.setitem(sys.modules, "their_family", module)
    points = [EntryPoint("theirs", "their_family", registry.GROUP)]
    monkeypatch.setattr(
        registry, "entry_points", lambda **wanted: EntryPoints(points).select(**wanted)
    )
    assert "theirs" in registry.interpolators()
    assert registry._family("theirs") is module
    points.append(EntryPoint("film", "their_family", registry.GROUP))
    with pytest.raises(BadSetting, match="two families are called film"):
        families()
