"""Packages of compiled networks: what they depend on, what is not loaded, and one real one."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from filmgate.core.model_cache import ModelCache
from filmgate.errors import BadSetting, StageContractError
from filmgate.models.compiling import folder as folder_module
from filmgate.models.compiling import network as network_module
from filmgate.models.compiling import packages, toolchain
from filmgate.models.compiling.folder import list_packages, remove_packages
from filmgate.models.compiling.network import Input, StaticNetwork
from filmgate.models.compiling.packages import open_compiled
from tests.models.compiling.pretended import Pretended, Runner, pretend


class Small(nn.Module):
    """Two convolutions; the last one has so few numbers that a compiler might write them down."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)
        self.scale = nn.Parameter(torch.rand(()))
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(self.first(x))
        return self.last(hidden) * self.scale, hidden


class Undecided(nn.Module):
    """A network that looks at its input to decide."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale if float(x.max()) > 0 else x


def describe(net: nn.Module | None = None, **own: Any) -> StaticNetwork:
    fields: dict[str, Any] = {"inputs": (Input((1, 3, 8, 8)),), **own}
    return StaticNetwork("small", "main part", net or Small(), **fields)


def corrupt_package(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def corrupt_manifest(**changes: object) -> Callable[[Path], None]:
    def corrupt(path: Path) -> None:
        place = path.with_suffix(".json")
        place.write_text(json.dumps({**json.loads(place.read_text()), **changes}))

    return corrupt


@pytest.fixture
def pretended(tmp_path: Path) -> Iterator[Pretended]:
    with pretend(tmp_path / "cache") as pretended:
        yield pretended


def test_a_package_is_built_once_and_serves_any_weights(pretended: Pretended) -> None:
    models = ModelCache()
    first = open_compiled(describe(), models)
    (said,) = models.notices
    assert said.startswith("small, main part was compiled in ")
    assert str(first.path) in said
    again = open_compiled(describe(Small(1)), models)
    assert (first.built_s is not None, again.built_s) == (True, None)
    assert (again.path, models.notices) == (first.path, [said])
    assert pretended.built == ["small, main part"]
    x = torch.rand(1, 3, 8, 8)
    for seed, compiled in enumerate((first, again)):
        assert all(map(torch.equal, Small(seed)(x), compiled(x)))
        held = compiled.runner.constants["first.weight"]
        own = compiled.network.net.get_parameter("first.weight")
        assert held.data_ptr() == own.data_ptr()  # not a copy
    assert list_packages() == {first.path: first.size_bytes}
    assert remove_packages() == first.size_bytes
    assert list(first.path.parent.iterdir()) == []


def test_files_of_the_user_are_neither_listed_nor_deleted(pretended: Pretended) -> None:
    path = open_compiled(describe(), ModelCache()).path
    folder, digits = path.parent, "0123456789abcdef"
    theirs = [folder / name for name in (
        "mine.pt2", "mine.json", "mine.lock", f"model-{digits}.pt2", f"other-{digits}.pt2",
        f"other-{digits}.json", "notes.new", ".filmgate-01234567.new", f"My-{digits}.pt2",
        f"My-{digits}.json")]  # fmt: skip
    for one in theirs:
        one.write_text('{"key": "value", "sha256": "none"}')
    (folder / f"My-{digits}.json").write_bytes(path.with_suffix(".json").read_bytes())
    left = folder / ".filmgate-89abcdef.new"  # half-written, by a process that died
    left.write_bytes(b"12345")
    os.utime(left, (0, 0))
    assert list(list_packages()) == [path]
    size = path.stat().st_size
    assert remove_packages() == size + 5
    assert sorted(folder.iterdir()) == sorted(theirs)


def test_a_manifest_without_its_package_is_removed_too(pretended: Pretended) -> None:
    path = open_compiled(describe(), ModelCache()).path
    path.unlink()
    assert list_packages() == {}
    assert remove_packages() == 0
    assert list(path.parent.iterdir()) == []


def test_packages_that_another_process_removes_meanwhile_are_no_error(
    pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = open_compiled(describe(), ModelCache()).path
    read = folder_module.read_manifest

    def read_and_lose(place: Path) -> object:
        found = read(place)
        for suffix in (".pt2", ".json", ".lock"):
            path.with_suffix(suffix).unlink(missing_ok=True)
        return found

    monkeypatch.setattr(folder_module, "read_manifest", read_and_lose)
    assert list_packages() == {}
    assert remove_packages() == 0


def test_a_package_is_another_one_for_anything_that_it_depends_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    same = [describe().key, describe(Small(7)).key]
    assert same[0] == same[1]
    keys = [same[0]]
    keys += [
        describe(inputs=(Input((1, 3, 8, 9)),)).key,
        describe(inputs=(Input((1, 3, 8, 8), torch.float16),)).key,
        describe(settings="another").key,
        describe(threads=2).key,
        replace(describe(), part="other part").key,
        replace(describe(), family="smaller").key,
        describe(Small().half()).key,
        describe(Small().to(memory_format=torch.channels_last)).key,
        describe(nn.Conv2d(3, 8, 3)).key,
    ]
    for module, name, value in (
        (torch, "__version__", "0.0"),
        (network_module, "describe_processor", lambda device: "another"),
        (network_module, "_hash_folders", lambda folders: "another"),
        (network_module, "SETTINGS", {}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            keys.append(describe().key)
    assert len({json.dumps(key) for key in keys}) == len(keys)
    (tmp_path / "one.py").write_text("a = 1\n")
    before = network_module._hash_folders.__wrapped__((tmp_path,))
    (tmp_path / "one.py").write_text("a = 2\n")
    assert network_module._hash_folders.__wrapped__((tmp_path,)) != before


@pytest.mark.parametrize(
    ("corrupt", "reason"),
    [
        (corrupt_package, "is damaged: its sha256 is "),
        (Path.unlink, "cannot be read (No such file"),
        (corrupt_manifest(sha256="0" * 64), "is damaged: its sha256 is "),
        (corrupt_manifest(sha256=5), "is no manifest of a package"),
        (corrupt_manifest(key={"family": "another"}), "describes another network"),
        (lambda path: path.with_suffix(".json").write_text("[" * 9999), "cannot be read"),
        (lambda path: path.with_suffix(".json").write_text("[]"), "is no manifest of a package"),
    ],
)
def test_what_does_not_fit_is_not_loaded_and_built_again(
    corrupt: Callable[[Path], object], reason: str, pretended: Pretended
) -> None:
    path = open_compiled(describe(), ModelCache()).path
    corrupt(path)
    pretended.opened.clear()
    models = ModelCache()
    again = open_compiled(describe(), models)
    assert again.built_s is not None
    assert len(pretended.built) == 2
    assert len(pretended.opened) == 1  # the new one
    assert f", because {path.stem}" in models.notices[0]
    assert reason in models.notices[0]
    assert open_compiled(describe(), ModelCache()).built_s is None


def test_a_package_that_cannot_be_loaded_after_it_was_built_is_an_error(
    pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_build", lambda network: b"something else")
    with pytest.raises(BadSetting, match=r"cannot be used: .* \(RuntimeError: no such model in the "
                                         r"package\). Omit --compile"):  # fmt: skip
        open_compiled(describe(), ModelCache())


def test_a_package_with_numbers_of_its_own_is_refused(
    pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runner, "get_constant_fqns", lambda self: ["first.weight", "a_number"])
    with pytest.raises(BadSetting, match="it holds a_number, which is no weight of the network"):
        open_compiled(describe(), ModelCache())


def test_without_a_compiler_only_what_is_there_runs(
    pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = open_compiled(describe(), ModelCache()).path
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert open_compiled(describe(Small(1)), ModelCache()).path == there
    with pytest.raises(BadSetting) as caught:
        open_compiled(describe(settings="new"), ModelCache())
    for part in ("small, main part is not compiled yet", "'no-such-compiler'", "CXX names it",
                 f"copy the packages of a machine of the same kind to {there.parent}",
                 "omit --compile"):  # fmt: skip
        assert part in str(caught.value)
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for system, name in (("win32", "'cl'"), ("darwin", "'clang\\+\\+'"), ("linux", "'g\\+\\+'")):
        monkeypatch.setattr(sys, "platform", system)
        with pytest.raises(BadSetting, match=f"there is no C\\+\\+ compiler {name} here"):
            toolchain.check_toolchain("small", torch.device("cpu"), there)


def test_why_a_package_that_is_there_cannot_be_used_is_said_without_a_compiler_too(
    pretended: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = open_compiled(describe(), ModelCache()).path
    corrupt_package(path)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BadSetting, match=f"not compiled yet here: {path.name} is damaged: its "
                                         "sha256 is .*, and there is no C"):  # fmt: skip
        open_compiled(describe(), ModelCache())


def test_a_temporary_folder_that_cannot_be_made_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(BadSetting, match=r"no temporary folder can be made .* Set TMPDIR"):
        packages._build(describe())


def test_the_processor_is_the_same_with_another_kernel() -> None:
    line = "flags\t\t: fpu sme sse sse2 pni avx2 avx512_vnni fma f16c bmi1 amx_tile ibrs\n"
    select, wanted = (
        toolchain._select_instructions,
        ("amx_tile avx2 avx512_vnni bmi1 f16c fma pni sse sse2"),
    )
    assert select(line) == wanted
    assert select(line.replace("sme", "hypervisor md_clear").replace("ibrs", "retbleed")) == wanted
    assert select(line.replace(" avx2", "")) != wanted
    arm = "Features\t: fp asimd evtstrm aes cpuid asimddp sve i8mm bf16 paca"
    assert select(arm) == "aes asimd asimddp bf16 fp i8mm sve"
    assert select("an Intel processor") == "an Intel processor"


def test_devices_that_nothing_is_compiled_for_are_refused() -> None:
    with pytest.raises(BadSetting, match="cannot be compiled for mps: pass --device cpu or cuda"):
        toolchain.check_device("small", torch.device("mps"))
    toolchain.check_device("small", torch.device("cuda:1"))


def test_a_cache_that_cannot_be_written_is_an_error(
    pretended: Pretended, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FILMGATE_CACHE", str(tmp_path / "file"))
    with pytest.raises(BadSetting, match=r"cannot keep the compiled small.* set FILMGATE_CACHE"):
        open_compiled(describe(), ModelCache())


def test_other_inputs_are_refused(pretended: Pretended) -> None:
    compiled = open_compiled(describe(), ModelCache())
    with pytest.raises(StageContractError, match="compiled for 1x3x8x8 float32, and was given "
                                                 "1x3x8x9 float32"):  # fmt: skip
        compiled(torch.rand(1, 3, 8, 9))
    with pytest.raises(StageContractError, match="was given 1x3x8x8 float64"):
        compiled(torch.rand(1, 3, 8, 8).double())
    turned = torch.rand(1, 3, 8, 8).transpose(2, 3)
    assert torch.equal(compiled(turned)[0], Small()(turned.contiguous())[0])


def test_code_that_is_in_no_file_is_refused() -> None:
    kind = type("Nowhere", (Small,), {"__module__": "__nowhere__"})
    with pytest.raises(BadSetting, match="the code of Nowhere is in no file"):
        _ = describe(kind()).key


# --- real ones ------------------------------------------------------------------------------------

_CHILD = """
import sys
import torch
from filmgate.core.model_cache import ModelCache
from filmgate.models.compiling.packages import open_compiled
from tests.models.compiling.test_packages import Small, describe

