"""What a worker does before its first job: try its device, load the networks that are pinned."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from filmgate.core.frame import StreamSpec
from filmgate.core.job import Task
from filmgate.core.model_cache import ModelCache
from filmgate.errors import BadSetting, FilmgateError, NotLoaded
from filmgate.service.worker.pins import read_pin
from filmgate.service.worker.warm_models import WarmModels
from filmgate.tasks.upscale import Upscale

_SOME_STREAM = StreamSpec(
    width=640, height=480, rate=Fraction(25), time_base=Fraction(1, 25), pixels="yuv420p"
)
_SCALES = 2, 4, 3, 1, 8  # of files of weights, which have one


def try_device(device: str) -> None:
    """Compute something on a GPU. Raises NotLoaded if that fails or is wrong.

    On the CPU nothing is tried: torch is loaded by the first job that needs it, or by a pin.
    """
    if device == "cpu":
        return
    import torch

    kind = "cuda" if device.startswith("cuda") else device
    try:
        ones = torch.ones((64, 64), device=kind)
        total = float((ones @ ones).sum())
    except RuntimeError as error:
        raise NotLoaded(f"{device} cannot be used: {error!s:.300}") from error
    if total != 64.0**3:
        raise NotLoaded(f"{device} computes wrongly: the sum of a product is {total}, wanted "
                        f"{64.0**3}. Check the GPU and its driver")  # fmt: skip


def load_pins(pins: tuple[str, ...], models: WarmModels) -> tuple[str, ...]:
    """Load the networks of tasks such as upscale or upscale:diffvsr; return what failed."""
    failed = []
    for pin in pins:
        try:
            with models.pin(pin):
                _load(pin, models)
        except FilmgateError as error:
            failed.append(f"{pin} could not be loaded: {error}")
    return tuple(failed)


def _load(pin: str, models: ModelCache) -> None:
    """Build the stages of a task for some stream: that loads its networks into the cache."""
    task = read_pin(pin)
    tasks: list[Task] = [task]
    if isinstance(task, Upscale) and not task.find_model(task.model).scales:
        tasks = [replace(task, scale=scale) for scale in _SCALES]
    for each in tasks[:-1]:
        try:
            each.stages(_SOME_STREAM, models)
        except BadSetting:
            continue  # its network stays loaded for the next one
        return
    tasks[-1].stages(_SOME_STREAM, models)
