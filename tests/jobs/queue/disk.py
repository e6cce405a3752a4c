"""A disk under SQLite that records what is written and synced, fails on request, or never syncs.

SQLite's own access to files, with three calls of each file replaced. It is registered in the
library that Python uses, under a name that a database is opened with.
"""

import atexit
import ctypes
import ctypes.util
import random
import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

VFS = "filmgate-tests"
SECTOR = 512
OK, FULL, IO_SYNC, IO_WRITE = 0, 13, 10 | 4 << 8, 10 | 3 << 8
_CREATE, _SYNC_FOLDER = 4, 1
_Pointer, _Int, _Int64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_OPEN = ctypes.CFUNCTYPE(_Int, _Pointer, _Pointer, _Pointer, _Int, _Pointer)
_DELETE = ctypes.CFUNCTYPE(_Int, _Pointer, _Pointer, _Int)
_WRITE = ctypes.CFUNCTYPE(_Int, _Pointer, _Pointer, _Int, _Int64)
_TRUNCATE = ctypes.CFUNCTYPE(_Int, _Pointer, _Int64)
_SYNC = ctypes.CFUNCTYPE(_Int, _Pointer, _Int)


class _Vfs(ctypes.Structure):
    _fields_ = [
        ("version", _Int), ("file_size", _Int), ("max_path", _Int), ("next", _Pointer),
        ("name", ctypes.c_char_p), ("data", _Pointer), ("open", _OPEN), ("delete", _DELETE),
        ("others", _Pointer * 14),
    ]  # fmt: skip


class _Methods(ctypes.Structure):
    _fields_ = [
        ("version", _Int), ("close", _Pointer), ("read", _Pointer), ("write", _WRITE),
        ("truncate", _TRUNCATE), ("sync", _SYNC), ("others", _Pointer * 13),
    ]  # fmt: skip


class Operation(NamedTuple):
    """What was done to a file: create, write, truncate, sync or delete."""

    kind: str
    name: str
    offset: int = 0  # of a write; the size of a truncation; 1: the folder was synced too
    data: bytes = b""


class Disk:
    """The state of the disk, of all databases that are opened with it.

    `on_operation` is called before each operation and returns the error to fail with, or OK.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.on_operation: Callable[[Operation], int] = lambda operation: OK
        self.really_syncs = False  # else fast, and as good unless the machine itself fails
        self._names: dict[int, str] = {}
        self._methods: dict[int, tuple[_Methods, _Methods]] = {}
        library = _load_library()
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        self._original = library.sqlite3_vfs_find(None).contents
        self._vfs = _Vfs()
        ctypes.pointer(self._vfs)[0] = self._original
        self._vfs.name, self._vfs.next = VFS.encode(), None
        self._vfs.open, self._vfs.delete = _OPEN(self._open), _DELETE(self._delete)
        library.sqlite3_vfs_register(ctypes.byref(self._vfs), 0)
        atexit.register(self._detach)

    def reset(self) -> None:
        """Forget the operations, and fail no more."""
        self.operations = []
        self.on_operation = lambda operation: OK
        self.really_syncs = False

    def _detach(self) -> None:
        """Give databases that are still open SQLite's own calls back: Python's end is near."""
        for own, original in self._methods.values():
            ctypes.pointer(own)[0] = original
        self._vfs.open, self._vfs.delete = self._original.open, self._original.delete

    def _do(self, operation: Operation, really: Callable[[], int]) -> int:
        if code := self.on_operation(operation):
            return code
        code = really()
        if code == OK:
            self.operations.append(operation)
        return code

    def _open(self, vfs: Any, name: Any, file: Any, flags: int, out: Any) -> int:
        text = "" if name is None else ctypes.string_at(name).decode()
        is_new = bool(flags & _CREATE) and bool(text) and not Path(text).exists()
        code = self._original.open(ctypes.addressof(self._original), name, file, flags, out)
        if code == OK:
            self._names[file] = Path(text).name
            address = ctypes.c_void_p.from_address(file)
            address.value = ctypes.addressof(self._replace_methods(address.value or 0))
            if is_new:
                self.operations.append(Operation("create", Path(text).name))
        return int(code)

    def _delete(self, vfs: Any, name: Any, sync_folder: int) -> int:
        operation = Operation("delete", Path(ctypes.string_at(name).decode()).name, sync_folder)
        original = self._original
        return self._do(
            operation, lambda: int(original.delete(ctypes.addressof(original), name, sync_folder))
        )

    def _replace_methods(self, address: int) -> _Methods:
        """Return a copy of a file's methods with ours in it."""
        if address not in self._methods:
            original, own = _Methods.from_address(address), _Methods()
            ctypes.pointer(own)[0] = original

            def write(file: Any, data: Any, size: int, offset: int) -> int:
                content = ctypes.string_at(data, size)
                operation = Operation("write", self._names[file], offset, content)
                return self._do(operation, lambda: int(original.write(file, data, size, offset)))

            def truncate(file: Any, size: int) -> int:
                operation = Operation("truncate", self._names[file], size)
                return self._do(operation, lambda: int(original.truncate(file, size)))

            def sync(file: Any, flags: int) -> int:
                operation = Operation("sync", self._names[file])
                return self._do(
                    operation,
                    lambda: int(original.sync(file, flags)) if self.really_syncs else OK,
                )

            own.write, own.truncate, own.sync = _WRITE(write), _TRUNCATE(truncate), _SYNC(sync)
            self._methods[address] = (own, original)
        return self._methods[address][0]