models = ModelCache()
compiled = open_compiled(describe(Small(5)), models)
assert models.notices == [] and compiled.built_s is None, models.notices
assert "torch._inductor" not in sys.modules  # loading imports no compiler
torch.manual_seed(3)
x = torch.rand(1, 3, 8, 8)
with torch.inference_mode():
    for made, wanted in zip(compiled(x), Small(5)(x), strict=True):
        print(float((made - wanted).abs().max()))
"""


@pytest.mark.slow
def test_a_real_package_is_loaded_in_a_new_process_with_other_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only compiling shows that no weight is written into the code, the small ones included."""
    monkeypatch.setenv("FILMGATE_CACHE", str(tmp_path))
    compiled = open_compiled(describe(), ModelCache())
    assert compiled.built_s is not None
    assert set(compiled.runner.get_constant_fqns()) == set(compiled.network.tensors)
    x = torch.rand(1, 3, 8, 8)
    for made, wanted in zip(compiled(x), Small()(x), strict=True):
        torch.testing.assert_close(made, wanted, rtol=1e-5, atol=1e-6)
    monkeypatch.setenv("CXX", "no-such-compiler")  # none is needed
    done = subprocess.run([sys.executable, "-c", _CHILD], capture_output=True, text=True,
                          check=False, cwd=Path(__file__).parents[3])  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(float(line) < 1e-6 for line in done.stdout.split())
    assert len(done.stdout.split()) == 2


@pytest.mark.slow
def test_a_network_that_decides_by_its_input_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FILMGATE_CACHE", str(tmp_path))
    with pytest.raises(BadSetting, match=r"main part cannot be compiled: torch\.export says"):
        open_compiled(describe(Undecided()), ModelCache())
    assert list_packages() == {}
