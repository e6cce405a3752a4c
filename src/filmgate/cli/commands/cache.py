"""`filmgate cache`: show or clear the cache of model results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from filmgate.errors import Exit

Folder = Annotated[Path | None, Parameter(help="Another cache than the user's own.")]
Json = Annotated[bool, Parameter(help="Print JSON on standard output.")]


def build_app(words: Sequence[str]) -> App:
    """Return `cache`, with `cache clean` below it."""
    app = App(name="cache", help="Show or clear the cache of model results.", default_command=show)
    app.command(clean)
    return app


def show(*, folder: Folder = None, json: Json = False) -> Exit:
    """Show where results of stages are cached, their size, and how often they were used."""
    import json as json_

    from rich.console import Console
    from rich.filesize import decimal

    from filmgate.models.compiling.folder import list_packages
    from filmgate.storage.result_cache import SUFFIX, open_cache

    cache = open_cache(folder)
    files = list(cache.files())
    size = sum(file.size_bytes for file in files)
    results = sum(file.path.suffix == SUFFIX for file in files)
    counts, packages = cache.total(), {} if folder else list_packages()
    compiled = sum(packages.values())
    if json:
        sizes = {"bytes": size, "budget_bytes": cache.budget_bytes, "results": results,
                 "packages": len(packages), "packages_bytes": compiled}  # fmt: skip
        print(json_.dumps({"folder": str(cache.folder), **sizes, **counts}))
        return Exit.DONE
    lookups = counts["hits"] + counts["misses"]
    share = f" ({counts['hits'] / lookups:.0%} of all lookups)" if lookups else ""
    lines = [
        f"folder     {cache.folder}",
        f"size       {results} results in {decimal(size)} of {decimal(cache.budget_bytes)}",
        f"found      {counts['hits']}{share}",
        f"damaged    {counts['damaged']}, computed again",
        f"removed    {counts['forgotten']}, to keep the size",
        f"refused    {counts['refused']}, too large or the disk was full",
    ]
    if packages:
        parent = next(iter(packages)).parent
        lines.append(f"compiled   {len(packages)} networks in {decimal(compiled)}, in {parent}")
    Console(highlight=False, soft_wrap=True).print("\n".join(lines), markup=False)
    return Exit.DONE


def clean(*, folder: Folder = None, json: Json = False) -> Exit:
    """Remove all cached results and compiled networks; runs that need them make them again."""
    import json as json_

    from rich.filesize import decimal

    from filmgate.models.compiling.folder import find_package_folder, remove_packages
    from filmgate.storage.result_cache import open_cache

    cache = open_cache(folder)
    results, packages = cache.clean(), 0 if folder else remove_packages()
    if json:
        print(json_.dumps({"folder": str(cache.folder), "freed_bytes": results + packages}))
    else:
        print(f"freed {decimal(results)} of results in {cache.folder}")
        if packages:
            print(f"freed {decimal(packages)} of compiled networks in {find_package_folder()}")
    return Exit.DONE
