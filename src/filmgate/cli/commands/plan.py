"""The plan, before anything runs: where memory and seconds would go, and why each knob stands."""

import json as json_
from dataclasses import replace

from rich.console import Console

from filmgate.cli.request import Request, jobs_of
from filmgate.cli.views import memory_view
from filmgate.cli.views.plan_view import show
from filmgate.core.job import Job
from filmgate.errors import BadWeights, Exit
from filmgate.planning import device_memory
from filmgate.planning.disk import foreseen
from filmgate.planning.fit import fit
from filmgate.units import parse_bytes

HELP = "Show where memory and time would go, and why, before anything runs."


def planned(order: Request) -> Exit:
    """Shows the plan of each job that is asked for, and runs none."""
    places = order.places
    if len(places) == 1 and order.out is None:
        places = (places[0], places[0].with_name(f"{places[0].stem}.result.mp4"))
    jobs = jobs_of(replace(order, places=places))
    for name, job in jobs.items():
        if len(jobs) > 1 and not order.shown.json:
            print(name)
        if device_memory.elsewhere(job, order.limits) and _predicted(job, order, "no card is here"):
            continue
        try:
            found = fit(job, order.limits)
        except BadWeights as error:
            if not _predicted(job, order, str(error)):
                raise
            continue
        show(found, order.shown.json, foreseen(found))
    return Exit.DONE


def _predicted(job: Job, order: Request, why: str) -> bool:
    """Shows what a card would hold, where the parts can't be tried; False: nobody can say."""
    with Console(stderr=True).status("predicting, of shapes alone"):
        told = device_memory.foreseen(job)
    if told is None:
        return False
    card = parse_bytes(order.limits.vram) if order.limits.vram else None
    if order.shown.json:
        print(json_.dumps(memory_view.as_json(*told, card, why)))
    else:
        Console(highlight=False).print(memory_view.drawn(*told, card, why))
    return True
