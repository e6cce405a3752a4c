"""`filmgate submit`: run a task on a service, with the flags that the task has here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from filmgate.cli.commands.convert import HELP as CONVERT
from filmgate.cli.flags import Owner
from filmgate.cli.remote import (
    DISPLAY,
    SERVER,
    RemoteDisplay,
    ServerOptions,
    choose_exit,
    connect,
    fetch,
    follow,
    print_json,
    say,
)
from filmgate.cli.request import Request
from filmgate.cli.task_flags import SHARED, TaskFlags, build_task_command
from filmgate.errors import BadSetting, Exit, OutputExists
from filmgate.jobs.queue.values import JobClass
from filmgate.storage.fingerprint import ignore_progress
from filmgate.tasks.model_task import ModelTask
from filmgate.tasks.registry import load_tasks

if TYPE_CHECKING:
    from filmgate.core.job import Job
    from filmgate.service.client import Client

HELP = "Run a task on a service; with a name for the result, wait for it."


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """How urgent a job is; each field is a flag."""

    job_class: JobClass = JobClass.BATCH
    """How urgent it is: live, interactive or batch."""

    priority: int = 0
    """Order among one's own jobs, -100 to 100, larger first."""

    expires_after: float | None = None
    """Seconds in which it must start. Default: it waits for ever."""


_SUBMIT = Owner("Service", (SubmitOptions,))


def build_app(words: Sequence[str]) -> App:
    """Return `submit`, with a command for each task below it, or for the one that `words` name."""
    app, tasks = App(name="submit", help=HELP), {**load_tasks(), "convert": None}
    foreign = {
        "join",
        "sample",
        "work",
        "json",
    }  # of owners whose settings are for runs of this process
    owners = [owner for owner in SHARED if foreign.isdisjoint(owner.names)]
    for name in set(words[1:2]) & set(tasks) or tasks:
        task = tasks[name]
        makes_records = bool(task and issubclass(task, ModelTask) and task.makes_records)
        unnamed = Path("result.jsonl" if makes_records else "result.mp4")

        def run(request: Request, unnamed: Path = unnamed) -> Exit:
            return submit(request, has_result=request.paths[-1] is not unnamed)

        command = build_task_command(task, str(task.__doc__) if task else CONVERT, run, words,
                                     [*owners, SERVER, _SUBMIT, DISPLAY], unnamed)  # fmt: skip
        usage = TaskFlags(task).format_usage(f"submit {name}", "[OUT]")
        app.command(command, name=name, usage=usage)
    return app


def submit(request: Request, *, has_result: bool) -> Exit:
    """Submit each job of a request; with names for the results, wait for them and download them."""
    from filmgate.cli.paths import check_paths

    for flag, _ in request.more_outputs.given:
        raise BadSetting(f"{flag} is a second output, and a job of a service has one: omit it")
    jobs = request.build_jobs()
    for job in jobs.values() if has_result else ():
        check_paths(job)
        _refuse_existing(job)
    options = SubmitOptions(**_SUBMIT.select(request.values))
    display = RemoteDisplay(**DISPLAY.select(request.values))
    with connect(ServerOptions(**SERVER.select(request.values))) as client:
        ids = [_send(client, job, request, options, display) for job in jobs.values()]
        if not has_result:
            for job_id in ids:
                say(display, f"To watch it: filmgate watch {job_id}. To download its result: "
                             f"filmgate get {job_id}")  # fmt: skip
            return Exit.DONE
        codes = [_bring(client, job_id, job, display)
                 for job_id, job in zip(ids, jobs.values(), strict=True)]  # fmt: skip
    return next((code for code in codes if code != Exit.DONE), Exit.DONE)


def _send(
    client: Client, job: Job, request: Request, options: SubmitOptions, display: RemoteDisplay
) -> str:
    """Upload the inputs of a job, submit it and return its id."""
    from filmgate.cli.views.transfer import show_transfer

    with nullcontext(ignore_progress) if display.is_silent else show_transfer() as show:
        sent = client.submit(job, limits=request.limits, job_class=options.job_class,
                             priority=options.priority, expires_after_s=options.expires_after,
                             on_progress=show)  # fmt: skip
    if display.json:
        print_json(sent)
    else:
        print(sent.id, flush=True)
    return sent.id


def _bring(client: Client, job_id: str, job: Job, display: RemoteDisplay) -> Exit:
    """Wait for a job and download its result to where the user wants it."""
    result = follow(client, job_id, display).check()
    path = Path(job.sink.path)
    fetch(client, job_id, path, overwrite=bool(getattr(job.sink, "overwrite", False)),
          display=display)  # fmt: skip
    say(display, str(path))
    return choose_exit(result)


def _refuse_existing(job: Job) -> None:
    """Raise OutputExists before anything is uploaded."""
    path = Path(job.sink.path)
    if path.exists() and not getattr(job.sink, "overwrite", False):
        raise OutputExists(f"{path} exists: choose another name, or pass --overwrite")
