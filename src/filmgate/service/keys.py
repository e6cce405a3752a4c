"""API keys of a service: `fg_ID_SECRET`, of which only a hash is stored, in `keys.json`."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hmac import compare_digest
from pathlib import Path

from filmgate.errors import BadSetting, DiskFull
from filmgate.jobs.queue.checks import NAME
from filmgate.storage.atomic import write_atomic
from filmgate.storage.file_lock import hold_lock
from filmgate.tasks.settings import make_adapter

FILE_NAME = "keys.json"
_KEY = re.compile(r"fg_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_MAX_BYTES = 4 << 20


class Scope(StrEnum):
    """What a key allows."""

    READ = "read"  # see the tenant's jobs and uploads, download results
    SUBMIT = "submit"  # upload, plan, submit, cancel
    ADMIN = "admin"  # see and cancel the jobs of all tenants
    METRICS = "metrics"  # read the service's figures


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is stored. `tenant`: whose jobs and uploads it sees; several keys may share it.

    `requests_per_minute`: more are refused for a while.
    """

    id: str
    sha256: str
    tenant: str
    scopes: tuple[Scope, ...]
    requests_per_minute: int
    created: str


@dataclass(frozen=True, slots=True)
class _KeyFile:
    version: int
    keys: tuple[ApiKey, ...]


class KeyStore:
    """The keys in the folder of a service; a change by another process is seen at once."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._seen: tuple[int, int, int] | None = None
        self._keys: tuple[ApiKey, ...] = ()

    def read(self) -> tuple[ApiKey, ...]:
        """Return all keys. Raises BadSetting if the file is damaged."""
        try:
            stat = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise self._explain(error.strerror or "it cannot be read") from error
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if seen != self._seen:
            self._keys = self._load()
            self._seen = seen
        return self._keys

    def find(self, text: str) -> ApiKey | None:
        """Return the key that a client sent, None if it is not one of these."""
        if not (match := _KEY.fullmatch(text)):
            return None
        sha256 = hash_secret(match[2])
        found = [key for key in self.read() if key.id == match[1]]
        return found[0] if found and compare_digest(found[0].sha256, sha256) else None

    def add(
        self, tenant: str, scopes: tuple[Scope, ...], requests_per_minute: int = 600
    ) -> tuple[ApiKey, str]:
        """Add a key and return it with its text, which is stored nowhere. Raises BadSetting."""
        if not re.fullmatch(NAME, tenant, re.ASCII):
            raise BadSetting(f"tenant is {tenant!r:.80}: pass letters, digits and . _ @ : -")
        if not scopes:
            raise BadSetting(f"the key has no scope: pass some of {', '.join(Scope)}")
        if not 1 <= requests_per_minute <= 1_000_000:
            raise BadSetting(f"requests_per_minute is {requests_per_minute}: pass 1 to 1000000")
        secret = secrets.token_urlsafe(32)
        key = ApiKey(
            id=secrets.token_hex(6),
            sha256=hash_secret(secret),
            tenant=tenant,
            scopes=tuple(dict.fromkeys(scopes)),
            requests_per_minute=requests_per_minute,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._change(lambda keys: (*keys, key))
        return key, f"fg_{key.id}_{secret}"

    def remove(self, key_id: str) -> ApiKey:
        """Remove a key, which is refused from then on. Raises BadSetting if there is none."""
        found = [key for key in self.read() if key.id == key_id]
        if not found:
            raise BadSetting(f"there is no key {key_id!r:.40}: filmgate keys lists them")
        self._change(lambda keys: tuple(key for key in keys if key.id != key_id))
        return found[0]

    def _change(self, change: Callable[[tuple[ApiKey, ...]], tuple[ApiKey, ...]]) -> None:
        folder = self._path.parent
        with _translate(self._path):
            folder.mkdir(parents=True, exist_ok=True)
            with hold_lock(folder / f"{FILE_NAME}.lock", lambda: None):
                keys = change(self._load() if self._path.exists() else ())
                data = make_adapter(_KeyFile).dump_json(_KeyFile(1, keys), indent=1)
                write_atomic(self._path, data)
                self._path.chmod(0o600)
        self._seen = None

    def _load(self) -> tuple[ApiKey, ...]:
        from pydantic import ValidationError

        try:
            with self._path.open("rb") as file:
                stored = make_adapter(_KeyFile).validate_json(file.read(_MAX_BYTES))
        except ValidationError as error:
            raise self._explain("it is not a file of keys") from error
        except OSError as error:
            raise self._explain(error.strerror or "it cannot be read") from error
        if stored.version != 1:
            raise self._explain(f"it is of version {stored.version}, wanted 1")
        return stored.keys

    def _explain(self, problem: str) -> BadSetting:
        return BadSetting(f"{self._path} is damaged: {problem}. Restore it from a copy, or delete "
                          "it and add keys again")  # fmt: skip


def hash_secret(secret: str) -> str:
    """Return the hash that is stored; a secret of 32 random bytes needs no slow one."""
    return hashlib.sha256(secret.encode()).hexdigest()


@contextmanager
def _translate(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskFull.of(path, error) from error
