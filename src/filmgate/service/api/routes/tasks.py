"""What jobs may ask for: forms for people, and schemas for programs, from the same dataclasses."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from filmgate.jobs.queue.checks import MAX_PRIORITY
from filmgate.jobs.queue.values import JobClass
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.options import VIDEO_SUFFIXES
from filmgate.media.records.formats import SUFFIXES as RECORD_SUFFIXES
from filmgate.media.sinks import RecordOutput, VideoOutput
from filmgate.media.sources import ImageSequence, VideoFile
from filmgate.planning.limits import Limits
from filmgate.service.api.context import Reader, describe_problems
from filmgate.service.documents.task_forms import describe_fields, describe_task, make_task_schemas
from filmgate.service.schema import MAX_TASKS, OPERATOR_FIELDS, OUTPUT_SUFFIXES
from filmgate.tasks.registry import load_tasks

router = APIRouter(tags=["tasks"])
_OF_OUTPUT = (*OPERATOR_FIELDS, "path", "container")


@router.get(
    "/v1/tasks",
    operation_id="list_tasks",
    responses={
        200: {"content": {"application/json": {"schema": {"type": "object"}}}},
        **describe_problems(),
    },
)
async def list_tasks(caller: Reader) -> JSONResponse:
    """Return what each task, inputs, outputs and limits take: names, types, defaults, texts."""
    return JSONResponse(await run_in_threadpool(describe_all))


def describe_all() -> dict[str, Any]:
    """Return the forms of everything that a job has."""
    return {
        "tasks": [describe_task(name, cls) for name, cls in load_tasks().items()],
        "source": describe_fields(VideoFile, without=_OF_OUTPUT),
        "generated_source": describe_fields(FrameCounter),
        "output": {
            "video": describe_fields(VideoOutput, without=_OF_OUTPUT),
            "records": describe_fields(RecordOutput, without=_OF_OUTPUT),
            "suffixes": {"video": list(VIDEO_SUFFIXES), "records": list(RECORD_SUFFIXES)},
        },
        "limits": describe_fields(Limits),
        "classes": list(JobClass),
    }


@cache
def make_schemas() -> dict[str, Any]:
    """Return the schemas of requests for OpenAPI, by their names; those of tasks by `Task_NAME`."""
    tasks = make_task_schemas()
    definition: dict[str, Any] = {
        "source": {"$ref": "#/components/schemas/Source"},
        "tasks": {
            "type": "array",
            "maxItems": MAX_TASKS,
            "items": {"anyOf": [{"$ref": f"#/components/schemas/Task_{name}"} for name in tasks]},
        },
        "output": {"$ref": "#/components/schemas/Output"},
        "seed": {"type": "integer", "minimum": -(2**63) + 1, "maximum": 2**63 - 1, "default": 0},
        "limits": _make_object(describe_fields(Limits)),
    }
    urgency: dict[str, Any] = {
        "class": {"enum": list(JobClass), "default": JobClass.BATCH},
        "priority": {
            "type": "integer", "minimum": -MAX_PRIORITY, "maximum": MAX_PRIORITY, "default": 0,
        },
        "expires_after_s": {
            "type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1e9, "default": None,
        },
    }  # fmt: skip
    return {
        **{f"Task_{name}": schema for name, schema in tasks.items()},
        "Reference": _make_reference({}),
        "Source": _make_source(),
        "Output": _make_output(),
        "JobDefinition": _make_object(definition, ["source"]),
        "JobSubmission": _make_object({**definition, **urgency}, ["source"]),
    }


def _make_object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def _make_reference(more: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a reference to a file, with further settings of it."""
    upload = {"type": "string", "description": "Id of an upload.", "pattern": "^[0-9a-f]{32}$"}
    path = {
        "type": "string",
        "minLength": 1,
        "maxLength": 4000,
        "description": "Absolute path on the server, in a folder that its operator allowed.",
    }
    return {
        "anyOf": [
            _make_object({"upload": upload, **more}, ["upload"]),
            _make_object({"path": path, **more}, ["path"]),
        ]
    }


def _make_source() -> dict[str, Any]:
    images = describe_fields(ImageSequence, without=_OF_OUTPUT)
    reference = _make_reference({**describe_fields(VideoFile, without=_OF_OUTPUT), **images})
    counter = _make_object(describe_fields(FrameCounter), ["frames"])
    return {"anyOf": [*reference["anyOf"], counter]}


def _make_output() -> dict[str, Any]:
    settings = describe_fields(VideoOutput, without=_OF_OUTPUT)
    return _make_object({"suffix": {"enum": list(OUTPUT_SUFFIXES)}, **settings})
