"""`filmgate keys`: the API keys of a service."""

from __future__ import annotations

import json as json_
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from filmgate.errors import Exit
from filmgate.service.keys import KeyStore, Scope
from filmgate.service.settings import find_default_folder

if TYPE_CHECKING:
    from filmgate.service.keys import ApiKey

Folder = Annotated[Path | None, Parameter(help="Folder of the service. Default: that of serve.")]
Tenant = Annotated[
    str, Parameter(name="TENANT", help="Whose key it is: keys of one tenant see the same jobs.")
]
KeyId = Annotated[str, Parameter(name="ID", help="The key, as filmgate keys lists it.")]
Scopes = Annotated[
    tuple[Scope, ...],
    Parameter(
        name="--scope",
        help="What the key allows: read (see jobs, download), submit (upload, submit, cancel), "
        "admin (the jobs of all), metrics. Can be given several times.",
    ),
]
Rate = Annotated[int, Parameter(help="Requests that it may make in a minute.")]
Json = Annotated[bool, Parameter(help="Print JSON on standard output.")]


def build_app(words: Sequence[str]) -> App:
    """Return `keys`, with `keys add` and `keys remove` below it."""
    app = App(name="keys", help="Show, add or remove API keys of a service.", default_command=show)
    app.command(add)
    app.command(remove)
    return app


def show(*, folder: Folder = None, json: Json = False) -> Exit:
    """Show the API keys of a service; their secrets are not stored."""
    keys = _open(folder).read()
    if json:
        print(json_.dumps([_describe(key) for key in keys]))
    elif not keys:
        print("no keys: everybody who reaches the service from this machine may use it")
    for key in () if json else keys:
        print(f"{key.id}  {key.tenant}  {', '.join(key.scopes)}  "
              f"{key.requests_per_minute} a minute  since {key.created}")  # fmt: skip
    return Exit.DONE


def add(
    tenant: Tenant,
    /,
    *,
    scopes: Scopes = (Scope.READ, Scope.SUBMIT),
    requests_per_minute: Rate = 600,
    folder: Folder = None,
    json: Json = False,
) -> Exit:
    """Add an API key and print it: it is shown only now. A running service takes it at once."""
    key, text = _open(folder).add(tenant, scopes, requests_per_minute)
    print(json_.dumps({**_describe(key), "key": text}) if json else text)
    return Exit.DONE


def remove(key_id: KeyId, /, *, folder: Folder = None) -> Exit:
    """Remove an API key: a running service refuses it at once."""
    key = _open(folder).remove(key_id)
    print(f"removed {key.id} of {key.tenant}")
    return Exit.DONE


def _open(folder: Path | None) -> KeyStore:
    return KeyStore((folder or find_default_folder()).expanduser().absolute())


def _describe(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "scopes": [str(scope) for scope in key.scopes],
        "requests_per_minute": key.requests_per_minute,
        "created": key.created,
    }
