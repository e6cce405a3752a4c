"""What the parts share: packages, reports of checks, weights and samples of every family."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[2]
NETWORKS = ("numpy", "torch", "safetensors", "cv2")  # what a part that runs networks imports
RUNS = (*NETWORKS, "av", "psutil")  # ... that runs jobs
COMMANDS = (*RUNS, "pydantic", "cyclopts", "rich", "docstring_parser")
_WHEELS = {"cv2": "opencv-contrib-python-headless", "docstring_parser": "docstring-parser"}
_OWN = ("filmgate", "tests", "bench")


class Skipped(Exception):
    """Raised in a check that cannot be made here; says why."""


def make_importable() -> None:
    """Let this process and its children import filmgate from a clone that is not installed.

    A folder next to it says its version, which results carry.
    """
    if find_spec("filmgate") is not None:
        return
    version = next(
        line.split('"')[1]
        for line in (ROOT / "pyproject.toml").read_text().splitlines()
        if line.startswith("version = ")
    )
    home = Path(_make_folder().name) / f"filmgate-{version}.dist-info"
    home.mkdir()
    text = f"Metadata-Version: 2.1\nName: filmgate\nVersion: {version}\n"
    (home / "METADATA").write_text(text)
    places = [str(ROOT / "src"), str(home.parent)]
    sys.path[:0] = places
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([*places, *([known] if known else [])])


def import_benchmark(name: str) -> Any:
    """Return a module of bench/."""
    from importlib import import_module

    if str(ROOT / "bench") not in sys.path:
        sys.path.append(str(ROOT / "bench"))
    return import_module(name)


def explain_missing(names: Iterable[str]) -> str:
    """Return which of these packages are missing, "" if none."""
    missing = [_WHEELS.get(name, name) for name in names if find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


@dataclass(frozen=True)
class Setup:
    """How parts run. `dry`: tiny and without a GPU; networks are on a pretended CUDA device.

    Complete runs have threads of their own, which the pretended device does not reach, so `dry`
    they are on the CPU: `device` is where. `frames` is the length of videos of the laws.
    """

    folder: Path
    dry: bool = False

    @property
    def device(self) -> str:
        return "cpu" if self.dry else "cuda"

    @property
    def frames(self) -> int:
        return 3 if self.dry else 12

    @property
    def dtypes(self) -> tuple[str, ...]:
        return ("float32", "bfloat16") if self.dry else ("float32", "float16", "bfloat16")

    def make_plan(self, **settings: Any) -> Any:
        """Return a plan; `dry` with one thread of torch, which is faster for tiny work."""
        from filmgate import Plan

        plan = Plan(**settings)
        return replace(plan, torch_threads=1) if self.dry else plan

    def use_cuda(self) -> AbstractContextManager[None]:
        """Return the context in which this thread has a CUDA device."""
        from filmgate.testing.fake_cuda import fake_cuda

        return fake_cuda() if self.dry else nullcontext()


@dataclass(frozen=True)
class Part:
    """Something that runs in a process of its own, for `limit_s` seconds at most.

    `needs` are packages, by the name that is imported; `skip` says why it does not run at all.
    """

    name: str
    run: Callable[[Setup, Report], None]
    needs: tuple[str, ...]
    limit_s: float = 60
    skip: str = ""


class Report:
    """The checks of a part; each is written as soon as it is made."""

    def __init__(self, write: Callable[[Mapping[str, Any]], None]) -> None:
        self._write = write

    def add(self, name: str, status: str, **figures: Any) -> None:
        """Write one check: passed, failed, skipped or measured."""
        self._write({"check": name, "status": status, **figures})

    @contextmanager
    def check(self, name: str, status: str = "passed") -> Iterator[dict[str, Any]]:
        """Write a check with the figures that the `with` adds; what it raises is the reason.

        A package that is missing, or Skipped, skips it; anything else fails it. `took_s` is how
        long the `with` took, not a measurement.
        """
        figures, start = dict[str, Any](), perf_counter()
        try:
            yield figures
        except Skipped as reason:
            status, figures["reason"] = "skipped", str(reason)
        except Exception as error:  # noqa: BLE001 - one failure must not lose the rest
            package = (getattr(error, "name", None) or "").partition(".")[0]
            if isinstance(error, ImportError) and package and package not in _OWN:
                status, figures["reason"] = "skipped", f"not installed: {package}"
            else:
                traceback.print_exc()
                first = str(error).partition("\n")[0][:400]
                status, figures["reason"] = "failed", f"{type(error).__name__}: {first}"
        self.add(name, status, **figures, took_s=round(perf_counter() - start, 2))


# --- weights and samples --------------------------------------------------------------------------


def find_samples(family: str) -> list[Any]:
    """Return one task of each kind that the family can do and a Guide of each flow model.

    Their weights are tiny and made by rule; where no tiny network is known, of the published
    shapes.
    """
    from filmgate.models import flow_model
    from filmgate.models.flow_model import Guide
    from filmgate.models.registry import find_flow_family
    from filmgate.tasks import interpolate, upscale

    samples: list[Any] = [*interpolate.samples(), *upscale.samples(), *flow_model.samples()]
    known = {
        (type(sample), sample.model): sample
        for sample in reversed(samples)
        if family
        == (find_flow_family(sample.model).name if isinstance(sample, Guide) else sample.model)
    }
    return [add_weights(sample) for sample in known.values()]


def add_weights(sample: Any) -> Any:
    """Return the task or Guide with weights by rule. Raises Skipped if none can be made."""
    from filmgate.models.flow_model import Guide
    from filmgate.models.registry import check_options, find_family, find_flow_family
    from tests.models import tiny

    guide = isinstance(sample, Guide)
    family = find_flow_family(sample.model) if guide else find_family(sample.model)
    options = check_options(family.name, sample.options)
    if sample.model == "diffvsr":
        from tests.models import tiny_diffvsr

        options = replace(options, weights=tiny_diffvsr.folder(), steps=1, flow="dis")
    elif sample.model == "film":
        options = replace(options, weights=make_film_weights())
    elif sample.model in tiny.FAMILIES:
        return tiny.with_weights(sample)
    elif family.weights:
        options = replace(options, weights=make_weights(family.name, sample.model))
    elif family.repositories:
        raise Skipped(f"no weights by rule are known for {family.name}")
    return replace(sample, options=options)


@cache
def make_film_weights() -> Path:
    """Return a temporary file of a tiny FILM whose images are grey and not black."""
    from safetensors.torch import save_file

    from tests.models.tiny import film_tensors

    tensors = film_tensors()
    tensors["fuse.output_conv.bias"].fill_(0.5)
    path = Path(_make_folder().name) / "film_grey.safetensors"
    save_file(tensors, path)
    return path


@cache
def make_weights(family: str, name: str) -> Path:
    """Return a temporary file of the shapes of the published weights `name`, filled by rule."""
    from safetensors.torch import save_file

    from filmgate.models.registry import get_tensor_shapes, list_weights
    from tests.models.tiny import by_rule

    (published,) = (one for one in list_weights(family) if one.name == name)
    shapes = get_tensor_shapes(published)
    if not shapes:
        raise Skipped(f"the family {family} does not say the shapes of its weights")
    path = Path(_make_folder().name) / f"{name}_by_rule.safetensors"
    save_file({key: by_rule(key, shape) for key, shape in shapes.items()}, path)
    return path


@contextmanager
def use_dtype(name: str) -> Iterator[list[str]]:
    """Let networks have this dtype inside the `with`, whatever the device's default is.

    Yields a list that is empty until a family asks for a dtype.
    """
    import torch

    from filmgate.device.placement import Placement

    asked = list[str]()

    def choose_dtype(self: Placement, wanted: str | None = None, *, half: bool = True) -> Any:
        asked.append(name)
        return getattr(torch, name)

    with patch.object(Placement, "choose_dtype", choose_dtype):
        yield asked


def copy_to_cpu(frames: Iterable[Any]) -> tuple[Any, ...]:
    """Return frames with the tensors of their extras in host memory."""
    from torch import Tensor

    return tuple(
        replace(
            frame,
            extras={k: v.cpu() if isinstance(v, Tensor) else v for k, v in frame.extras.items()},
        )
        for frame in frames
    )


def read_planes(path: Path) -> list[tuple[Any, ...]]:
    """Return the planes of every frame of a video."""
    import numpy as np

    from filmgate.media.sources import VideoFile

    with VideoFile(path).open() as reader:
        chunks: Iterable[tuple[Sequence[Any], Any]] = reader.read(None, 4)
        return [
            tuple(np.array(one) for one in frame.image.arrays)
            for frames, _ in chunks
            for frame in frames
        ]


def measure_difference(found: Sequence[Any], wanted: Sequence[Any]) -> tuple[float, float]:
    """Return the largest and the mean difference of lists of tuples of arrays."""
    import numpy as np

    assert len(found) == len(wanted), f"{len(found)} frames came out, wanted {len(wanted)}"
    largest, total, count = 0.0, 0.0, 0
    for a, b in zip(found, wanted, strict=True):
        for one, other in zip(a, b, strict=True):
            one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
            assert one.shape == other.shape, f"{one.shape}, wanted {other.shape}"
            assert np.isfinite(one).all(), "values are NaN or infinite"
            error = np.abs(one - other)
            largest, total = max(largest, float(error.max())), total + float(error.sum())
            count += error.size
    return largest, total / max(1, count)


@cache
def _make_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="filmgate_gpu")
