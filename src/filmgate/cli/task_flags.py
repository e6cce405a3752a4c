"""The arguments and flags of a task, and the request that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter as Argument
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from cyclopts import Parameter, Token

from filmgate.cli.flags import Owner, build_flags, set_flags, to_flag, to_group, to_integer
from filmgate.cli.request import (
    DisplayOptions,
    FollowingTasks,
    JoinOptions,
    LengthOptions,
    MoreOutputs,
    Request,
    SampleOptions,
    SeedOptions,
)
from filmgate.errors import BadSetting, Exit
from filmgate.jobs.options import ResumeOptions
from filmgate.media.images.numbering import parse_output
from filmgate.planning.limits import Limits
from filmgate.tasks.job_config import SINKS, SOURCES, fill_task, find_default, resolve_model
from filmgate.tasks.model_task import ModelRole, ModelTask
from filmgate.tasks.settings import field_names, join_words, list_input_kinds, read_help

if TYPE_CHECKING:
    from filmgate.core.job import Task
    from filmgate.models.contracts import Family

PATHS = ("The input (a video; a folder, pattern or file of images; - for a pipe) and the result "
         "(a video; frames/%06d.png or frames/ for images; - for a pipe). "
         "With -o: inputs, as many as you like, or folders of videos.")  # fmt: skip
RECORDS = "The result can also be records: .jsonl, .parquet, .txt (MOT), .json (COCO), .pkl, .html."
OUT = "Folder for the results of several inputs; each keeps the name of its input."
SEED = "Seed of all random numbers: the same seed gives the same result."
_RUN = Owner("Run", (ResumeOptions,))
_RESOURCES = Owner("Resources", (Limits,))
_WITHOUT_MODEL = Owner("Resources", (Limits,), hidden=("cache", "guard"))  # they are for models
_DISPLAY = Owner("Display", (DisplayOptions,))
_SAMPLE = Owner("Run", (SampleOptions,))
_INPUT, _OUTPUT = Owner("Input", SOURCES, without=("join",)), Owner("Output", SINKS)
_JOIN = Owner("Paths", (JoinOptions,))
_MORE_OUTPUTS = Owner("Output", (MoreOutputs,))  # of tasks that make records
_LENGTH = Owner("Input", (LengthOptions,))  # of tasks that generate
_FOLLOWING = Owner("Task", (FollowingTasks,))
_SEEDS = Owner("Run", (SeedOptions,))


SHARED = (_JOIN, _INPUT, _OUTPUT, _SAMPLE, _RUN, _RESOURCES, _DISPLAY)


@dataclass(frozen=True, slots=True)
class TaskFlags:
    """The flags of one task with the families of its models; none of a task if `task` is None.

    `further`: the families of the further models that the task has, by the name of their role.
    """

    task: type[Task] | None
    family: Family | None = None
    further: tuple[tuple[ModelRole, Family], ...] = ()

    @classmethod
    def choose(cls, task: type[Task] | None, words: Sequence[str]) -> TaskFlags:
        """Return the flags for the models that `words` name, such as --model, or the default ones.

        Raises BadWeights for a file of weights that does not exist or fits no family.
        """
        if task is None or not issubclass(task, ModelTask):
            return cls(task)
        from filmgate.models.registry import find_family, list_families

        able = {task.model_field: task.supports} | {role.name: role.supports for role in task.roles}
        given = {name: _find_value(to_flag(name), words) or find_default(task, name)
                 for name in able}  # fmt: skip
        form = resolve_model(task, {name: value for name, value in given.items() if value})
        found: dict[str, Family] = {}
        for name, supports in able.items():
            for value in (form.get(name), find_default(task, name)):
                family = find_family(str(value)) if value in list_families() else None
                if name not in found and family is not None and supports(family):
                    found[name] = family
        further = tuple((role, found[role.name]) for role in task.roles if role.name in found)
        return cls(task, found[task.model_field], further)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the task's inputs; those that are fields of it are further inputs."""
        names: tuple[str, ...] = getattr(self.task, "inputs", ("in",))
        return names

    @property
    def generates(self) -> bool:
        """Whether there is no video among the inputs: the task makes its own frames."""
        return self.task is not None and set(self.inputs) <= set(field_names(self.task))

    def format_usage(self, command: str, out: str = "OUT") -> str:
        """Return the line with the paths of a command; `out` in brackets can be omitted."""
        several = ", or IN ... -o DIR [OPTIONS]" if self.takes_several else ""
        paths = " ".join([*(name.upper() for name in self.inputs), out])
        return f"Usage: filmgate {command} {paths} [OPTIONS]{several}\n"

    @property
    def takes_several(self) -> bool:
        """Whether the only input is a video, so that a command can take many of them."""
        return len(self.inputs) == 1 and not self.generates

    @property
    def owners(self) -> tuple[Owner, ...]:
        """The owners of the task's flags and of the model's."""
        if self.task is None:
            return ()
        inputs = self.inputs
        if self.family is None or not issubclass(self.task, ModelTask):
            return (Owner("Task", (self.task,), without=inputs),)
        names = (self.task.model_field, *(role.name for role in self.task.roles), "device")
        unused = self.task.list_unused_options(self.family)
        return (
            Owner("Task", (self.task,), without=(*names, *inputs)),
            Owner("Model", (self.task,), only=names),
            Owner(f"Model: {self.family.name}", (self.family.options,), hidden=unused),
            *(Owner(f"Model: {family.name}", (family.options,), prefix=role.prefix)
              for role, family in self.further),
        )  # fmt: skip

    def build_task(self, values: Mapping[str, object]) -> tuple[Task, ...]:
        """Return the task with these values of its flags and its model's. Raises BadSetting."""
        if self.task is None:
            return ()
        form = {name: values[name] for name in self.inputs if name in values}
        for owner in self.owners:
            form |= owner.select(values)
        return (fill_task(self.task, form, self.task.__name__),)

    def split_paths(self, paths: Sequence[Path]) -> tuple[tuple[Path, ...], dict[str, object]]:
        """Return the paths of the video and of the result, and the further inputs by field.

        Raises BadSetting for another number of paths than the task has inputs, and one result.
        """
        names = self.inputs
        if len(paths) != len(names) + 1:
            wanted = join_words([name.upper() for name in (*names, "out")])
            raise BadSetting(f"the number of paths is {len(paths)}: pass {wanted}")
        own = field_names(self.task) if self.task else []
        hints = get_type_hints(self.task)
        places = dict(zip(names, paths, strict=False))
        video = tuple(path for name, path in places.items() if name not in own)
        kinds = {name: list_input_kinds(hints[name])[0] for name in places if name in own}
        further = {name: kind(path=places[name]) for name, kind in kinds.items()}
        return (*video, paths[-1]), further

    def check_options(self, words: Sequence[str]) -> None:
        """Raise BadSetting for a flag that only another family of models has."""
        if self.task is None or self.family is None:
            return
        shared = (*SHARED, _MORE_OUTPUTS, _LENGTH, _FOLLOWING, _SEEDS)
        own = {to_flag(name) for owner in (*self.owners, *shared) for name in owner.names}
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        given |= {f"--{flag.removeprefix('--no-')}" for flag in given if flag.startswith("--no-")}
        foreign = [flag.removeprefix("--").replace("-", "_") for flag in sorted(given - own)]
        if foreign:
            from filmgate.models.registry import load_families

            assert issubclass(self.task, ModelTask)
            families, further = load_families(), {role.name: one.name for role, one in self.further}
            options = {name for one in families for name in field_names(one.options)}
            options |= {role.prefix + name for role in self.task.roles for one in families
                        if role.supports(one) for name in field_names(one.options)}  # fmt: skip
            for name in foreign:
                if name in options:
                    form = {self.task.model_field: self.family.name, **further, name: None}
                    fill_task(self.task, form, name)  # raises


