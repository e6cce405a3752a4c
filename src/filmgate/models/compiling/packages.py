"""Packages: networks compiled ahead of time by AOTInductor, in the user's cache folder.

A package is native code that this process loads. It is read only if a manifest next to it says that
it was built for the same network, shapes, processor, version of torch and code, and has its hash.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from filmgate.core.chain import is_out_of_memory
from filmgate.core.instrumentation.phases import phase
from filmgate.core.model_cache import ModelCache
from filmgate.errors import BadSetting
from filmgate.models.compiling.folder import (
    LOCK,
    MANIFEST,
    PACKAGE,
    find_package_folder,
    read_manifest,
)
from filmgate.models.compiling.network import SETTINGS, StaticNetwork
from filmgate.models.compiling.toolchain import check_device, check_toolchain
from filmgate.storage.atomic import write_atomic
from filmgate.storage.file_lock import hold_lock
from filmgate.storage.fingerprint import sha256_of

_MODEL = "model"  # what torch calls the only network of a package


class _Unusable(Exception):
    """A package cannot be used; says why, "" if there is none."""


@dataclass(frozen=True)
class CompiledNetwork:
    """A network that is loaded from its package; it computes with the network's own tensors.

    `built_s`: seconds that building the package took, None if it was there. `size_bytes`: of the
    package.
    """

    network: StaticNetwork
    path: Path
    size_bytes: int
    runner: Any
    built_s: float | None = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the network's outputs for these inputs."""
        return tuple(self.runner.run(self.network.check_inputs(inputs)))


def open_compiled(network: StaticNetwork, models: ModelCache) -> CompiledNetwork:
    """Return a network from its package, which is built if there is none that fits.

    That it was built is added to the notices of `models`. Raises BadSetting if the network cannot
    be compiled here; what `is_out_of_memory` knows.
    """
    check_device(network.name, network.device)
    folder, key = find_package_folder(), network.key
    path = folder / f"{_name_file(network, key)}{PACKAGE}"
    with phase(f"compiled {network.name}"):
        try:
            return _load(network, key, path)
        except _Unusable as error:
            reason = str(error)
        check_toolchain(network.name, network.device, folder, reason)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with hold_lock(path.with_suffix(LOCK), lambda: None):
                return _load_or_build(network, key, path, models)
        except OSError as error:
            raise BadSetting(f"cannot keep the compiled {network.name} in {folder}: "
                             f"{error.strerror or error}; set FILMGATE_CACHE to a folder that can "
                             "be written, or omit --compile") from error  # fmt: skip


def _load_or_build(
    network: StaticNetwork, key: dict[str, Any], path: Path, models: ModelCache
) -> CompiledNetwork:
    """Do the same with the lock held: another process may have built it meanwhile."""
    try:
        return _load(network, key, path)
    except _Unusable as error:
        reason = str(error)
    start = perf_counter()
    with phase(f"compile {network.name}"):
        data = _build(network)
    seconds = perf_counter() - start
    manifest = {"key": key, "sha256": sha256(data).hexdigest(), "built_s": round(seconds, 1)}
    # the manifest first: what has none is never deleted
    write_atomic(path.with_suffix(MANIFEST), (json.dumps(manifest, indent=1) + "\n").encode())
    write_atomic(path, data)
    again = f", because {reason}" if reason else ""
    models.notices.append(f"{network.name} was compiled in {seconds:.1f} s{again}; it is kept for "
                          f"later runs in {path}")  # fmt: skip
    try:
        loaded = _load(network, key, path)
    except _Unusable as error:
        raise BadSetting(f"the compiled {network.name} cannot be used: {error}. Omit --compile"
                         ) from error  # fmt: skip
    return CompiledNetwork(network, path, len(data), loaded.runner, seconds)


def _name_file(network: StaticNetwork, key: dict[str, Any]) -> str:
    """Return the name of a package, which is another one for another key."""
    words = re.sub(r"[^a-z0-9]+", "-", network.name.lower()).strip("-")
    return f"{words[:60]}-{sha256(json.dumps(key).encode()).hexdigest()[:16]}"


# --- load -----------------------------------------------------------------------------------------


