"""Which files a client may name: its own uploads, and files in folders that the operator allows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from filmgate.errors import BadSetting, UnknownUpload
from filmgate.service.schema import Resolve
from filmgate.service.uploads.store import UploadStore
from filmgate.service.views import JobView


def is_foreign_share(path: PurePath, allowed: Iterable[PurePath]) -> bool:
    """Return whether a path leads to another machine on Windows than an allowed folder does.

    Looking at such a path would already log in there, with the account of the server.
    """
    drive = path.drive.lower()
    return drive.startswith("\\\\") and drive not in {root.drive.lower() for root in allowed}


class InputFiles:
    """Turns references into paths, and paths into references."""

    def __init__(self, uploads: UploadStore, allowed: Sequence[Path], folder: Path) -> None:
        """`folder` is that of the service, whose place clients need not know."""
        self._uploads, self._folder = uploads, str(folder)
        self._uploads_start = f"{uploads.folder}{os.sep}"
        self._allowed = tuple(path.resolve() for path in allowed)

    def get_resolver(self, tenant: str) -> Resolve:
        """Return what finds the files that this tenant names. It raises UserError."""
        return partial(self._resolve, tenant)

    def hide_places(self, value: Any) -> Any:
        """Return plain values with the places of the service's files taken out of texts."""
        if isinstance(value, str):
            return value.replace(f"{self._folder}/", "").replace(self._folder, "")
        if isinstance(value, Mapping):
            return {name: self.hide_places(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.hide_places(item) for item in value]
        return value

    def describe_definition(self, value: Any) -> Any:
        """Return a stored definition as its client wrote it: uploads by their ids."""
        if isinstance(value, Mapping):
            path = value.get("path")
            own = {name: self.describe_definition(item) for name, item in value.items()}
            if isinstance(path, str) and self._is_upload(path):
                return {"upload": Path(path).stem, **{k: v for k, v in own.items() if k != "path"}}
            return own
        if isinstance(value, list | tuple):
            return [self.describe_definition(item) for item in value]
        if isinstance(value, str) and self._is_upload(value):
            return {"upload": Path(value).stem}
        return value

    def find_uploads(self, value: Any) -> set[Path]:
        """Return the files of uploads that a stored definition names."""
        if isinstance(value, Mapping):
            return set().union(*(self.find_uploads(item) for item in value.values()))
        if isinstance(value, list | tuple):
            return set().union(*(self.find_uploads(item) for item in value))
        return {Path(value)} if isinstance(value, str) and self._is_upload(value) else set()

    def name_result(self, job: JobView, name: str) -> str:
        """Return what a result is called when it is saved: after its upload, else `name`."""
        source, listed = job.definition.get("source"), job.definition.get("tasks")
        place = Path(str(source.get("path", ""))) if isinstance(source, Mapping) else Path()
        if place.parent != self._uploads.folder or not isinstance(listed, list | tuple):
            return name
        try:
            upload = self._uploads.get(job.tenant, place.stem)
        except UnknownUpload:
            return name
        tasks = "-".join(str(task["task"]) for task in listed) or "converted"
        return f"{Path(upload.name).stem or 'video'}-{tasks}{Path(name).suffix}"

    def _is_upload(self, text: str) -> bool:
        """Return whether a stored text is the path of an upload, as `resolve` returned it."""
        return text.startswith(self._uploads_start) and Path(text).parent == self._uploads.folder

    def _resolve(self, tenant: str, reference: Mapping[str, str]) -> Path:
        if "upload" in reference:
            return self._uploads.resolve(tenant, reference["upload"])
        return self._find_allowed(reference["path"])

    def _find_allowed(self, text: str) -> Path:
        """Return the real path of a file below an allowed folder, links followed.

        What is elsewhere is refused with the same words, whether it exists or not.
        """
        if not self._allowed:
            raise BadSetting(
                "path names a file of the server, and its operator allowed no folder: upload the "
                "file, or start the server with --allow FOLDER"
            )
        try:
            named = Path(text)
            if is_foreign_share(named, self._allowed):
                raise ValueError("it is not opened")
            path = named.resolve()
            is_allowed = named.is_absolute() and any(
                path != root and path.is_relative_to(root) for root in self._allowed
            )
        except (OSError, ValueError, RuntimeError):  # a name that is too long, a circle of links
            is_allowed = False
        if not is_allowed:
            raise BadSetting("path is not in a folder that the operator of the server allowed: "
                             "pass an absolute path below one, or upload the file")  # fmt: skip
        if not path.exists():
            raise BadSetting("path names nothing that exists: check the name")
        return path
