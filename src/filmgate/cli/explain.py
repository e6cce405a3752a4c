"""Explain words of a command line that cannot be used: errors of cyclopts as ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType
from typing import get_args

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from filmgate.errors import BadSetting
from filmgate.tasks.settings import explain_choice, join_words, shorten

# Flags of earlier versions, and what they are called now.
RENAMED: Mapping[str, str] = MappingProxyType(
    {"--from": "--start", "--to": "--end", "--frames": "--max-frames", "--video": "--stream"}
)
# Options of ffmpeg and of other programs, and the flag that does the same here.
_OTHER_PROGRAMS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("-y", "--yes", "--force", "-f!"), "--overwrite"),
        **dict.fromkeys(("-c:v", "-c", "-codec", "-codec:v", "-vcodec", "--vcodec"), "--codec"),
        **dict.fromkeys(("-c:a", "-acodec", "-codec:a", "-b:a"), "--audio"),
        "-an": "--drop audio",
        "-sn": "--drop subtitle",
        "-dn": "--drop data",
        **dict.fromkeys(("-crf", "-cq", "-qp", "-q", "-q:v", "-b:v", "--quality"), "--crf"),
        **dict.fromkeys(("-s", "-scale", "--resolution", "--outscale"), "--scale"),
        **dict.fromkeys(("-r", "-fps", "--rate"), "--fps"),
        **dict.fromkeys(("-frames:v", "-vframes", "-frames"), "--max-frames"),
        **dict.fromkeys(("-loglevel", "-hide_banner", "-v", "-nostats"), "--quiet"),
        **dict.fromkeys(("-t", "-to", "--duration"), "--end"),
        "-ss": "--start",
        "-f": "--container",
        "-framerate": "--in-fps",
        "-map": "--stream",
        "-pix_fmt": "--pix-fmt",
        "-preset": "--preset",
        "-threads": "--threads",
        "-n": "--model",
    }
)  # fmt: skip
_INPUTS = ("-i", "--input", "-in", "--in")
_OUTPUTS = ("-o", "--output", "-out")
_FILTERS = ("-vf", "-af", "-filter:v", "-filter_complex", "-lavfi")


def explain_error(error: CycloptsError, words: Sequence[str]) -> BadSetting:
    """Return an error of cyclopts as ours: what was found, and what to pass instead."""
    command = " ".join(error.command_chain or words[:1])
    text = str(error)
    if isinstance(error, UnknownOptionError):
        flags = [name for argument in error.argument_collection for name in argument.names]
        flag = str(error.token.keyword or error.token.value).partition("=")[0]
        other = next((word for word in words if _is_of_other_program(word, flags)), flag)
        text = _explain_flag(other, flags, command)
        if other in RENAMED:
            return BadSetting(text)
    elif isinstance(error, CoercionError) and error.token is not None:
        name = error.argument.name if error.argument is not None else "a value"
        flag, value = str(error.token.keyword or name), error.token.value
        choices = get_args(error.target_type)
        if choices and all(isinstance(choice, str) for choice in choices):
            advice = explain_choice(flag.removeprefix("--"), value, choices)
            return BadSetting(f"{flag} is {shorten(value)}: {advice}")
        text = text.replace(value, shorten(value)[1:-1])
    elif isinstance(error, UnusedCliTokensError):
        unused = [shorten(word) for word in error.unused_tokens or ()]
        below = [name for name in error.app or () if not name.startswith("-")]
        text = (f"{command} has no {unused[0]}: it has {join_words(below)}" if below and unused else
                f"{command} does not take {', '.join(unused[:3])} as well: omit it")  # fmt: skip
    elif isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        text = (f"{name} needs a value: pass one after it" if name.startswith("-") else
                f"{command} needs {name}: pass it")  # fmt: skip
    elif isinstance(error, RepeatArgumentError) and error.token is not None:
        text = f"{error.token.keyword} is given twice: omit one"
    return BadSetting(f"{text}\nfilmgate {command} --help lists its arguments and options")


def _is_of_other_program(word: str, flags: Sequence[str]) -> bool:
    known = (*_OTHER_PROGRAMS, *_INPUTS, *_OUTPUTS, *_FILTERS)
    return word in known and word not in flags


def _explain_flag(flag: str, flags: Sequence[str], command: str) -> str:
    """Return what to pass in place of a flag that the command does not have."""
    if flag in RENAMED:
        return f"there is no {flag}: it is called {RENAMED[flag]} now"
    if flag in _INPUTS:
        return (f"there is no {flag}: pass the input first and the result last, as in filmgate "
                f"{command} in.mp4 out.mp4")  # fmt: skip
    if flag in _OUTPUTS and "--codec" in flags:
        return f"there is no {flag}: the last path names the result; -o DIR is for several inputs"
    if flag in _FILTERS:
        return f"there is no {flag}: filters of ffmpeg cannot be used; run ffmpeg before or after"
    advised = _OTHER_PROGRAMS.get(flag, flag)
    same = advised.partition(" ")[0]
    if same != flag and same in flags:
        return f"there is no {flag}: pass {advised}"
    if owners := [name for name, names in _list_commands() if same in names and name != command]:
        called = f", called {same} there" if same != flag else ""
        return f"{command} has no {flag}: it is a flag of {join_words(owners)}{called}"
    positive = f"--{flag.removeprefix('--no-')}"
    if positive != flag and positive in flags:
        return f"there is no {flag}: omit {positive} to turn it off"
    close = get_close_matches(flag[:100], [name for name in flags if name.startswith("--")], 1)
    advice = f"did you mean {close[0]}?" if close else "check the name"
    return f"there is no {shorten(flag)[1:-1]}: {advice}"


@cache
def _list_commands() -> list[tuple[str, set[str]]]:
    """Return every command, those below others too, with the names of its flags."""
    from filmgate.cli.commands import find_command, list_commands

    same = ("plan", "bench", "submit", "prepare")  # they have the flags of the tasks
    return [each for name in list_commands() if name not in same
            for each in _iter_below(name, find_command(name)([name]))]  # fmt: skip


def _iter_below(name: str, app: App) -> Iterator[tuple[str, set[str]]]:
    if app.default_command is not None:
        arguments = app.assemble_argument_collection()
        yield name, {flag for argument in arguments for flag in argument.names}
    for below in app:
        if not below.startswith("-"):
            yield from _iter_below(f"{name} {below}", app[below])