def build_task_command(
    task: type[Task] | None,
    help: str,
    run: Callable[[Request], Exit],
    words: Sequence[str],
    shared: Sequence[Owner] = SHARED,
    result: Path | None = None,
) -> Callable[..., Exit]:
    """Return a command that turns its flags into a request and passes it to `run`.

    `words` are those of the command line: they name the model, whose options are flags too.
    `result`: where the result goes if no path is given for it.
    """
    chosen = TaskFlags.choose(task, words)
    chosen.check_options(words)
    inputs = chosen.inputs
    own_input = _LENGTH if chosen.generates else _INPUT
    makes_records = bool(task and issubclass(task, ModelTask) and task.makes_records)

    def call(*names: str, **values: Any) -> Exit:
        paths = tuple(map(Path, names))
        if values.get("out") is None:
            paths = _complete_paths(names, len(inputs), result)
        if len(inputs) > 1 or (inputs and chosen.generates):
            paths, further = chosen.split_paths(paths)
            values |= further
        following = FollowingTasks(**_FOLLOWING.select(values) if chosen.generates else {})
        return run(
            Request(
                paths=paths,
                generates=chosen.generates,
                out=values.get("out"),
                tasks=(*chosen.build_task(values), *following.build()),
                seeds=SeedOptions(**_SEEDS.select(values)).seeds,
                input=own_input.select(values),
                output=_OUTPUT.select(values),
                more_outputs=MoreOutputs(**_MORE_OUTPUTS.select(values)),
                seed=values.get("seed", 0),
                limits=Limits(**_RESOURCES.select(values)),
                resume_options=ResumeOptions(**_RUN.select(values)),
                display=DisplayOptions(**_DISPLAY.select(values)),
                sample=SampleOptions(**_SAMPLE.select(values)),
                values=values,
            )
        )

    arguments = [
        *_build_paths(chosen, makes_records, _OUTPUT in shared),
        *build_flags(
            (*chosen.owners, *_list_shared(chosen, shared)), bool({"--help", "-h"} & set(words))
        ),
        Argument("seed", Argument.KEYWORD_ONLY, default=0,
                 annotation=Annotated[int, Parameter(help=SEED, show_default=True,
                                                     converter=to_integer,
                                                     show=task is not None,
                                                     group=to_group("Run"))]),
    ]  # fmt: skip
    return set_flags(call, arguments, help)