@cache
def get_disk() -> Disk | None:
    """Return the disk of this process, None if Python's SQLite is not a library of its own."""
    try:
        disk = Disk()
        sqlite3.connect(f"file:x?mode=memory&vfs={VFS}", uri=True).close()
    except (OSError, AttributeError, TypeError, sqlite3.Error):
        return None
    return disk


def _load_library() -> ctypes.CDLL:
    return ctypes.CDLL(ctypes.util.find_library("sqlite3"))


def cut_power(
    files: dict[str, bytes], operations: Sequence[Operation], random_: random.Random
) -> dict[str, bytes]:
    """Return what a disk may hold after these operations on `files` and a power cut.

    What was synced is there. Each sector of each later write is there or not; so are new names
    that were not synced, and files that were deleted.
    """
    kept = random_.choice((0.0, 0.5, 0.9, 1.0))
    left = {}
    for name in sorted({*files, *(operation.name for operation in operations)}):
        own = [operation for operation in operations if operation.name == name]
        syncs = [n for n, operation in enumerate(own) if operation.kind == "sync"]
        at = syncs[-1] + 1 if syncs else 0
        content = bytearray(files[name]) if name in files else None
        for operation in own[:at]:
            content = _apply(content, operation)
        for operation in own[at:]:
            if operation.kind == "write":
                parts = [part for part in _split(operation) if random_.random() < kept]
            else:
                is_sure = operation.kind == "delete" and operation.offset == _SYNC_FOLDER
                parts = [operation] if is_sure or random_.random() < kept else []
            for part in parts:
                if content is not None or part.kind == "create":
                    content = _apply(content, part)
        if content is not None:
            left[name] = bytes(content)
    return left


def _apply(content: bytearray | None, operation: Operation) -> bytearray | None:
    """Return the content of a file after an operation; None: there is no such file."""
    if operation.kind == "delete":
        return None
    content = bytearray() if content is None else content
    if operation.kind == "truncate":
        del content[operation.offset :]
    elif operation.kind == "write":
        content.extend(bytes(max(0, operation.offset - len(content))))
        content[operation.offset : operation.offset + len(operation.data)] = operation.data
    return content


def _split(operation: Operation) -> list[Operation]:
    """Return a write as one for each sector, which a disk writes completely or not at all."""
    parts, start, end = [], operation.offset, operation.offset + len(operation.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        data = operation.data[start - operation.offset : stop - operation.offset]
        parts.append(operation._replace(offset=start, data=data))
        start = stop
    return parts