def _load(network: StaticNetwork, key: dict[str, Any], path: Path) -> CompiledNetwork:
    """Return the network from the package at `path`. Raises _Unusable."""
    wanted = _read_manifest(path.with_suffix(MANIFEST), key)
    try:
        size, found = path.stat().st_size, sha256_of(path)
    except OSError as error:
        raise _Unusable(f"{path.name} cannot be read ({error.strerror})") from error
    if found != wanted:
        raise _Unusable(f"{path.name} is damaged: its sha256 is {found[:12]}, wanted {wanted[:12]}")
    try:
        runner = _open_runner(network, path)
        runner.load_constants(_select_constants(network, runner), False, True, True)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise _Unusable(f"{path.name} cannot be loaded ({_shorten(error)})") from error
    return CompiledNetwork(network, path, size, runner)


def _open_runner(network: StaticNetwork, path: Path) -> Any:
    """Return what runs a package, without its weights. Raises RuntimeError."""
    index, alone = network.device.index, network.threads == 1
    return torch._C._aoti.AOTIModelPackageLoader(
        str(path), _MODEL, alone, network.threads, -1 if index is None else index
    )


def _read_manifest(path: Path, key: dict[str, Any]) -> str:
    """Return the sha256 of the package that a manifest describes. Raises _Unusable."""
    try:
        found = read_manifest(path)
    except FileNotFoundError as error:
        raise _Unusable from error
    except (OSError, ValueError, RecursionError) as error:
        raise _Unusable(f"{path.name} cannot be read") from error
    if found is None:
        raise _Unusable(f"{path.name} is no manifest of a package")
    if found[0] != key:
        raise _Unusable(f"{path.name} describes another network")
    return found[1]


def _select_constants(network: StaticNetwork, runner: Any) -> dict[str, Tensor]:
    """Return the tensors that a package takes, by its names. Raises _Unusable."""
    tensors, names = network.tensors, runner.get_constant_fqns()
    if unknown := sorted(set(names) - tensors.keys()):
        raise _Unusable(f"it holds {unknown[0]}, which is no weight of the network")
    return {name: tensors[name] for name in names}


# --- build ----------------------------------------------------------------------------------------


def _build(network: StaticNetwork) -> bytes:
    """Return the package of a network. Raises BadSetting if it cannot be compiled."""
    with _make_folder(network.name) as home:  # first: torch's compiler makes folders when imported
        from torch._inductor import config

        # without processes of its own, which torch starts as soon as its compiler is imported: for
        # a CPU there is one file to compile
        alone = {"compile_threads": 1} if network.device.type == "cpu" else {}
        with config.patch(alone):
            return _compile(network, _export(network), home)


def _compile(network: StaticNetwork, exported: Any, home: str) -> bytes:
    from torch import _inductor as inductor
    from torch._inductor.utils import fresh_cache

    threads = {"cpp.threads": 1} if network.threads > 1 else {"cpp.dynamic_threads": True}
    path = Path(home) / f"network{PACKAGE}"
    try:
        with _quiet(), fresh_cache(dir=home):
            inductor.aoti_compile_and_package(
                exported, package_path=str(path), inductor_configs={**SETTINGS, **threads}
            )
        return path.read_bytes()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise BadSetting(f"{network.name} cannot be compiled here: {_shorten(error)}. Omit "
                         "--compile") from error  # fmt: skip


def _make_folder(name: str) -> tempfile.TemporaryDirectory[str]:
    """Return a new temporary folder. Raises BadSetting."""
    try:
        return tempfile.TemporaryDirectory(prefix="filmgate_compile", ignore_cleanup_errors=True)
    except OSError as error:
        raise BadSetting(f"{name} cannot be compiled: no temporary folder can be made "
                         f"({error.strerror or error}). Set TMPDIR to a folder that can be "
                         "written, or omit --compile") from error  # fmt: skip


def _export(network: StaticNetwork) -> Any:
    """Return the graph of a network. Raises BadSetting if it depends on the values of tensors."""
    try:
        with _quiet(), torch.inference_mode(mode=False), torch.no_grad():
            return torch.export.export(network.net, network.make_inputs(), strict=False)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise BadSetting(f"{network.name} cannot be compiled: torch.export says {_shorten(error)}. "
                         "Omit --compile") from error  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """Let libraries warn of nothing inside the `with`: what fails raises."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(level)


def _shorten(error: BaseException) -> str:
    """Return the kind of an error and its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
