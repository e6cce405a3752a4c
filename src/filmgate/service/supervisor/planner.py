"""Predict what jobs take, in a child process that is kept for the next one."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait
from time import monotonic
from typing import Any

from filmgate.backends.child_text import ChildText
from filmgate.backends.spawn import ChildProcess, Workers
from filmgate.backends.worker_process import RemoteError
from filmgate.errors import DoesNotFit, NotPlanned
from filmgate.jobs.scheduler.capacity import Machine
from filmgate.service.logs import ServiceLog
from filmgate.service.schema import JobDefinition
from filmgate.service.settings import ServiceSettings
from filmgate.service.views import JobPlan
from filmgate.service.worker.pins import find_pinned_bytes
from filmgate.service.worker.planning import PlanRequest, plan_jobs

_KEPT_PLANS = 1000
_PLANS_OF_A_PROCESS = 100  # after which it is replaced: decoders and torch keep some memory


class PlannerProcess:
    """A `Planner` whose process starts with the first job; a death of it is an answer too."""

    def __init__(self, settings: ServiceSettings, log: ServiceLog) -> None:
        self._settings, self._log = settings, log
        self._lock = threading.Lock()
        self._child: ChildProcess | None = None
        self._text: ChildText | None = None
        self._count = 0
        self._is_closed = False
        self._plans: OrderedDict[Hashable, JobPlan | DoesNotFit] = OrderedDict()

    def find_known(self, definition: JobDefinition, machine: Machine) -> JobPlan | None:
        """Return what was predicted before, at once; None if nothing was. Raises DoesNotFit."""
        return _check(self._plans.get(_identify(definition, machine)))

    def plan(self, definition: JobDefinition, machine: Machine) -> JobPlan:
        """Return what the job takes on this machine. Raises UserError, NotPlanned."""
        key = _identify(definition, machine)
        end_s = monotonic() + self._settings.plan_s
        found = _check(self._plans.get(key))
        if found is not None:
            return found
        if not self._lock.acquire(timeout=self._settings.plan_s):
            raise NotPlanned(f"other jobs were planned for {self._settings.plan_s:g} s: try again")
        try:
            found = _check(self._plans.get(key))
            if found is None:
                try:
                    found = self._ask(definition, machine, end_s)
                except DoesNotFit as error:
                    self._keep(key, error)
                    raise
                self._keep(key, found)
            return found
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the process; a prediction that it makes ends as NotPlanned."""
        self._is_closed = True
        if child := self._child:
            child.process.kill()
        with self._lock:
            self._end_child()

    def _keep(self, key: Hashable, found: JobPlan | DoesNotFit) -> None:
        self._plans[key] = found
        while len(self._plans) > _KEPT_PLANS:
            self._plans.popitem(last=False)

    def _ask(self, definition: JobDefinition, machine: Machine, end_s: float) -> JobPlan:
        device = max((device.usable_bytes for device in machine.devices), default=0)
        request = PlanRequest(
            definition=definition.to_json(), folder=self._settings.folder.absolute(),
            host_bytes=machine.usable_host_bytes + (
                0 if device else find_pinned_bytes(definition, machine)
            ),
            device_bytes=device or None,
        )  # fmt: skip
        if self._is_closed:
            raise NotPlanned("the service ends: ask the next one")
        child = self._take_child()
        with suppress(OSError):
            child.control.send(request)
        answer = self._receive(child, end_s)
        self._count += 1
        if isinstance(answer, RemoteError):
            raise answer.to_error()
        return answer

    def _receive(self, child: ChildProcess, end_s: float) -> JobPlan | RemoteError:
        text = self._text
        assert text is not None, "it was started"
        while (left_s := end_s - monotonic()) > 0:
            ready = wait([child.messages, *text.pipes], left_s)
            text.read(ready)
            if child.messages in ready:
                try:
                    answer: JobPlan | RemoteError = child.messages.recv()
                except (EOFError, OSError):
                    break
                return answer
        else:
            text.request_stack()
            stack = text.stack
            self._end_child()
            self._log.warning("plan_hung", seconds=self._settings.plan_s, stack=stack)
            raise NotPlanned(f"predicting the job took more than {self._settings.plan_s:g} s: it "
                             "would run alone")  # fmt: skip
        child.process.join(5.0)
        cause, hint = text.explain_end()
        self._log.warning("planner_died", cause=cause, hint=hint, lines=list(text.lines))
        self._end_child()
        raise NotPlanned(f"the process that predicts the job died: {cause}{hint and '; ' + hint}. "
                         "The input may be harmful")  # fmt: skip

    def _take_child(self) -> ChildProcess:
        if self._child is not None and (
            self._count >= _PLANS_OF_A_PROCESS or not self._child.process.is_alive()
        ):
            self._end_child()
        if self._child is None:
            self._child, self._count = Workers().take(), 0
            self._text = ChildText(self._child, lambda text: None)
            self._child.control.send((plan_jobs,))
        return self._child

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = self._text = None


def _check(found: JobPlan | DoesNotFit | None) -> JobPlan | None:
    """Return a plan that was found. Raises DoesNotFit, if that was found."""
    if isinstance(found, DoesNotFit):
        raise DoesNotFit(str(found), found.needed_bytes)
    return found


def _identify(definition: JobDefinition, machine: Machine) -> Hashable:
    """Return what makes two plans the same: the job, the content of its inputs, the budget."""
    files = []
    for path in definition.inputs.values():
        with suppress(OSError):
            stat = os.stat(path)
            files.append((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    form: Any = json.dumps(definition.to_json(), sort_keys=True, default=str)
    budget = replace(machine, devices=tuple(replace(d, resident_bytes=0) for d in machine.devices))
    return form, tuple(files), budget.devices, budget.host_budget_bytes
