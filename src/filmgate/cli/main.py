"""`filmgate`: choose the command, import it, run it, and return its exit code."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from filmgate.backends.spawn import Workers


def main(words: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code, one of `filmgate.errors.Exit`.

    Default: the words of this process, which then ends.
    """
    if words is not None:
        from filmgate.cli.signals import keep_handlers

        with keep_handlers():
            return _run(words)
    if sys.platform == "win32":
        from filmgate.backends.text_pipe import write_utf8

        write_utf8()
    try:
        return _run(sys.argv[1:])
    finally:
        # The interpreter looks for garbage in all that was imported. Triton reports what is left.
        if "triton" not in sys.modules:
            gc.freeze()


def _run(words: Sequence[str]) -> int:
    """Run a command line; print its error and return its code."""
    if words[:1] == ["--version"]:
        from filmgate import __version__

        print(__version__)
        return 0
    from filmgate.errors import Exit, FilmgateError

    try:
        code = _choose_command(words)
        sys.stdout.flush()
        return code
    except FilmgateError as error:
        print(f"filmgate: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("filmgate: stopped", file=sys.stderr)
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last border: other libraries' errors end here
        if _is_closed_pipe(error):  # the reader of standard output has it: there is nothing to say
            import os

            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return Exit.INTERRUPTED
        import traceback

        from filmgate.installation import explain_system_error

        if known := explain_system_error(error):
            print(f"filmgate: {known}", file=sys.stderr)
            return known.exit_code
        traceback.print_exc()
        print(f"filmgate: {type(error).__name__} is a bug in Filmgate: please report the lines "
              "above, with the output of filmgate doctor", file=sys.stderr)  # fmt: skip
        return Exit.OURS


def _is_closed_pipe(error: Exception) -> bool:
    """Return whether the reader of a pipe has closed it; Windows calls that an invalid argument."""
    if sys.platform == "win32" and isinstance(error, OSError) and error.errno == 22:
        return error.filename is None
    return isinstance(error, BrokenPipeError)


def _choose_command(words: Sequence[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        from filmgate.cli.commands import list_commands

        print(format_help(list_commands()))
        return 0
    from filmgate.cli.early_worker import start_worker_early

    with start_worker_early(words) as workers:
        return _run_command(words, workers)


def _run_command(words: Sequence[str], workers: Workers | None) -> int:
    from filmgate.cli.commands import find_command

    command = find_command(words[0], workers)(words)

    from cyclopts import CycloptsError

    from filmgate.cli.app import build_app
    from filmgate.cli.bare_flags import fill_bare_flags
    from filmgate.cli.flags import keep_named_flags

    app = build_app(command)
    named = ["./-" if word == "-" else word for word in words]  # "-" is a pipe, not a flag
    named = fill_bare_flags(named)
    with suppress(CycloptsError), keep_named_flags(command, words):
        return int(app(named, exit_on_error=False, print_error=False) or 0)
    try:  # with all flags: an error says which there are
        return int(app(named, exit_on_error=False, print_error=False) or 0)
    except CycloptsError as error:
        from filmgate.cli.explain import explain_error

        raise explain_error(error, words) from error


def format_help(summaries: dict[str, str]) -> str:
    """Return the help of `filmgate` itself: every command with one line."""
    from filmgate.cli import SUMMARY

    width = max(map(len, summaries))
    rows = "\n".join(f"  {name:{width}}  {summary}" for name, summary in summaries.items())
    return (
        f"{SUMMARY}\n\nUsage: filmgate COMMAND [ARGUMENTS] [OPTIONS]\n\nCommands:\n{rows}\n\n"
        "Options:\n"
        f"  {'--version':{width}}  Print the version.\n"
        f"  {'--help, -h':{width}}  Print this help.\n\n"
        "filmgate COMMAND --help shows the arguments and options of a command."
    )


if __name__ == "__main__":
    sys.exit(main())