def _list_shared(chosen: TaskFlags, shared: Sequence[Owner]) -> list[Owner]:
    """Return the owners of the flags that the task shares with others."""
    task, generates = chosen.task, chosen.generates
    replaced = {_INPUT: _LENGTH if generates else _INPUT,
                _RESOURCES: _RESOURCES if task else _WITHOUT_MODEL}  # fmt: skip
    unfit = (_JOIN, _SAMPLE) if generates else () if len(chosen.inputs) == 1 else (_JOIN,)
    owners = [replaced.get(owner, owner) for owner in shared if owner not in unfit]
    if task and issubclass(task, ModelTask) and task.makes_records and _OUTPUT in shared:
        owners.insert(owners.index(_OUTPUT), _MORE_OUTPUTS)
    return [_FOLLOWING, *owners, _SEEDS] if generates else owners


def _complete_paths(names: Sequence[str], inputs: int, result: Path | None) -> tuple[Path, ...]:
    """Return the paths that were named, the last one as an output; `result` if there is none."""
    paths = tuple(map(Path, names))
    if result is not None and len(paths) == inputs:
        return (*paths, result)
    return (*paths[:-1], parse_output(names[-1])) if names else ()


def _build_paths(chosen: TaskFlags, makes_records: bool, makes_result: bool) -> list[Argument]:
    """Return the positional arguments of a task, and --out for tasks with a single video."""
    inputs, group = chosen.inputs, to_group("Paths")
    name = " ".join([*(name.upper() for name in inputs), "OUT"]) if makes_result else "VIDEO ..."
    several = makes_result and chosen.takes_several
    text = (PATHS if several else _describe_paths(chosen) if makes_result else
            "One or more video files.")  # fmt: skip
    text += f" {RECORDS}" if makes_records else ""
    paths = Parameter(name=name, help=text, show_default=False, group=group,
                      converter=_keep_text)  # fmt: skip
    arguments = [Argument("names", Argument.VAR_POSITIONAL, annotation=Annotated[Path, paths])]
    if several:
        out = Parameter(name=("--out", "-o"), help=OUT, group=group)
        arguments += [Argument("out", Argument.KEYWORD_ONLY, default=None,
                               annotation=Annotated[Path | None, out])]  # fmt: skip
    return arguments


def _describe_paths(chosen: TaskFlags) -> str:
    """Return what each input of a task with several, or with none that is a video, is."""
    texts = read_help(chosen.task) if chosen.task else {}
    each = [f"{name.upper()}: {texts.get(name) or 'The video.'}" for name in chosen.inputs]
    return " ".join([*each, "OUT: The result: a video, or images (frames/%06d.png or frames/)."])


def _keep_text(_: object, tokens: Sequence[Token]) -> str:
    """Return a path as it was written: a Path has no slash at its end, which names a folder."""
    return tokens[0].value


def _find_value(flag: str, words: Sequence[str]) -> str | None:
    """Return the last value of a flag, written `--flag value` or `--flag=value`."""
    value = None
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == flag:
            value = following
        elif word.startswith(f"{flag}="):
            value = word.partition("=")[2]
    return value
