"""Who calls, what they may do, and how often."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from filmgate.service.api.problems import Problem
from filmgate.service.keys import ApiKey, KeyStore, Scope

LOCAL_TENANT = "local"
LINK_S = 600.0  # how long a link works
_MAX_KEYS = 10_000
_LINK = re.compile(r"([0-9a-f]{2}){1,400}\.[0-9]{1,15}\.[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a request. `key_id`: "" without keys."""

    tenant: str
    scopes: frozenset[Scope]
    key_id: str = ""

    def require(self, scope: Scope) -> None:
        """Raise Problem if the caller may not do this."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            raise Problem("not-allowed", f"the key has the scopes {_join(self.scopes)}, wanted "
                          f"{scope}: use a key that has it")  # fmt: skip

    def sees(self, tenant: str) -> bool:
        """Return whether the caller may see what belongs to a tenant."""
        return tenant == self.tenant or Scope.ADMIN in self.scopes


class Gatekeeper:
    """Checks keys, counts requests, and signs links. Safe to call from any thread."""

    def __init__(self, keys: KeyStore, clock: Callable[[], float], *, needs_key: bool) -> None:
        """`clock` gives monotonic seconds. `needs_key`: also while there is no key."""
        self._keys, self._clock, self._needs_key = keys, clock, needs_key
        self._secret = secrets.token_bytes(32)  # links end with the server
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def identify(self, authorization: str | None) -> Caller:
        """Return who sent this Authorization header. Raises Problem.

        Without any key in the store everybody who reaches the server may do everything.
        """
        if not self._needs_key and not self._keys.read():
            return Caller(LOCAL_TENANT, frozenset(Scope))
        scheme, _, text = (authorization or "").partition(" ")
        key = self._keys.find(text.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            what = "has no API key" if not authorization else "has a key that is not valid"
            raise Problem("no-key", f"the request {what}: send Authorization: Bearer fg_...",
                          headers={"WWW-Authenticate": 'Bearer realm="filmgate"'})  # fmt: skip
        self._count(key)
        return Caller(key.tenant, frozenset(key.scopes), key.id)

    def sign_link(self, job_id: str, tenant: str) -> str:
        """Return a token that opens the result and the preview of one job for ten minutes."""
        return self._sign(job_id, tenant, int(self._clock() + LINK_S))

    def check_link(self, job_id: str, token: str) -> Caller:
        """Return who may use a token. Raises Problem."""
        name, until, _ = (*token.split("."), "", "")[:3]
        if _LINK.fullmatch(token):
            tenant = bytes.fromhex(name).decode(errors="replace")
            is_ours = hmac.compare_digest(self._sign(job_id, tenant, int(until)), token)
            if is_ours and self._clock() < int(until):
                return Caller(tenant, frozenset({Scope.READ}))
        raise Problem("no-key", "the link is not valid, or not any more: ask for a new one")

    def _sign(self, job_id: str, tenant: str, until_s: int) -> str:
        text = f"{tenant.encode().hex()}.{until_s}"
        mac = hmac.new(self._secret, f"{job_id}.{text}".encode(), hashlib.sha256)
        return f"{text}.{mac.hexdigest()}"

    def _count(self, key: ApiKey) -> None:
        """Take one request from the key's bucket, which a minute fills. Raises Problem."""
        most, now = float(key.requests_per_minute), self._clock()
        with self._lock:
            left, then = self._buckets.get(key.id, (most, now))
            left = min(most, left + (now - then) * most / 60)
            self._buckets[key.id] = (max(0.0, left - 1), now)
            if len(self._buckets) > _MAX_KEYS:
                self._buckets.pop(next(iter(self._buckets)))
        if left < 1:
            raise Problem(
                "too-many-requests",
                f"the key may make {key.requests_per_minute} requests a minute: slow down",
                retry_after_s=(1 - left) * 60 / most,
            )


def _join(scopes: frozenset[Scope]) -> str:
    return ", ".join(sorted(scopes)) or "none"
