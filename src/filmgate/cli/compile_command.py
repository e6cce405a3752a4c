"""`filmgate models build`: compile the networks of a model for fixed shapes, before any run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter as Argument
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from filmgate.cli.flags import Owner, build_flags, set_flags
from filmgate.errors import BadSetting, Exit
from filmgate.tasks.model_task import ModelTask

if TYPE_CHECKING:
    from filmgate.models.contracts import Family

HELP = "Compile the networks of a model for --compile, so that runs start by loading them."
_NAME = Annotated[str, Parameter(name="NAME", help="The model, such as latentsync.")]


@dataclass(frozen=True, slots=True)
class FrameOptions:
    """What a run knows of its video."""

    frame_size: str | None = None
    """Width and height of the frames of the videos, such as 1920x1080, for models that upscale."""


def build_compile_command(words: Sequence[str]) -> Callable[..., Exit]:
    """Return the command; the model that `words` name has its task's flags and its own.

    Raises BadSetting for a model without networks that can be compiled.
    """
    name = Argument("name", Argument.POSITIONAL_ONLY, annotation=_NAME)
    given = [*words[words.index("build") + 1 :]] if "build" in words[:2] else []
    if not given or given[0].startswith("-"):
        return set_flags(lambda name: build(name, None, {}), [name], HELP)
    family, task = find_compilable(given[0])
    roles = tuple(role.name for role in task.roles)
    own = Owner("Task", (task,), without=(*roles, *getattr(task, "inputs", ()), "device",
                                          task.model_field))  # fmt: skip
    owners = (own, Owner("Model", (task,), only=("device",)),
              Owner(f"Model: {family.name}", (family.options,), hidden=("compile",)),
              Owner("Input", (FrameOptions,)))  # fmt: skip

    def call(name: str, /, **values: Any) -> Exit:
        frame = values.pop("frame_size", None)
        return build(name, frame, values)

    return set_flags(call, [name, *build_flags(owners)], HELP)


def find_compilable(name: str) -> tuple[Family, type[ModelTask]]:
    """Return a family with networks that can be compiled, and the task that runs them.

    Raises BadSetting with the families that there are.
    """
    from filmgate.models.registry import find_family, list_families, load_families
    from filmgate.tasks.registry import load_tasks

    family = find_family(name) if name in list_families() else None
    tasks = [task for task in load_tasks().values() if issubclass(task, ModelTask)]
    able = [task for task in tasks if family and family.open_compiled and task.supports(family)]
    if family is None or not able:
        known = ", ".join(one.name for one in load_families() if one.open_compiled)
        raise BadSetting(f"{name!r:.60} has no networks that can be compiled: pass one of {known}")
    return family, able[0]


def build(name: str, frame_size: str | None, values: dict[str, Any]) -> Exit:
    """Build each package that is missing, and print where all of them are."""
    from filmgate.core.model_cache import ModelCache
    from filmgate.tasks.job_config import fill_task
    from filmgate.units import format_bytes

    _, cls = find_compilable(name)
    task = fill_task(cls, {**values, cls.model_field: name}, cls.__name__)
    for one in task.open_compiled(parse_frame_size(frame_size), ModelCache()):
        state = "was here" if one.built_s is None else f"compiled in {one.built_s:.1f} s"
        print(f"{one.network.name}: {state}, {format_bytes(one.size_bytes)}, {one.path}")
    return Exit.DONE


def parse_frame_size(text: str | None) -> tuple[int, int] | None:
    """Return width and height of a size such as 1920x1080. Raises BadSetting."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not all(side.isascii() and side.isdecimal() and 0 < int(side[:6]) <= 65536
               for side in (width, height)):  # fmt: skip
        raise BadSetting(f"frame_size is {text!r:.60}, wanted width and height in pixels, such as "
                         "1920x1080")  # fmt: skip
    return int(width), int(height)
