"""What a job of a client may name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from filmgate.errors import BadField
from filmgate.media.frame_counter import FrameCounter
from filmgate.planning.limits import Limits
from filmgate.service.schema import OPERATOR_FIELDS, JobDefinition, parse_definition
from filmgate.tasks.job_config import SINKS, SOURCES


def names_files(hint: Any) -> bool:
    return hint is Path or any(names_files(part) for part in get_args(hint))


@pytest.mark.parametrize("cls", [*SOURCES, *SINKS, Limits, FrameCounter])
def test_every_setting_that_names_files_is_resolved_or_refused(cls: type[Any]) -> None:
    """Otherwise a client reads any file of the server, also those that others uploaded."""
    own = {name for name, hint in get_type_hints(cls).items() if names_files(hint)}
    assert own - {"path"} <= set(OPERATOR_FIELDS)


@pytest.mark.parametrize("tasks", [[], [{"task": "interpolate", "factor": 2}]])
def test_frames_without_images_need_a_task_that_generates(
    tasks: list[dict[str, Any]], tmp_path: Path
) -> None:
    form = {"source": {"frames": 5}, "tasks": tasks}
    with pytest.raises(BadField, match="pass the id of an upload") as found:
        JobDefinition.from_json(form).make_job(tmp_path)
    assert found.value.pointer == "/source"


@pytest.mark.parametrize("name", ["join", "spool"])
def test_files_of_the_server_are_refused_with_the_place(name: str) -> None:
    source = {"upload": "a" * 32, name: ["/etc/passwd"]}
    with pytest.raises(BadField, match="omit it") as found:
        parse_definition({"source": source}, lambda _: Path("/uploads/a.data"))
    assert found.value.pointer == f"/source/{name}"
