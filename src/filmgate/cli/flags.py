"""Build the flags of a command from dataclasses: each field is one flag with one owner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cache
from inspect import Parameter as Argument
from inspect import Signature, signature
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from cyclopts import App, Group, Parameter, Token

from filmgate.errors import BadSetting, Exit
from filmgate.tasks.settings import exact, field_names, list_input_kinds, read_help, shorten

_SECONDS = ("start", "end", "begin", "turn", "segment", "pause_after", "sample")  # "5s" is allowed
_ENVIRONMENT = MappingProxyType(
    {"in_process": "FILMGATE_IN_PROCESS", "server": "FILMGATE_SERVER", "key": "FILMGATE_KEY"}
)
# What people need first is first.
_ORDER = ("Paths", "Task", "Model", "Input", "Output", "Run", "Resources", "Display")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Owner:
    """Dataclasses whose fields are flags, all but `path`; `title` is their group in the help.

    `only` and `without` select some of the fields; those in `hidden` are not in the help. `prefix`
    is put before the names.
    """

    title: str
    classes: tuple[type[Any], ...]
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    prefix: str = ""

    @property
    def names(self) -> list[str]:
        """The names of its fields, each once."""
        names = dict.fromkeys(name for cls in self.classes for name in field_names(cls))
        return [self.prefix + name for name in names if name not in ("path", *self.without)
                and (not self.only or name in self.only)]  # fmt: skip

    def select(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that belong to this owner."""
        return {name: values[name] for name in self.names if name in values}


def build_flags(owners: Iterable[Owner], documented: bool = True) -> list[Argument]:
    """Return one keyword argument for each field. Raises TypeError if two owners share a name.

    Without `documented` the flags have no help texts, which take time to read from the source.
    """
    flags: dict[str, Argument] = {}
    homes: dict[str, str] = {}
    for owner in owners:
        for name in owner.names:
            if name in flags:
                raise TypeError(f"{to_flag(name)} has two owners, {homes[name]} and {owner.title}: "
                                "rename one of the fields")  # fmt: skip
            flags[name] = _build_flag(name, owner, documented)
            homes[name] = owner.title
    return list(flags.values())


def set_flags(
    function: Callable[..., Exit], arguments: Sequence[Argument], help: str | None = None
) -> Callable[..., Exit]:
    """Return `function` with a signature of these arguments, from which cyclopts makes flags."""

    def call(*positional: Any, **values: Any) -> Exit:
        return function(*positional, **values)

    call.__dict__["__signature__"] = Signature(arguments)
    call.__doc__, call.__name__ = help or function.__doc__, function.__name__
    return call


def add_flags(
    function: Callable[..., Exit], *owners: Owner, documented: bool = True
) -> Callable[..., Exit]:
    """Return `function` with a flag for each field of its last parameters, one class an owner."""
    arguments = list(signature(function, eval_str=True).parameters.values())
    own, last = arguments[: -len(owners)], arguments[-len(owners) :]
    names = {argument.name for argument in own}

    def call(*positional: Any, **values: Any) -> Exit:
        keyword = {name: value for name, value in values.items() if name in names}
        for argument, owner in zip(last, owners, strict=True):
            keyword[argument.name] = owner.classes[0](**owner.select(values))
        return function(*positional, **keyword)

    call.__name__ = function.__name__
    return set_flags(call, [*own, *build_flags(owners, documented)], function.__doc__)


@contextmanager
def keep_named_flags(command: App, words: Sequence[str]) -> Iterator[None]:
    """Let a command have only those flags that its words name: each takes cyclopts 0.3 ms."""
    for word in words[1:]:
        command = command[word] if word in command and command.default_command is None else command
    function: Any = command.default_command
    complete = vars(function).get("__signature__") if function else None
    if complete is None or {"--help", "-h"} & set(words):
        yield
        return
    named = {word.partition("=")[0] for word in words}
    kept = [argument for argument in complete.parameters.values() if _is_named(argument, named)]
    function.__signature__ = complete.replace(parameters=kept)
    try:
        yield
    finally:
        function.__signature__ = complete


