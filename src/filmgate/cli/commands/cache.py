"""Results kept on this machine: where, how much, how often they were of use; thrown away."""

import json as json_
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.filesize import decimal

from filmgate.errors import Exit
from filmgate.storage.result_cache import SUFFIX, opened

Folder = Annotated[Path | None, Parameter(help="Of another cache than this user's own.")]
Json = Annotated[bool, Parameter(help="Say it as JSON on standard output.")]


def verbs() -> App:
    """`cache`, and `cache clean` below it."""
    app = App(name="cache", help="Show what is kept of results.", default_command=show)
    app.command(clean)
    return app


def show(*, folder: Folder = None, json: Json = False) -> Exit:
    """Show where results of stages are kept, how much there is, how often it was of use."""
    cache = opened(folder)
    held = list(cache.files())
    size, results = sum(one.size_bytes for one in held), sum(o.path.suffix == SUFFIX for o in held)
    told = cache.total()
    if json:
        sizes = {"bytes": size, "budget_bytes": cache.budget_bytes, "results": results}
        print(json_.dumps({"folder": str(cache.folder), **sizes, **told}))
        return Exit.DONE
    looked = told["hits"] + told["misses"]
    share = f" ({told['hits'] / looked:.0%} of all that were looked for)" if looked else ""
    lines = [
        f"where      {cache.folder}",
        f"size       {results} results in {decimal(size)} of {decimal(cache.budget_bytes)}",
        f"found      {told['hits']}{share}",
        f"damaged    {told['damaged']}, made again",
        f"forgotten  {told['forgotten']}, to keep the size",
        f"refused    {told['refused']}, too big or the disk did not take them",
    ]
    Console(highlight=False, soft_wrap=True).print("\n".join(lines), markup=False)
    return Exit.DONE


def clean(*, folder: Folder = None, json: Json = False) -> Exit:
    """Throw away everything that is kept; films that need it make it again."""
    cache = opened(folder)
    freed = cache.clean()
    if json:
        print(json_.dumps({"folder": str(cache.folder), "freed_bytes": freed}))
    else:
        print(f"{decimal(freed)} in {cache.folder} are free")
    return Exit.DONE
