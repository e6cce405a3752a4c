"""`filmgate`: its verbs, their flags, and what the process says when it ends."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from fractions import Fraction
from inspect import Parameter as Argument
from inspect import Signature
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from cyclopts import App, CycloptsError, Parameter, Token
from docstring_parser import parse_from_object

import filmgate as fg
from filmgate.cli.places import pairs
from filmgate.core.events import Died, Done, Progress
from filmgate.core.job import Job, Task
from filmgate.errors import BadSetting, Exit, FilmgateError, Interrupted
from filmgate.media.file import Output
from filmgate.tasks.forms import (
    SINKS,
    SOURCES,
    exact,
    job_from_toml,
    registry,
    sink_from,
    source_from,
)

PATHS = ("The film (or images: a folder, frames/%06d.png; - is a pipe) and the result (alike). "
         "With -o: films, as many as wanted, or folders of them.")  # fmt: skip
PLACES = "IN OUT [OPTIONS], or IN ... -o DIR [OPTIONS]"
CONVERT = "Encode a film anew, or make images of it, or a film of images."
INTO = "A folder for the results: each has its film's name."
In = Annotated[Path, Parameter(name="IN", help="The film.")]
Paths = Annotated[tuple[Path, ...], Parameter(name="IN OUT", help=PATHS)]
Folder = Annotated[Path | None, Parameter(name=("--out", "-o"), help=INTO)]
Result = Annotated[Path, Parameter(name="OUT", help="The result; its tag tells the right times.")]
Against = Annotated[Path, Parameter(help="The film that it was made from.")]
JobFile = Annotated[
    Path,
    Parameter(name="JOB", help="TOML with input, output, seed and [[tasks]], paths beside it."),
]
Json = Annotated[bool, Parameter(help="Say it as JSON on standard output.")]
Quiet = Annotated[bool, Parameter(help="Say nothing but warnings and errors.")]
Seed = Annotated[int, Parameter(help="The only chance there is: same seed, same film.")]


def main(words: Sequence[str] | None = None) -> int:
    """Does what the command line says; returns the exit code (`filmgate.errors.Exit`)."""
    try:
        given = sys.argv[1:] if words is None else words
        named = ["./-" if word == "-" else word for word in given]  # a pipe is no flag
        verdict = command_line()(named, exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return int(verdict or Exit.DONE)
    except CycloptsError as error:
        print(f"filmgate: {error}\nfilmgate --help tells what there is", file=sys.stderr)
        return Exit.USER
    except FilmgateError as error:
        print(f"filmgate: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("filmgate: stopped", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:  # who read standard output has gone, and with them the reason to go on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last border: nothing foreign gets past it
        traceback.print_exc()
        print(f"filmgate: {type(error).__name__} is a bug of ours: please report the lines above, "
              "with what filmgate doctor says", file=sys.stderr)  # fmt: skip
        return Exit.OURS


def command_line() -> App:
    """The verbs: one for each task that there is, and convert, run, probe, check, doctor."""
    app = App(
        name="filmgate",
        help="Video AI over films of any length, inside a fixed memory budget.",
        version=fg.__version__,
        default_parameter=Parameter(negative=()),
        result_action="return_value",
    )
    for name, task in {**registry(), "convert": None}.items():
        does = str(task.__doc__) if task else CONVERT
        app.command(_verb(task, does), name=name, usage=f"Usage: filmgate {name} {PLACES}\n")
    for verb in (run, probe, check, doctor):
        app.command(verb)
    return app


def run(job: JobFile, /, *, json: Json = False, quiet: Quiet = False) -> Exit:
    """Do what a job file says: several tasks in one pass."""
    return _do(job_from_toml(job), json, quiet)


def probe(film: In, /, *, json: Json = False) -> None:
    """Show what is in a film: its streams, times, chapters and metadata."""
    from filmgate.cli import show
    from filmgate.media.probe import probe as look

    show.contents(look(film), json)


def check(out: Result, /, *, against: Against, json: Json = False) -> Exit:
    """Check a result: every time, sync with sound, streams, tags. Exit code 1 if it is wrong."""
    from filmgate.cli import show
    from filmgate.quality.check import check as compare

    report = compare(out, against)
    show.report(report, json)
    return Exit.DONE if report.ok else Exit.VERDICT_NO


def doctor(*, json: Json = False) -> Exit:
    """Look at this machine: what is there, what is missing and how to get it."""
    from filmgate.cli import doctor, show

    found = doctor.examine(Path.cwd())
    show.examination(found, json)
    return Exit.DONE if all(item.ok for item in found) else Exit.VERDICT_NO


def _verb(task: type[Task] | None, help: str) -> Callable[..., Exit]:
    """A verb whose flags are the fields of the task, of sources and of results."""

    def verb(paths: tuple[Path, ...] = (), **given: Any) -> Exit:
        def said(*classes: type[Any]) -> dict[str, object]:
            known = {field.name: field.default for cls in classes for field in fields(cls)}
            return {
                name.rstrip("_"): given[name]
                for name, default in known.items()
                if name in given and given[name] != default
            }

        doing = (task(**said(task)),) if task else ()
        jobs = {
            f"{source} -> {sink}": Job(
                source_from({"path": source} | said(*SOURCES)),
                sink_from({"path": sink} | said(*SINKS)),
                doing,
                given.get("seed", 0),
            )
            for source, sink in pairs(paths, given.get("out"), given.get("container"))
        }
        return _do_all(jobs, given.get("json", False), given.get("quiet", False))

    settings: dict[str, Argument] = {}
    for cls in (*((task,) if task else ()), *SOURCES, *SINKS):
        settings |= {flag.name: flag for flag in _flags(cls) if flag.name not in settings}
    verb.__dict__["__signature__"] = Signature([
        Argument("films", Argument.POSITIONAL_ONLY, annotation=Paths, default=()),
        Argument("out", Argument.KEYWORD_ONLY, annotation=Folder, default=None),
        *settings.values(),
        Argument("seed", Argument.KEYWORD_ONLY, annotation=Seed, default=0),
        Argument("json", Argument.KEYWORD_ONLY, annotation=Json, default=False),
        Argument("quiet", Argument.KEYWORD_ONLY, annotation=Quiet, default=False),
    ])  # fmt: skip
    verb.__doc__ = help
    return verb


def _flags(cls: type[Any]) -> list[Argument]:
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
                    converter=_exact if Fraction in _parts(hints[field.name]) else None,
                ),
            ],
        )
        for field in fields(cls)
        if field.name != "path"
    ]


def _parts(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) or (hint,)


def _exact(_: object, tokens: Sequence[Token]) -> Fraction:
    try:
        return Fraction(str(exact(tokens[0].value)))
    except ZeroDivisionError as error:
        raise ValueError(f"{tokens[0].value} divides by 0") from error


def flag_of(field: str) -> str:
    """The flag of a setting: `from_`, whose own name is Python's, is --from."""
    return "--" + field.rstrip("_").replace("_", "-")


