"""`filmgate`: its verbs, their flags, and what the process says when it ends."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import fields
from inspect import Parameter as Argument
from inspect import Signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import App, CycloptsError, Parameter
from docstring_parser import parse_from_object

import filmgate as fg
from filmgate.core.events import Died, Progress
from filmgate.core.job import Job, Task
from filmgate.errors import Exit, FilmgateError, Interrupted
from filmgate.media.file import File, Output
from filmgate.tasks.forms import job_from_toml, registry

In = Annotated[Path, Parameter(name="IN", help="The film.")]
Out = Annotated[Path, Parameter(name="OUT", help="The result: .mp4, .mov or .mkv.")]
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
        verdict = command_line()(words, exit_on_error=False, print_error=False)
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
    """The verbs: one for each task that there is, and run, probe, check, doctor."""
    app = App(
        name="filmgate",
        help="Video AI over films of any length, inside a fixed memory budget.",
        version=fg.__version__,
        default_parameter=Parameter(negative=()),
        result_action="return_value",
    )
    for name, task in registry().items():
        app.command(_task_verb(task), name=name)
    for verb in (run, probe, check, doctor):
        app.command(verb)
    return app


def run(job: JobFile, /, *, json: Json = False, quiet: Quiet = False) -> None:
    """Do what a job file says: several tasks in one pass."""
    _do(job_from_toml(job), json, quiet)


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


def _task_verb(cls: type[Task]) -> Callable[..., None]:
    """A verb IN OUT whose flags are the fields of the task, of File and of Output."""

    def verb(*paths: Path, **given: Any) -> None:
        def part(cls: type[Any], *path: Path) -> Any:
            return cls(*path, **{f.name: given[f.name] for f in fields(cls) if f.name in given})

        job = Job(part(File, paths[0]), part(Output, paths[1]), (part(cls),), given.get("seed", 0))
        _do(job, given.get("json", False), given.get("quiet", False))

    verb.__dict__["__signature__"] = Signature([
        Argument("film", Argument.POSITIONAL_ONLY, annotation=In),
        Argument("result", Argument.POSITIONAL_ONLY, annotation=Out),
        *(flag for part in (cls, File, Output) for flag in _flags(part)),
        Argument("seed", Argument.KEYWORD_ONLY, annotation=Seed, default=0),
        Argument("json", Argument.KEYWORD_ONLY, annotation=Json, default=False),
        Argument("quiet", Argument.KEYWORD_ONLY, annotation=Quiet, default=False),
    ])  # fmt: skip
    verb.__doc__ = cls.__doc__
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
                Parameter(name=flag_of(field.name), help=texts.get(field.name)),
            ],
        )
        for field in fields(cls)
        if field.name != "path"
    ]


def flag_of(field: str) -> str:
    """The flag of a setting: `from_`, whose own name is Python's, is --from."""
    return "--" + field.rstrip("_").replace("_", "-")


def _do(job: Job, json: bool, quiet: bool) -> None:
    """Runs the job and shows its events. Raises FilmgateError; nothing is left behind then."""
    from filmgate.cli.live import watching

    read = 0
    with watching(job, json, quiet) as tell:
        try:
            with _polite(), closing(fg.events(job)) as events:
                for event in events:
                    read = event.read if isinstance(event, Progress) else read
                    tell(event)
        except KeyboardInterrupt:
            error = Interrupted(f"stopped after frame {read}; nothing half-written is left")
            tell(Died("Interrupted", str(error), read))
            raise error from None
        except Exception as error:
            tell(Died(type(error).__name__, str(error), read))
            raise


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
