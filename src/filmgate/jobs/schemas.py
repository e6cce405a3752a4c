"""Schemas of the JSON files in a run's directory; imported only to read one, which takes time."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from filmgate.core.plan import Plan
from filmgate.jobs.run_directory import MAX_MESSAGE, MAX_MESSAGES, MAX_SNAPSHOTS
from filmgate.tasks.settings import make_adapter

MAX_OUTPUTS = 16  # of one run
_Count = Annotated[int, Field(ge=0, lt=1 << 53)]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class StoredEntry(BaseModel):
    """One snapshot in the list of commits."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    name: Annotated[str, Field(pattern=r"^\d{6,18}\.snapshot$")]
    sha256: _Hash
    frames: _Count
    written: _Count
    concealed: _Count


class StoredResult(BaseModel):
    """The file that is the complete result of an output, and what identifies its content."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    output: Annotated[int, Field(ge=0, lt=MAX_OUTPUTS)]
    name: Annotated[str, Field(pattern=r"^result\.\w{1,8}$")]
    fingerprint: dict[str, Any]


class StoredCommits(BaseModel):
    """commits.json, the latest snapshot first."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    snapshots: Annotated[list[StoredEntry], Field(min_length=1, max_length=MAX_SNAPSHOTS)]
    complete: Annotated[list[StoredResult], Field(max_length=MAX_OUTPUTS)] = []
    dropped: Annotated[
        list[Annotated[str, Field(max_length=MAX_MESSAGE)]], Field(max_length=MAX_MESSAGES)
    ] = []
    is_complete: bool = True


class StoredJob(BaseModel):
    """job.json: everything the result depends on.

    `job`: the definition; `videos`, `inputs`, `files`: what identifies its videos, the files that
    its tasks name, and weights. `given`: the user created the directory, so it is not removed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    job: dict[str, Any]
    videos: list[dict[str, Any]]
    inputs: list[dict[str, Any]]
    files: list[dict[str, Any]]
    limits: dict[str, Any]
    versions: dict[str, str]
    given: bool = False


class StoredPlan(BaseModel):
    """plan.json: the plan in use, and the source's number of frames if it is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    plan: dict[str, Any]
    frames: _Count | None = None

    def to_plan(self) -> Plan:
        """Return the plan itself. Raises ValidationError."""
        return make_adapter(Plan).validate_python(self.plan)
