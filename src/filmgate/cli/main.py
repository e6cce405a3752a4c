"""`filmgate`: its verbs, their flags, and what the process says when it ends."""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

import filmgate as fg
from filmgate.cli.commands import bench, cache, jobs, models, plan
from filmgate.cli.commands import run as act
from filmgate.cli.flags import verb, with_flags
from filmgate.cli.request import DisplayOptions, Sampled
from filmgate.errors import Exit, FilmgateError
from filmgate.jobs.options import ResumeOptions
from filmgate.planning.limits import Limits
from filmgate.tasks.job_config import job_from_toml
from filmgate.tasks.registry import registry

PLACES = "IN OUT [OPTIONS], or IN ... -o DIR [OPTIONS]"
CONVERT = "Encode a film anew, or make images of it, or a film of images."
In = Annotated[Path, Parameter(name="IN", help="The film.")]
Result = Annotated[Path, Parameter(name="OUT", help="The result; its tag tells the right times.")]
Against = Annotated[Path | None, Parameter(help="The film that it was made from.")]
SeamsToo = Annotated[
    bool, Parameter(help="Look for jumps between frames; writes a page and a plot beside OUT.")
]
Periods = Annotated[
    tuple[int, ...], Parameter(help="Look at boundaries every so many frames, as batches are long.")
]
Threshold = Annotated[
    float | None, Parameter(help="The score from which on one frame alone is a seam: 12.")
]
One = Annotated[
    Path, Parameter(name="A", help="The film to compare with, the truth if there is one.")
]
Two = Annotated[Path, Parameter(name="B", help="The film that is judged.")]
ReportPage = Annotated[Path | None, Parameter(help="Where the page goes; its plot lies beside.")]
JobFile = Annotated[
    Path,
    Parameter(name="JOB", help="TOML with input, output, seed and [[tasks]], paths beside it."),
]
Json = Annotated[bool, Parameter(help="Say it as JSON on standard output.")]
Quiet = Annotated[bool, Parameter(help="Say nothing but warnings and errors.")]


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
    """The verbs: one for each task that there is, and what there is beside."""
    app = App(
        name="filmgate",
        help="Video AI over films of any length, inside a fixed memory budget.",
        version=fg.__version__,
        default_parameter=Parameter(negative=()),
        result_action="return_value",
    )
    below = {"plan": plan.planned, "bench": bench.benched}
    above = {"plan": App(name="plan", help=plan.HELP), "bench": App(name="bench", help=bench.HELP)}
    for name, task in {**registry(), "convert": None}.items():
        does = str(task.__doc__) if task else CONVERT
        usage = f"Usage: filmgate {name} {PLACES}\n"
        app.command(verb(task, does, act.do, (Sampled,)), name=name, usage=usage)
        for first, does_so in below.items():
            usage = f"Usage: filmgate {first} {name} IN [OUT] [OPTIONS]\n"
            above[first].command(verb(task, does, does_so), name=name, usage=usage)
    for group in above.values():
        app.command(group)
    app.command(jobs.verbs())
    app.command(models.verbs())
    app.command(cache.verbs())
    app.command(with_flags(run, Limits, ResumeOptions, DisplayOptions), name="run")
    app.command(with_flags(jobs.resume, DisplayOptions), name="resume")
    for other in (probe, check, compare, doctor):
        app.command(other)
    return app


def run(job: JobFile, /, limits: Limits, durable: ResumeOptions, shown: DisplayOptions) -> Exit:
    """Do what a job file says: several tasks in one pass."""
    return act.do_one(job_from_toml(job), limits, durable, shown)


def probe(video: In, /, *, json: Json = False) -> None:
    """Show what is in a film: its streams, times, chapters and metadata."""
    from filmgate.cli.views import reports
    from filmgate.media.probe import probe as look

    reports.contents(look(video), json)


def check(
    out: Result, /, *, against: Against = None, seams: SeamsToo = False, period: Periods = (),
    threshold: Threshold = None, report: ReportPage = None, json: Json = False,
) -> Exit:  # fmt: skip
    """Check a result: every time, sync with sound, streams, tags; or whether it shows seams. Exit
    code 1 if it is wrong."""
    from filmgate.cli.commands import check as judge

    return judge.checked(out, against, seams, period, threshold, report, json)


def compare(a: One, b: Two, /, *, report: ReportPage = None, json: Json = False) -> Exit:
    """Compare two films of one size, frame by frame: PSNR, SSIM, motion, flicker; VMAF and LPIPS
    where they are installed."""
    from filmgate.cli.commands import check as judge

    return judge.compared(a, b, report, json)


def doctor(*, json: Json = False) -> Exit:
    """Look at this machine: what is there, what is missing and how to get it."""
    from filmgate.cli.commands import doctor

    found = doctor.examine(Path.cwd())
    doctor.examination(found, json)
    return Exit.DONE if all(item.ok for item in found) else Exit.VERDICT_NO


if __name__ == "__main__":
    sys.exit(main())