def _is_named(argument: Argument, named: set[str]) -> bool:
    """Whether an argument is no flag, or one that is named, needed or set by the environment."""
    flags = [one for one in get_args(argument.annotation)[1:] if isinstance(one, Parameter)]
    if argument.kind is not Argument.KEYWORD_ONLY or argument.default is Argument.empty:
        return True
    names = {name for one in flags for name in (*(one.name or ()), *(one.negative or ()))}
    return not flags or bool(names & named) or any(one.env_var for one in flags)


def to_flag(field: str) -> str:
    """Return the flag of a field: "pix_fmt" -> "--pix-fmt"."""
    return "--" + field.replace("_", "-")


def to_integer(_: object, tokens: Sequence[Token]) -> int:
    """Return the integer that a word of the command line is. Raises ValueError."""
    text = tokens[0].value
    try:
        return int(str(exact(text)))
    except BadSetting as error:
        raise ValueError(str(error)) from error
    except ValueError as error:  # int() of cyclopts takes 20.5 for 20
        raise ValueError(f"{shorten(text)} is not an integer: pass one such as 8") from error


def to_group(title: str) -> Group:
    """Return the group of the help with this title, "Model: NAME" after "Model"."""
    order = [title.startswith(first) for first in _ORDER]
    return Group(title, sort_key=order.index(True) if True in order else len(order))


def _build_flag(name: str, owner: Owner, documented: bool) -> Argument:
    own = name.removeprefix(owner.prefix)
    cls, field = next(
        (cls, field) for cls in owner.classes for field in fields(cls) if field.name == own
    )
    hint, flag = _find_hints(cls)[own], to_flag(name)  # type: ignore[arg-type]  # mypy#16261
    converter = _find_converter(own, hint)
    parameter = Parameter(
        name=flag,
        group=to_group(owner.title),
        show=name not in owner.hidden,
        help=read_help(cls).get(own) if documented else None,  # type: ignore[arg-type]  # as above
        negative=f"--no-{flag[2:]}" if field.default is True else (),
        converter=converter,
        accepts_keys=False if list_input_kinds(hint) else None,
        n_tokens=1 if converter else None,  # else each type of the hint is tried on the text
        env_var=_ENVIRONMENT.get(name),
        metavar=_find_metavar(own, hint),
        show_default=_find_shown_default(field.default),
    )
    return Argument(
        name, Argument.KEYWORD_ONLY, default=field.default, annotation=Annotated[hint, parameter]
    )


def _find_shown_default(default: object) -> bool | Callable[[object], str]:
    """Return how the help shows a default: not at all if there is none, or it is off."""
    if default is True:
        return lambda _: "on"
    return not (default is None or default is False or default == ())


@cache
def _find_hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)


def _find_converter(name: str, hint: Any) -> Callable[[object, Sequence[Token]], Any] | None:
    kinds = get_args(hint) or (hint,)
    if Ellipsis in kinds and int in kinds:  # several times
        return None
    if inputs := list_input_kinds(hint):
        return lambda _, tokens: inputs[0](path=Path(tokens[0].value))
    if Fraction in kinds:
        return _to_seconds if name in _SECONDS else _to_fraction
    return to_integer if int in kinds else None


def _find_metavar(name: str, hint: Any) -> str | None:
    if list_input_kinds(hint):
        return "FILE"
    if bool in get_args(hint):  # a choice that may also be given as True or False in Python
        return "CHOICE"
    if Fraction not in (get_args(hint) or (hint,)):
        return None
    return "SECONDS" if name in _SECONDS else "NUMBER"


def _to_seconds(_: object, tokens: Sequence[Token]) -> Fraction:
    try:
        return Fraction(str(exact(tokens[0].value.removesuffix("s"))))
    except BadSetting as error:
        raise ValueError(str(error)) from error
    except (ValueError, ZeroDivisionError) as error:
        text = shorten(tokens[0].value)
        raise ValueError(f"{text} is not a time: pass seconds or 1:02:03.5") from error


def _to_fraction(_: object, tokens: Sequence[Token]) -> Fraction:
    try:
        return Fraction(str(exact(tokens[0].value)))
    except BadSetting as error:
        raise ValueError(str(error)) from error
    except ZeroDivisionError as error:
        raise ValueError(f"{shorten(tokens[0].value)[1:-1]} divides by 0") from error
    except ValueError as error:
        text = shorten(tokens[0].value)
        raise ValueError(f"{text} is not a number: pass one such as 2, 2.5 or 5/2") from error