def _do_all(jobs: Mapping[str, Job], json: bool, quiet: bool) -> Exit:
    """Does one job after the other; what went wrong with one does not keep the next from running.

    Says so and returns the exit code of the first that did not end well; one alone raises.
    """
    if len(jobs) == 1:
        return _do(next(iter(jobs.values())), json, quiet)
    codes = []
    for name, job in jobs.items():
        if not quiet:
            print(name, file=sys.stderr)
        try:
            codes.append(_do(job, json, quiet))
        except Interrupted:
            raise
        except FilmgateError as error:
            print(f"filmgate: {error}", file=sys.stderr)
            codes.append(error.exit_code)
    return next((code for code in codes if code != Exit.DONE), Exit.DONE)


def _do(job: Job, json: bool, quiet: bool) -> Exit:
    """Runs the job and shows its events. Raises FilmgateError; nothing is left behind then."""
    from filmgate.cli.live import watching

    if json and isinstance(job.sink, Output) and job.sink.piped:
        raise BadSetting("the result and --json both want standard output: leave one")
    read, verdict = 0, Exit.DONE
    with watching(job, json, quiet) as tell:
        try:
            with _polite(), closing(fg.events(job)) as events:
                for event in events:
                    read = event.read if isinstance(event, Progress) else read
                    if isinstance(event, Done) and event.mended:
                        verdict = Exit.REPAIRED
                    tell(event)
        except KeyboardInterrupt:
            error = Interrupted(f"stopped after frame {read}; nothing half-written is left")
            tell(Died("Interrupted", str(error), read))
            raise error from None
        except Exception as error:
            tell(Died(type(error).__name__, str(error), read))
            raise
    return verdict


@contextmanager
def _polite() -> Iterator[None]:
    """SIGTERM is Ctrl-C; a second one does not disturb the cleaning up after the first."""

    def stop(*_: object) -> None:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


if __name__ == "__main__":
    sys.exit(main())
