"""The registry: built-in families, those of packages, and the family of a file of weights."""

import subprocess
import sys
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from filmgate.errors import BadSetting, BadWeights
from filmgate.models import registry
from filmgate.models.contracts import Family
from filmgate.models.families import compact, image
from filmgate.models.families.compact import find_weights
from filmgate.models.families.film import FilmOptions
from filmgate.models.registry import identify_weights, list_families, load_families
from filmgate.tasks.interpolate import Interpolate
from filmgate.tasks.job_config import fill_task, job_from
from tests.models import tiny

CLAIMED = [family.name for family in load_families() if family.claims and family.weights]


def test_descriptions_load_no_heavy_library() -> None:
    script = """
import sys
from filmgate.models.registry import load_families
assert len(load_families()) >= 6
print([name for name in ("torch", "av", "cv2", "numpy", "pydantic") if name in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert result.stdout == "[]\n", result.stderr


@pytest.mark.parametrize("family", load_families(), ids=lambda family: family.name)
def test_every_family_describes_itself(family: Family) -> None:
    assert family.summary.endswith(".")
    assert is_dataclass(family.options)
    assert family.options() == family.options(), "every option has a default"
    makes = (family.build_interpolator, family.build_upscaler, family.build_flow,
             family.build_tracker, family.build_pose, family.build_detector,
             family.build_person_tracker, family.build_lip_sync, family.build_animator,
             family.build_generator)  # fmt: skip
    assert any(makes)
    assert bool(family.flow_models) == (family.build_flow is not None)
    for published in (*family.weights, *family.repositories):
        assert published.family == family.name
    if family.weights or family.repositories:
        assert "weights" in {field.name for field in fields(family.options)}


@pytest.mark.parametrize("family", CLAIMED)
def test_exactly_one_family_claims_its_weights(family: str) -> None:
    assert identify_weights(tiny.weights(family)) == family


def test_spandrel_is_asked_only_if_no_other_family_claims_the_tensors() -> None:
    assert identify_weights(find_weights(4)) == "compact"
    for weights in registry.list_weights():
        wanted = [weights.family] if weights.family in CLAIMED else []
        assert registry.find_claims(registry.get_tensor_shapes(weights)) == wanted


def test_the_last_resort_is_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    def claim_all(family: Any) -> None:
        monkeypatch.setattr(family, "FAMILY", replace(family.FAMILY, claims=lambda shapes: True))

    claim_all(image)
    assert identify_weights(tiny.weights("film")) == "film"
    assert registry.find_claims({"x": (1,)}) == ["image"]
    claim_all(compact)
    with pytest.raises(BadSetting, match="is claimed by compact and film: name the family"):
        identify_weights(tiny.weights("film"))


def test_unknown_tensors_are_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(BadWeights, match=r"1 tensors \(x ...\) that no family here knows"):
        identify_weights(tmp_path / "x.safetensors")
    (tmp_path / "y.safetensors").write_bytes(b"no weights")
    with pytest.raises(BadWeights, match="cannot be read as weights"):
        identify_weights(tmp_path / "y.safetensors")


def test_without_spandrel_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(BadWeights, match=r"and pip install .*\[image\]['\"] adds more"):
        identify_weights(tiny.weights("image"))


def test_an_extra_tensor_or_another_shape_is_another_model(tmp_path: Path) -> None:
    for name, tensor in (("more", torch.zeros(1)), ("fuse.output_conv.bias", torch.zeros(4))):
        save_file(tiny.film_tensors() | {name: tensor}, tmp_path / "x.safetensors")
        with pytest.raises(BadWeights, match="no family here knows"):
            identify_weights(tmp_path / "x.safetensors")


def test_a_file_in_place_of_a_family(tmp_path: Path) -> None:
    path = tiny.weights("film")
    wanted = Interpolate(factor=2, model="film", options=FilmOptions(weights=path))
    assert fill_task(Interpolate, {"model": str(path), "factor": 2}, "it") == wanted
    with pytest.raises(BadSetting, match="omit one"):
        fill_task(Interpolate, {"model": str(path), "weights": path}, "it")
    form = {"input": "a.mp4", "output": "b.mp4"}
    tasks = [{"task": "interpolate", "factor": 2, "model": path.name}]
    assert job_from({**form, "tasks": tasks}, path.parent).tasks == (wanted,)


def test_an_option_of_another_family_names_that_family() -> None:
    with pytest.raises(BadSetting, match="dtype is an option of film and rife, and the model is "
                                         "dis: omit it, or pass --model film"):  # fmt: skip
        fill_task(Interpolate, {"dtype": "float16"}, "it")
    with pytest.raises(
        BadSetting, match=r"steps is an option of .*diffvsr.*, and .* is film: omit it$"
    ):
        fill_task(Interpolate, {"model": "film", "steps": 3}, "it")
    with pytest.raises(BadSetting, match="it has no setting 'factr': did you mean 'factor'"):
        fill_task(Interpolate, {"factr": 3}, "it")


@dataclass(frozen=True)
class TheirOptions:
    """Options of a family in a package."""

    strength: int = 3


def test_an_installed_package_adds_a_family(monkeypatch: pytest.MonkeyPatch) -> None:
    family = Family(
        name="theirs",
        summary="A family of a package.",
        options=TheirOptions,
        build_interpolator=lambda spec, options, placement: lambda a, b, positions: [a],
    )
    module: Any = ModuleType("their_family")
    module.FAMILY = family
    monkeypatch.setitem(sys.modules, "their_family", module)
    points = [EntryPoint("theirs", "their_family", registry.GROUP)]
    monkeypatch.setattr(registry, "_find_entry_points", lambda: points)
    assert "theirs" in registry.list_interpolators()
    assert registry.find_family("theirs") is family
    task = fill_task(Interpolate, {"model": "theirs", "strength": 4}, "it")
    assert task == Interpolate(model="theirs", options=TheirOptions(4))
    points.append(EntryPoint("film", "their_family", registry.GROUP))
    with pytest.raises(BadSetting, match="two families are called film"):
        list_families()


def test_a_module_without_a_family_of_its_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "their_family", ModuleType("their_family"))
    points = [EntryPoint("theirs", "their_family", registry.GROUP)]
    monkeypatch.setattr(registry, "_find_entry_points", lambda: points)
    with pytest.raises(BadSetting, match=r"must hold FAMILY = Family\(name='theirs'"):
        registry.find_family("theirs")
