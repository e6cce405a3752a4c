"""Does CUDA give what the CPU gives? Conversion, every family, laws 1 to 4, stored states.

Results on the device are compared with those of the CPU in float32, in code values of 8 bits for
images and in pixels for flow. The networks are tiny, their weights made by rule.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.gpu.shared import (
    NETWORKS,
    ROOT,
    Part,
    Report,
    Setup,
    Skipped,
    copy_to_cpu,
    find_samples,
    measure_difference,
    use_dtype,
)


@dataclass(frozen=True)
class Tolerance:
    """How far results may be from those of the CPU in float32: the largest and the mean."""

    codes: float
    mean_codes: float
    pixels: float  # of flow
    rgb: float  # of a conversion, of full scale


TOLERANCES = MappingProxyType(
    {
        "float32": Tolerance(1, 0.01, 1e-3, 2e-6),
        "float16": Tolerance(4, 0.25, 0.1, 2**-11),
        "bfloat16": Tolerance(24, 2, 1, 2**-8),
    }
)
EXTRAS = MappingProxyType({"diffvsr": ("diffusers", "pytest"), "image": ("spandrel",)})
MIN_SPREAD = 4  # code values of the standard deviation of an image: flat ones are always equal


def list_parts() -> list[Part]:
    """Return a part for each family of the registry, and the others."""
    from filmgate.models.registry import load_families

    parts = [
        Part("machine", examine_machine, ("torch",)),
        Part("conversion", check_conversion, NETWORKS),
    ]
    for family in load_families():
        needs = (*NETWORKS, *EXTRAS.get(family.name, ()))
        skip = "" if family.uses_device else "it runs on the CPU, whatever the device is"
        run = partial(check_family, family.name)
        parts.append(Part(f"family {family.name}", run, needs, 90, skip))
    return parts


def examine_machine(setup: Setup, report: Report) -> None:
    """Report the device and the versions; fails if torch has no CUDA device."""
    import platform

    import torch

    with report.check("a CUDA device", "measured") as found:
        found |= {"python": platform.python_version(), "torch": str(torch.__version__),
                  "system": f"{platform.system()} {platform.machine()}",
                  "cores": os.cpu_count(), "packages": list_versions()}  # fmt: skip
        if not torch.cuda.is_available():
            from filmgate.device.diagnosis import explain_no_gpu

            raise Skipped(explain_no_gpu() or "torch has no CUDA device")
        properties = torch.cuda.get_device_properties(0)
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        found |= {"gpu": properties.name, "gb": round(properties.total_memory / 1e9, 1),
                  "capability": f"{properties.major}.{properties.minor}",
                  "cuda": torch.version.cuda, "cudnn": cudnn}  # fmt: skip


def list_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = dict[str, str]()
    for name in ("av", "numpy", "torchvision", "diffusers", "spandrel", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


# --- conversion -----------------------------------------------------------------------------------


def check_conversion(setup: Setup, report: Report) -> None:
    """YUV to RGB on the device, and back, as on the CPU: formats, matrices, sitings, odd sizes."""
    import numpy as np
    import torch

    from filmgate.core.frame import ColorTags
    from filmgate.core.instrumentation.torch_settings import fix_torch_settings
    from filmgate.media.pixels.format_names import get_subsampling
    from filmgate.media.pixels.planes import Planes
    from filmgate.media.pixels.rgb import to_planes, to_rgb

    rng = np.random.default_rng(1)
    formats = ("yuv420p", "yuv422p10le", "yuv444p", "gbrp", "gray")
    colours = (ColorTags(matrix="bt709", range="tv", siting="left"),
               ColorTags(matrix="smpte170m", range="pc", siting="topleft"),
               ColorTags(matrix="bt709", range="tv", siting="center"))  # fmt: skip
    sizes = ((37, 29),) if setup.dry else ((37, 29), (64, 48))
    for (width, height), pixels in product(sizes, formats):
        across, down = get_subsampling(pixels)
        deep = pixels.endswith("10le")
        arrays = [
            rng.integers(0, 1024 if deep else 256, size, np.uint16 if deep else np.uint8)
            for size in [(height, width)]
            + [(-(-height // down), -(-width // across))] * 2 * (pixels != "gray")
        ]
        name = f"{pixels} {width}x{height}"
        with report.check(name) as found, fix_torch_settings(), setup.use_cuda():
            for colour in colours:
                image = Planes(tuple(arrays), pixels, colour)
                for dtype in setup.dtypes:
                    wanted, allowed = to_rgb(image), TOLERANCES[dtype].rgb
                    rgb = to_rgb(image, getattr(torch, dtype), "cuda")
                    error = float((rgb.float().cpu() - wanted).abs().max())
                    found[f"{dtype}_rgb"] = max(error, found.get(f"{dtype}_rgb", 0.0))
                    assert error <= allowed, f"{colour}: RGB differs by {error:.3g}"
                back, kept = to_planes(rgb.cpu(), pixels, colour), to_planes(rgb, pixels, colour)
                largest, mean = measure_difference([kept.arrays], [back.arrays])
                found["codes"] = max(largest, found.get("codes", 0.0))
                assert (largest, mean) <= (1, 0.01), f"{colour}: planes differ by {largest:g}"


# --- families -------------------------------------------------------------------------------------


def check_family(family: str, setup: Setup, report: Report) -> None:
    """Every model of a family: close to the CPU in each dtype, laws 1 to 4, its state on a disk."""
    samples = []
    with report.check("weights") as found:
        samples = find_samples(family)
        found["models"] = len(samples)
    for sample in samples:
        check_sample(sample, setup, report)


def check_sample(sample: Any, setup: Setup, report: Report) -> None:
    """Check one task, or one Guide."""
    wanted = list[Any]()
    name = f"{type(sample).__name__.lower()} {sample.model}"
    with report.check(f"{name}: on the CPU, float32") as found:
        frames = run_sample(sample, "cpu", "float32", setup)
        found["spread"] = min(float(frame.image.arrays[0].std()) for frame in frames)
        assert found["spread"] > MIN_SPREAD, "an image is flat: it cannot be compared"
        wanted = list(frames)
    if not wanted:
        return
    for dtype in setup.dtypes:
        with report.check(f"{name}: CUDA {dtype} and CPU float32") as found:
            frames = run_sample(sample, "cuda", dtype, setup)
            compare_frames(frames, wanted, TOLERANCES[dtype], found)
    if setup.dry:  # the suite tries the laws on a pretended device for every family
        laws: Sequence[str] = ("sleep",)
    else:
        laws = ("cut", "sleep", "retry", "batch")
    for law in laws:
        with report.check(f"{name}: law {law}"):
            check_law(law, sample, setup)
    with report.check(f"{name}: state of the device in a new process") as found:
        check_restored_state(sample, setup, found)


def make_video(setup: Setup) -> Any:
    """Return the sample video of families, with a cut in the middle."""
    from filmgate.testing.sample_video import make_sample_video

    return make_sample_video(setup.frames, pixels="yuv420p", width=48, height=40)


@contextmanager
def build_chain(sample: Any, device: str, dtype: str | None, setup: Setup) -> Iterator[Any]:
    """Yield a chain of the sample's stages; dtype None: the device's own.

    Raises Skipped if the family has no choice of dtype, or not this one.
    """
    from filmgate.core.chain import Chain
    from filmgate.errors import BadSetting

    context = setup.use_cuda() if device == "cuda" else nullcontext()
    chosen: Any = use_dtype(dtype) if dtype else nullcontext(["default"])
    with context, chosen as asked:
        try:
            chain = Chain(replace(sample, device=device).stages(make_video(setup).spec))
        except BadSetting as error:
            if dtype and "does not support" in str(error):
                raise Skipped(str(error)) from error
            raise
        if not asked and dtype != "float32":
            raise Skipped(f"{sample.model} is always float32")
        yield chain


def run_sample(sample: Any, device: str, dtype: str | None, setup: Setup) -> tuple[Any, ...]:
    """Return the frames that a device makes, in host memory."""
    from filmgate.testing.laws import run_chain

    with build_chain(sample, device, dtype, setup) as chain:
        return copy_to_cpu(run_chain(chain, make_video(setup)))


def compare_frames(
    found: Sequence[Any], wanted: Sequence[Any], allowed: Tolerance, figures: dict[str, Any]
) -> None:
    """Raise AssertionError if positions differ, or values by more than is allowed."""
    assert [frame.position for frame in found] == [frame.position for frame in wanted]
    images = [[frame.image.arrays for frame in frames] for frames in (found, wanted)]
    figures["codes"], figures["mean_codes"] = measure_difference(*images)
    flows = [[(frame.extras["flow_prev"],) for frame in frames if "flow_prev" in frame.extras]
             for frames in (found, wanted)]  # fmt: skip
    if flows[1]:
        figures["pixels"], _ = measure_difference(*flows)
    figures["allowed"] = [allowed.codes, allowed.mean_codes, allowed.pixels]
    assert figures["codes"] <= allowed.codes, f"an image differs by {figures['codes']:g} codes"
    assert figures["mean_codes"] <= allowed.mean_codes, "images differ in the mean"
    assert figures.get("pixels", 0) <= allowed.pixels, f"flow differs by {figures['pixels']:g}"


def check_law(law: str, sample: Any, setup: Setup) -> None:
    """Check one of laws 1 to 4 on the device, in its own dtype; 3 and 4 in float32."""
    from filmgate.tasks.model_task import ModelTask
    from filmgate.testing import laws

    exact = law in ("cut", "sleep")
    video, cuts = make_video(setup), (1, 2, setup.frames // 2 + 1)
    tolerance = 1 if isinstance(sample, ModelTask) else TOLERANCES["float32"].pixels
    with build_chain(sample, "cuda", None if exact else "float32", setup) as chain:
        if law == "cut":
            laws.check_cut(chain, video, cuts, batch=2)
        elif law == "sleep":
            laws.check_sleep(chain, video, cuts, range(len(cuts) + 1))
        elif law == "retry":
            laws.check_retry(chain, video, fits=1, batch=4, tolerance=tolerance)
        else:
            laws.check_batch(chain, video, batch=4, tolerance=tolerance)


# --- a state from the device ----------------------------------------------------------------------


def check_restored_state(sample: Any, setup: Setup, figures: dict[str, Any]) -> None:
    """Store the state after half of the video, resume in a new process: the same frames, exactly.

    Once more without a GPU: close.
    """
    from filmgate.core.serialization import dumps
    from filmgate.testing.laws import assert_same_frames

    video = make_video(setup)
    half = len(video.frames) // 2 + 1  # the shot has just changed: a frame after that
    with build_chain(sample, "cuda", None, setup) as chain:
        state = chain.start(video.spec, video.frames[0].position)
        state, _ = chain.step(state, list(video.frames[:half]))
        stored = dumps(state)
        if b'"device": "cuda' not in stored:
            raise Skipped("the state has no tensor on the device")
        frames = resume_chain(chain, state, video.frames[half:])
    place = setup.folder / "state"
    place.mkdir(exist_ok=True)
    (place / "state").write_bytes(stored)
    figures["bytes"] = len(stored)
    children = (("cuda", "cpu"),) if setup.dry else (("cuda",), ("cpu",))  # a GPU to hide, or none
    restored = dict[str, list[Any]]()
    for devices in children:
        restored |= restore_in_child(sample, devices, half, place, setup)
    assert_same_frames(restored["cuda"], frames, "a restored state")
    compare_frames(restored["cpu"], frames, TOLERANCES["float16"], figures)


def resume_chain(chain: Any, state: Any, frames: Sequence[Any]) -> list[Any]:
    """Return the frames of the rest of a video, in host memory."""
    state, outputs = chain.step(state, list(frames))
    while state is not None:
        state, more = chain.finish(state)
        outputs += more
    return list(copy_to_cpu(outputs))


def restore_in_child(
    sample: Any, devices: tuple[str, ...], half: int, place: Path, setup: Setup
) -> dict[str, list[Any]]:
    """Return the rest of the frames on each device, from a process that reads the state."""
    from filmgate.core.serialization import dumps, loads

    (place / "sample").write_bytes(dumps(describe_sample(sample)))
    words = ["-m", "tests.gpu", "--restore", str(place), ",".join(devices), str(half)]
    words += ["--dry"] * setup.dry
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if devices == ("cpu",) else {}
    result = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env={**os.environ, **hidden},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if result.returncode:
        raise RuntimeError(f"on {devices[0]}: {(result.stderr.splitlines() or ['died'])[-1]}")
    return {device: list(loads((place / device).read_bytes())) for device in devices}


def describe_sample(sample: Any) -> tuple[str, str]:
    """Return what finds the sample again in another process: weights are by rule there too."""
    return type(sample).__name__, sample.model


def restore(place: Path, devices: Sequence[str], half: int, setup: Setup) -> None:
    """Resume on each device from the state in `place`, and write its frames; in a new process."""
    from filmgate.core.serialization import dumps, loads
    from filmgate.models.registry import find_flow_family

    kind, model = loads((place / "sample").read_bytes())
    family = find_flow_family(model).name if kind == "Guide" else model
    (sample,) = (one for one in find_samples(family) if describe_sample(one) == (kind, model))
    video = make_video(setup)
    for device in devices:
        with build_chain(sample, device, None, setup) as chain:
            frames = resume_chain(chain, loads((place / "state").read_bytes()), video.frames[half:])
        (place / device).write_bytes(dumps(tuple(frames)))
