"""Networks of TensorFlow Lite files, run by LiteRT on one thread of the CPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from filmgate.errors import BadWeights
from filmgate.models.people.published import require_litert

Array = npt.NDArray[np.float32]
Shapes = tuple[tuple[int, ...], ...]


class Network(Protocol):
    """A network of one square image."""

    @property
    def side(self) -> int:
        """Width and height of the image, in pixels."""
        ...

    def __call__(self, image: Array) -> tuple[Array, ...]:
        """Return the outputs for an RGB image (side, side, 3), in the range it was trained on."""
        ...


class LiteRtNetwork:
    """A network in LiteRT's interpreter. Threads take turns."""

    def __init__(self, interpreter: Any) -> None:
        (image,) = interpreter.get_input_details()
        self.side = int(image["shape"][1])
        self._input = image["index"]
        self._outputs = [output["index"] for output in interpreter.get_output_details()]
        self._interpreter, self._lock = interpreter, Lock()

    def __call__(self, image: Array) -> tuple[Array, ...]:
        with self._lock:
            self._interpreter.set_tensor(self._input, image[None])
            self._interpreter.invoke()
            return tuple(self._interpreter.get_tensor(index) for index in self._outputs)


def open_network(path: Path, shapes: Shapes, device: str) -> LiteRtNetwork:
    """Return the network in a file; `shapes` are those of its input and its outputs, in order.

    It runs on the CPU, whatever `device` is. Raises BadWeights, BadSetting without LiteRT.
    """
    interpreter = _open(path)
    found = tuple(read_shapes(interpreter).values())
    if found != shapes:
        raise BadWeights(f"{path} has tensors of the shapes {_format(found)}, wanted "
                         f"{_format(shapes)}: pass the published file")  # fmt: skip
    return LiteRtNetwork(interpreter)


def read_file_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return name and shape of the input and the outputs of a file. Raises as `open_network`."""
    return read_shapes(_open(path))


def read_shapes(interpreter: Any) -> dict[str, tuple[int, ...]]:
    """Return name and shape of an interpreter's input and outputs, in order."""
    details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    return {each["name"]: tuple(map(int, each["shape"])) for each in details}


def _open(path: Path) -> Any:
    require_litert()
    from ai_edge_litert.interpreter import Interpreter

    try:
        with _mute_libraries():
            interpreter = Interpreter(model_path=str(path), num_threads=1)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BadWeights(f"{path} is no network that LiteRT can run ({error!s:.100}): pass the "
                         "published file") from error  # fmt: skip
    return interpreter


@contextmanager
def _mute_libraries() -> Iterator[None]:
    """Drop what native code prints on standard error: LiteRT names its backend for every file."""
    with open(os.devnull, "wb") as sink:
        stderr = os.dup(2)
        try:
            os.dup2(sink.fileno(), 2)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _format(shapes: Shapes) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)
