"""Flags are fields: a verb's are those of its task, of sources, of results and of how it runs."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from fractions import Fraction
from functools import cache
from inspect import Parameter as Argument
from inspect import Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from cyclopts import Parameter, Token
from docstring_parser import parse_from_object

from filmgate.cli.request import DisplayOptions, Request
from filmgate.core.job import Job, Task
from filmgate.errors import Exit
from filmgate.jobs.options import ResumeOptions
from filmgate.models.registry import chosen
from filmgate.planning.limits import Limits
from filmgate.tasks.job_config import SINKS, SOURCES, exact, sink_from, source_from

PATHS = ("The film (or images: a folder, frames/%06d.png; - is a pipe) and the result (alike). "
         "With -o: films, as many as wanted, or folders of them.")  # fmt: skip
INTO = "A folder for the results: each has its film's name."
TIMES = ("from_", "to", "segment", "pause_after", "sample")  # seconds, and may say so: 5s
SEED = "The only chance there is: same seed, same film."
Paths = Annotated[tuple[Path, ...], Parameter(name="IN OUT", help=PATHS)]
Folder = Annotated[Path | None, Parameter(name=("--out", "-o"), help=INTO)]
Seed = Annotated[int, Parameter(help=SEED)]
T = TypeVar("T")


def verb(
    task: type[Task] | None,
    help: str,
    act: Callable[[Request], Exit],
    more: Sequence[type[Any]] = (),
) -> Callable[..., Exit]:
    """A verb that makes an order of its flags and acts on it; `more` classes have flags too."""

    def called(paths: tuple[Path, ...] = (), **given: Any) -> Exit:
        def said(*classes: type[Any]) -> dict[str, object]:
            known = {field.name: field.default for cls in classes for field in fields(cls)}
            return {
                name.rstrip("_"): given[name]
                for name, default in known.items()
                if name in given and given[name] != default
            }

        def filled(cls: type[T]) -> T:
            own = {field.name for field in fields(cls)}  # type: ignore[arg-type]
            settings = {name: value for name, value in given.items() if name in own}
            return cls(**chosen(settings) if cls is task else settings)

        doing = (filled(task),) if task else ()

        def job(source: Path, sink: Path) -> Job:
            return Job(
                source_from({"path": source} | said(*SOURCES)),
                sink_from({"path": sink} | said(*SINKS)),
                doing,
                given.get("seed", 0),
            )

        return act(
            Request(
                paths,
                given.get("out"),
                given.get("container"),
                job,
                filled(Limits),
                filled(ResumeOptions),
                filled(DisplayOptions),
                {cls.__name__: filled(cls) for cls in more},
            )
        )

    settings: dict[str, Argument] = {}
    own = (task,) if task else ()
    for cls in (*own, *SOURCES, *SINKS, Limits, ResumeOptions, *more, DisplayOptions):
        settings |= {flag.name: flag for flag in flags_of(cls) if flag.name not in settings}
    called.__dict__["__signature__"] = Signature([
        Argument("films", Argument.POSITIONAL_ONLY, annotation=Paths, default=()),
        Argument("out", Argument.KEYWORD_ONLY, annotation=Folder, default=None),
        *settings.values(),
        Argument("seed", Argument.KEYWORD_ONLY, annotation=Seed, default=0),
    ])  # fmt: skip
    called.__doc__ = help
    return called


def with_flags(function: Callable[..., Exit], *classes: type[Any]) -> Callable[..., Exit]:
    """The function with flags for the fields of its last parameters, which are these classes."""
    own = list(signature(function).parameters.values())[: -len(classes)]

    def called(*given: Any, **flags: Any) -> Exit:
        filled = [cls(**{f.name: flags[f.name] for f in fields(cls) if f.name in flags})
                  for cls in classes]  # fmt: skip
        return function(*given, *filled)

    flags = {flag.name: flag for cls in classes for flag in flags_of(cls)}  # type: ignore[arg-type]  # mypy#16261: a class is hashable
    called.__dict__["__signature__"] = Signature([*own, *flags.values()])
    called.__doc__, called.__name__ = function.__doc__, function.__name__
    return called


@cache  # parsing the docstrings of a class takes tens of milliseconds, and every verb asks
def flags_of(cls: type[Any]) -> list[Argument]:
    """A flag for each field but the path; what it does is the text below the field."""
    hints = get_type_hints(cls)
    texts = {text.arg_name: text.description for text in parse_from_object(cls).params}
    return [
        Argument(
            field.name,
            Argument.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[
                hints[field.name],
                Parameter(
                    name=flag_of(field.name),
                    help=texts.get(field.name),
                    negative=f"--no-{flag_of(field.name)[2:]}" if field.default is True else (),
                    converter=_converter(field.name, hints[field.name]),
                    env_var="FILMGATE_IN_PROCESS" if field.name == "in_process" else None,
                ),
            ],
        )
        for field in fields(cls)
        if field.name != "path"
    ]


def _parts(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) or (hint,)


def _converter(name: str, hint: Any) -> Callable[[object, Sequence[Token]], Fraction] | None:
    if Fraction not in _parts(hint):
        return None
    return _seconds if name in TIMES else _exact


def _seconds(_: object, tokens: Sequence[Token]) -> Fraction:
    """5 and 5s are the same."""
    return Fraction(str(exact(tokens[0].value.removesuffix("s"))))


def _exact(_: object, tokens: Sequence[Token]) -> Fraction:
    try:
        return Fraction(str(exact(tokens[0].value)))
    except ZeroDivisionError as error:
        raise ValueError(f"{tokens[0].value} divides by 0") from error


def flag_of(field: str) -> str:
    """The flag of a setting: `from_`, whose own name is Python's, is --from."""
    return "--" + field.rstrip("_").replace("_", "-")
