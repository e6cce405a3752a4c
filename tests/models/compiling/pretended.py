"""Packages without compiling: they hold no code, and their networks run as they are."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from filmgate.models.compiling import packages
from filmgate.models.compiling.network import StaticNetwork


class Runner:
    """In place of a loaded package: the network with the tensors that it was given."""

    def __init__(self, network: StaticNetwork) -> None:
        self.network, self.constants = network, dict[str, Tensor]()

    def get_constant_fqns(self) -> list[str]:
        return sorted(self.network.tensors)

    def load_constants(self, constants: dict[str, Tensor], *flags: bool) -> None:
        assert flags == (False, True, True)  # active, all of them, and not copied
        self.constants = constants

    def run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        assert all(one.is_contiguous() for one in inputs)
        before = [one.clone() for one in inputs]
        made = torch.func.functional_call(self.network.net, self.constants, tuple(inputs))
        assert all(map(torch.equal, before, inputs))  # a compiled network changes no input
        return [made] if isinstance(made, Tensor) else list(made)


@dataclass
class Pretended:
    """The names of the networks that were built and opened, in order."""

    built: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)

    def build(self, network: StaticNetwork) -> bytes:
        self.built.append(network.name)
        return f"package of {network.name}".encode()

    def open(self, network: StaticNetwork, path: Path) -> Any:
        if path.read_bytes() != f"package of {network.name}".encode():
            raise RuntimeError("no such model in the package\nand more")
        self.opened.append(network.name)
        return Runner(network)


@contextmanager
def pretend(folder: Path) -> Iterator[Pretended]:
    """Compile nothing inside the `with`; packages are kept in a cache in `folder`."""
    pretended = Pretended()
    with (
        patch.dict(os.environ, {"FILMGATE_CACHE": str(folder)}),
        patch.object(packages, "_build", pretended.build),
        patch.object(packages, "_open_runner", pretended.open),
    ):
        yield pretended
