"""`cached`: results of a stage are stored by content, and computed only if they are missing."""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol

from filmgate.core.chain import is_out_of_memory
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.serialization import dumps, loads
from filmgate.core.stage import AnyStage, StageWrapper
from filmgate.errors import BadSetting

STATE_INTERVAL = 16  # frames between two stored states, which bounds what is held and recomputed
KEY_PARTS = ("source", "range", "settings", "weights", "code")

Call = tuple[Frame, ...]  # the input of one `step`; empty for `finish`
Entry = tuple[str, Any, tuple[Frame, ...]]  # kind ("ended", "state", "frames"), state, output


class ResultStore(Protocol):
    """Results by name. It may forget entries; `get` returns exactly what was put, or None."""

    def get(self, name: str) -> bytes | None:
        """Return what was stored under the name; None if it is missing or damaged."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Store data if possible; never raises if it is not."""
        ...

    def discard(self, name: str) -> None:
        """Delete an entry that could not be decoded, and count it as damaged."""
        ...


@dataclass
class MemoryStore:
    """A store in this process that evicts the least recently used above `budget_bytes`."""

    budget_bytes: int = 64 << 20
    entries: "OrderedDict[str, bytes]" = field(default_factory=OrderedDict)

    def get(self, name: str) -> bytes | None:
        if name in self.entries:
            self.entries.move_to_end(name)
        return self.entries.get(name)

    def put(self, name: str, data: bytes) -> None:
        self.entries[name] = data
        self.entries.move_to_end(name)
        while sum(map(len, self.entries.values())) > self.budget_bytes:
            self.entries.popitem(last=False)

    def discard(self, name: str) -> None:
        self.entries.pop(name, None)


@dataclass(frozen=True, slots=True)
class CacheState:
    """The state of `cached`: the name of all input so far, and the stage's state before `calls`.

    `calls` are inputs whose results were found in the store and not computed.
    """

    name: str
    state: Any
    calls: tuple[Call, ...] = ()

    @property
    def length(self) -> int:
        """The number of frames (a `finish` counts as one) that `state` is behind."""
        return sum(max(1, len(call)) for call in self.calls)


@dataclass(frozen=True)
class CachedStage(StageWrapper):
    """The stage made by `cached`."""

    store: ResultStore
    key: str
    every: int

    def start(self, spec: StreamSpec, first: Position) -> CacheState:
        name = _make_name(self.key, dumps((spec, first)))
        return CacheState(name, self.stage.start(spec, first))

    def step(self, state: CacheState, frames: Sequence[Frame]) -> tuple[CacheState, list[Frame]]:
        call = tuple(frames)
        if not call:
            return state, []
        # A state is stored with each call that passes a multiple of `every`.
        store_state = (call[-1].index + 1) // self.every > call[0].index // self.every
        after, outputs = self._run_call(state, call, store_state)
        assert after is not None
        return after, outputs

    def finish(self, state: CacheState) -> tuple[CacheState | None, list[Frame]]:
        return self._run_call(state, (), store_state=False)

    @property
    def prepares(self) -> bool:
        return False  # its results may be stored; a `step` without does that work

    def _run_call(
        self, state: CacheState, call: Call, store_state: bool
    ) -> tuple[CacheState | None, list[Frame]]:
        """Return the stored result of a call if there is one, else compute and store it."""
        name = _make_name(state.name, dumps(call))
        full = state.length + len(call) >= 2 * self.every  # no more calls may be held back
        kind, stored, outputs = self._load(name) or ("missing", (), ())
        if kind == "ended":
            return None, list(outputs)
        if kind == "state":
            return CacheState(name, stored), list(outputs)
        if kind == "frames" and not full:
            return CacheState(name, state.state, (*state.calls, call)), list(outputs)
        return self._compute(state, call, name, store_state or full)

    def _compute(
        self, state: CacheState, call: Call, name: str, store_state: bool
    ) -> tuple[CacheState | None, list[Frame]]:
        inner = state.state
        for earlier in state.calls:
            inner = self._replay(inner, earlier)
        after, outputs = self.stage.step(inner, call) if call else self.stage.finish(inner)
        kind = "ended" if after is None else "state" if store_state else "frames"
        entry: Entry = (kind, after if kind == "state" else (), tuple(outputs))
        self.store.put(name, dumps(entry))
        return None if after is None else CacheState(name, after), outputs

    def _load(self, name: str) -> Entry | None:
        data = self.store.get(name)
        if data is None:
            return None
        try:
            kind, state, outputs = loads(data)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it can be computed again
            self.store.discard(name)
            return None
        return kind, state, outputs

    def _replay(self, state: Any, call: Call) -> Any:
        """Return the state after a call whose results were found; in halves if out of memory."""
        if not call:
            return self.stage.finish(state)[0]
        try:
            return self.stage.step(state, call)[0]
        except Exception as error:
            if len(call) == 1 or not is_out_of_memory(error):
                raise
        # Outside of the handler, whose traceback keeps the failed tensors alive.
        half = len(call) // 2
        return self._replay(self._replay(state, call[:half]), call[half:])


def cached(
    stage: AnyStage, store: ResultStore, key: Mapping[str, object], *, every: int = STATE_INTERVAL
) -> CachedStage:
    """Return `stage` with its results read from `store` when present; output is bit-identical.

    `key` names everything besides the frames that affects the result (KEY_PARTS). All input
    frames so far are hashed too, so an inexact key costs hits, not correctness. The state is
    stored every `every` frames; at most `2 * every` are recomputed after a miss. Raises
    BadSetting if the key is incomplete.
    """
    missing = [part for part in KEY_PARTS if part not in key]
    if missing:
        raise BadSetting(
            f"the cache key has no {', '.join(missing)}: it needs {', '.join(KEY_PARTS)}"
        )
    if every < 1:
        raise BadSetting(f"every is {every}: wanted at least 1 frame between stored states")
    text = json.dumps(dict(key), sort_keys=True, default=str)
    return CachedStage(stage, store, _make_name(stage.name, text.encode()), every)


def _make_name(before: str, data: bytes) -> str:
    """Return a name for `data` after everything that is named `before`."""
    key = blake2b(before.encode()).digest()
    return blake2b(data, key=key, digest_size=20).hexdigest()
