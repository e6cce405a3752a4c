"""`cached`: what a stage made is kept by content, and made again only where it is not there."""

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

EVERY = 16  # frames from one kept state to the next: so many are held, and made twice at most
WANTED = ("source", "range", "settings", "weights", "code")

Call = tuple[Frame, ...]  # what one `step` was given; `finish` is given nothing


class Store(Protocol):
    """Where results lie, by name. It may forget; what it gives is what was put there, or None."""

    def get(self, name: str) -> bytes | None:
        """What was put under that name; None if it is not there, or not what it was."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Keeps it if it can; never raises because it can't."""
        ...

    def damaged(self, name: str) -> None:
        """What `get` gave makes no sense: it is thrown away and counted."""
        ...


@dataclass
class Memory:
    """A store in this process that forgets the longest unused above `budget_bytes`."""

    budget_bytes: int = 64 << 20
    held: "OrderedDict[str, bytes]" = field(default_factory=OrderedDict)

    def get(self, name: str) -> bytes | None:
        if name in self.held:
            self.held.move_to_end(name)
        return self.held.get(name)

    def put(self, name: str, data: bytes) -> None:
        self.held[name] = data
        self.held.move_to_end(name)
        while sum(map(len, self.held.values())) > self.budget_bytes:
            self.held.popitem(last=False)

    def damaged(self, name: str) -> None:
        self.held.pop(name, None)


@dataclass(frozen=True, slots=True)
class CacheState:
    """What `cached` remembers: the name of all that was so far, and the stage's state.

    `state` is as old as the first of `calls`, whose results were found and never computed.
    """

    name: str
    state: Any
    calls: tuple[Call, ...] = ()

    @property
    def length(self) -> int:
        """How many frames (and ends) the state is behind."""
        return sum(max(1, len(call)) for call in self.calls)


@dataclass(frozen=True)
class CachedStage(StageWrapper):
    """See `cached`."""

    store: Store
    key: str
    every: int

    def start(self, spec: StreamSpec, first: Position) -> CacheState:
        return CacheState(_digest(self.key, dumps((spec, first))), self.stage.start(spec, first))

    def step(self, state: CacheState, frames: Sequence[Frame]) -> tuple[CacheState, list[Frame]]:
        call = tuple(frames)
        if not call:
            return state, []
        crosses = call[0].index // self.every != (call[-1].index + 1) // self.every
        after, made = self._done(state, call, crosses)
        assert after is not None
        return after, made

    def finish(self, state: CacheState) -> tuple[CacheState | None, list[Frame]]:
        return self._done(state, (), keeps_state=False)

    def _done(
        self, tape: CacheState, call: Call, keeps_state: bool
    ) -> tuple[CacheState | None, list[Frame]]:
        """One verb: found, or done and kept."""
        name = _digest(tape.name, dumps(call))
        full = tape.length + len(call) >= 2 * self.every
        found = self._found(name)
        if found is not None:
            kind, state, made = found
            if kind == "ended":
                return None, list(made)
            if kind == "state":
                return CacheState(name, state), list(made)
            if not full:
                return CacheState(name, tape.state, (*tape.calls, call)), list(made)
        state = tape.state
        for earlier in tape.calls:
            state = self._again(state, earlier)
        after, new = self.stage.step(state, call) if call else self.stage.finish(state)
        if after is None:
            self.store.put(name, dumps(("ended", (), tuple(new))))
            return None, new
        if keeps_state or full:
            self.store.put(name, dumps(("state", after, tuple(new))))
        else:
            self.store.put(name, dumps(("made", (), tuple(new))))
        return CacheState(name, after), new

    def _found(self, name: str) -> tuple[str, Any, tuple[Frame, ...]] | None:
        data = self.store.get(name)
        if data is None:
            return None
        try:
            kind, state, made = loads(data)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it can be made again
            self.store.damaged(name)
            return None
        return kind, state, made

    def _again(self, state: Any, call: Call) -> Any:
        """The state behind a call whose results were found; in halves where it no longer fits."""
        if not call:
            return self.stage.finish(state)[0]
        try:
            return self.stage.step(state, call)[0]
        except Exception as error:
            if len(call) == 1 or not is_out_of_memory(error):
                raise
        # Out here: the handler above keeps the failed tensors alive through its traceback.
        half = len(call) // 2
        return self._again(self._again(state, call[:half]), call[half:])


def cached(
    stage: AnyStage, store: Store, key: Mapping[str, object], *, every: int = EVERY
) -> CachedStage:
    """The stage, whose results are taken from `store` where they lie there; bit for bit the same.

    `key` says all that results follow from beside the frames (WANTED); a result's name is made of
    it and of all frames up to there, so a key that lies costs hits and gives no wrong picture. The
    state is kept with each `every`-th frame, so any state is right and at most 2 `every` frames
    are held; they are done again where a gap follows.
    """
    missing = [part for part in WANTED if part not in key]
    if missing:
        raise BadSetting(f"the key has no {', '.join(missing)}: wanted {', '.join(WANTED)}")
    if every < 1:
        raise BadSetting(f"every is {every}: wanted 1 frame or more between kept states")
    told = json.dumps(dict(key), sort_keys=True, default=str)
    return CachedStage(stage, store, _digest(stage.name, told.encode()), every)


def _digest(before: str, data: bytes) -> str:
    """The name of something that follows on what is called `before`."""
    key = blake2b(before.encode()).digest()
    return blake2b(data, key=key, digest_size=20).hexdigest()
