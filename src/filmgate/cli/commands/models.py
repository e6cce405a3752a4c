"""`filmgate models`: show, download, verify and try model weights; compile networks."""

from __future__ import annotations

import json as json_
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from filmgate.errors import BadSetting, BadWeights, Exit

if TYPE_CHECKING:
    from filmgate.models.contracts import Family
    from filmgate.weights.definitions import Weights, WeightsRepository
    from filmgate.weights.store import WeightsStore

Name = Annotated[str, Parameter(name="NAME", help="The weights, as filmgate models names them.")]
Maybe = Annotated[str | None, Parameter(name="NAME", help="Only these. Default: all.")]
Accept = Annotated[bool, Parameter(help="Accept the terms of these weights.")]
Place = Annotated[
    Path | None, Parameter(help="The file, or its folder. Default: the models folder.")
]
Report = Annotated[
    Path | None, Parameter(help="File of the report. Default: filmgate-try-NAME.json.")
]
OnVideo = Annotated[
    Path | None, Parameter(help="A video or image of people, for models of people and faces.")
]
Json = Annotated[bool, Parameter(help="Print JSON on standard output.")]
Row = dict[str, Any]


def build_app(words: Sequence[str]) -> App:
    """Return `models`, with `models pull`, `verify`, `try` and `build` below it."""
    from filmgate.cli.compile_command import build_compile_command

    app = App(
        name="models",
        help="Show model families and their weights; download, verify, try and compile them.",
        default_command=show,
    )
    app.command(pull)
    app.command(verify)
    app.command(try_, name="try")
    app.command(build_compile_command(words[1:]), name="build")
    return app


def show(*, json: Json = False) -> Exit:
    """Show model families and their weights; download, verify, try and compile them."""
    from filmgate.models import registry
    from filmgate.weights.store import WeightsStore

    store, rows = WeightsStore.open_default(), describe_published()
    published = {row["family"] for row in rows}
    others = [family for family in registry.load_families() if family.name not in published]
    if json:
        bare = [_describe_family(family) for family in others]
        print(json_.dumps({"folder": str(store.path), "families": [*bare, *rows]}))
    else:
        from filmgate.cli.views.models_view import print_models

        print_models([(one, registry.is_built_in(one.name)) for one in others], rows, store.path)
    return Exit.DONE


def describe_published() -> list[Row]:
    """Return all published weights, each with its definition and whether it is here."""
    from filmgate.models.registry import list_repositories, list_weights
    from filmgate.weights.store import WeightsStore

    store = WeightsStore.open_default()
    published: list[Weights | WeightsRepository] = [*list_weights(), *list_repositories()]
    return [_build_row(store, one) for one in published]


def pull(name: Name, /, *, accept: Accept = False) -> Exit:
    """Download weights; an interrupted download continues where it stopped."""
    from filmgate.cli.views.transfer import show_transfer
    from filmgate.models.registry import find_together
    from filmgate.weights import download, repository
    from filmgate.weights.definitions import WeightsRepository
    from filmgate.weights.store import WeightsStore

    store = WeightsStore.open_default()
    for weights in find_together(name):
        with show_transfer() as report:
            if isinstance(weights, WeightsRepository):
                path = repository.pull(weights, store, accept=accept, on_progress=report)
            else:
                path = download.pull(weights, store, accept=accept, on_progress=report)
        print(f"{weights.name} is in {path}")
    return Exit.DONE


def verify(name: Maybe = None, /, *, weights: Place = None, json: Json = False) -> Exit:
    """Read weights and compare their sha256. Exit code 1 if a file is damaged."""
    from filmgate.cli.views.transfer import show_transfer
    from filmgate.models.registry import find_together
    from filmgate.weights.store import WeightsStore

    store = WeightsStore.open_default()
    if weights is not None and name is None:
        raise BadSetting(f"weights is {weights} without a name: pass the NAME of the weights too")
    files = _list_present(store)
    if name:
        files = [file for one in find_together(name) for file in _list_files(store, one, weights)]
    rows: list[Row] = []
    with show_transfer() as report:
        for file in files:
            path = store.get_path(file)
            try:
                path = store.find(file, weights)
                store.verify(file, path, again=True, on_progress=report)
                row: Row = {"ok": True, "sha256": store.sha256(path)}
            except BadWeights as error:
                row = {"ok": False, "why": str(error)}
            rows.append({"weights": file.name, "path": str(path), **row})
    if json:
        print(json_.dumps(rows))
    else:
        for row in rows:
            verdict = f"ok  {row['sha256']}" if row["ok"] else f"NO  {row['why']}"
            print(f"{row['weights']}  {row['path']}  {verdict}")
        if not rows:
            print(f"there are no weights in {store.path}")
    return Exit.DONE if all(row["ok"] for row in rows) else Exit.VERDICT_NO


def try_(
    name: Name, /, *, weights: Place = None, report: Report = None, video: OnVideo = None
) -> Exit:
    """Try weights: check their tensors, run 16 frames, and write a report to send.

    Models of people and faces run on a video of yours, and an image shows what they found.
    """
    from filmgate.cli.views.transfer import show_transfer
    from filmgate.models.registry import find_family, find_together
    from filmgate.quality.weights_check import try_weights
    from filmgate.storage.file_kind import check_replaceable
    from filmgate.weights.definitions import WeightsRepository
    from filmgate.weights.store import WeightsStore

    published, *_ = find_together(name)
    if isinstance(published, WeightsRepository):
        raise BadSetting(f"{name} is a published folder, and models try takes single files: run "
                         "the task on a short video with --sample 5s")  # fmt: skip
    path = report or Path(f"filmgate-try-{name}.json")
    check_replaceable(path, b"{\n", "a report")
    if not path.parent.is_dir():
        raise BadSetting(f"the folder {path.parent} does not exist: create it first")
    family = find_family(published.family)
    if family.build_detector and not family.build_tracker:
        raise BadSetting(f"{name} finds people, and models try has no video of them: run filmgate "
                         f"track --detector {family.name} on a short one")  # fmt: skip
    if family.build_tracker:
        result = _try_tracker(family, weights, path, video)
    elif video is not None:
        raise BadSetting(f"video is {video}, and {name} is tried on a video made here: omit it")
    else:
        with show_transfer() as progress:
            result = try_weights(published, WeightsStore.open_default(), weights, progress)
    try:
        path.write_text(json_.dumps(result, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadSetting(f"cannot write {path}: {error.strerror}; name another file with "
                         "--report") from error  # fmt: skip
    for part in ("tensors", "run"):
        reason = result[part].get("why", "")
        print(f"{part:8} {'ok' if result[part]['ok'] else 'NO'}{reason and ': ' + reason}")
    print(f"the report is {path}: please send it, whatever the result")
    return Exit.DONE if result["ok"] else Exit.VERDICT_NO


def _try_tracker(family: Family, weights: Path | None, report: Path, video: Path | None) -> Row:
    """Return the report on a model of people or faces; write the image next to it."""
    from filmgate.cli.views.transfer import show_transfer
    from filmgate.quality.people_check import try_tracker
    from filmgate.storage.file_kind import check_replaceable

    if video is None:
        raise BadSetting(f"{family.name} is tried on a video with people: pass one with --video")
    image = report.with_suffix(".png")
    check_replaceable(image, b"\x89PNG", "a PNG image")
    with show_transfer() as progress:
        result, sheet = try_tracker(family, weights, video, progress)
    try:
        image.write_bytes(sheet)
    except OSError as error:
        raise BadSetting(f"cannot write {image}: {error.strerror}; name another file with "
                         "--report") from error  # fmt: skip
    print(f"{image} shows what was found: look at it")
    return result


def _describe_family(family: Family) -> Row:
    """Return what is known of a family without published weights.

    Filmgate knows its own families; those of other packages say nothing about their weights.
    """
    from filmgate.models.registry import is_built_in

    hand, own = family.by_hand, is_built_in(family.name)
    by_hand = {"by_hand": hand.how, "licence": hand.licence} if hand else {}
    commercial = True if own and not hand else None
    return {"family": family.name, "weights": None, "commercial": commercial, "built_in": own,
            **by_hand}  # fmt: skip


def _list_present(store: WeightsStore) -> list[Weights]:
    """Return the published files that are in the models folder."""
    from filmgate.models.registry import list_repositories, list_weights
    from filmgate.weights.repository import list_files

    files = (file for folder in list_repositories() for file in list_files(folder, store))
    return [file for file in (*list_weights(), *files) if store.get_path(file).is_file()]


def _list_files(
    store: WeightsStore, published: Weights | WeightsRepository, place: Path | None
) -> list[Weights]:
    """Return the file, or all files of a folder. Raises BadWeights if none of them is here."""
    from filmgate.weights.definitions import Weights
    from filmgate.weights.repository import list_files

    files = [published] if isinstance(published, Weights) else list(list_files(published, store))
    if not files:
        raise BadWeights(f"the files of {published.description} are not known yet: filmgate models "
                         f"pull {published.name} lists and downloads them")  # fmt: skip
    if len(files) == 1 or not (place or any(store.get_path(file).is_file() for file in files)):
        store.find(files[0], place)
    return files


def _build_row(store: WeightsStore, published: Weights | WeightsRepository) -> Row:
    from filmgate.weights.definitions import Weights
    from filmgate.weights.store import to_dict

    state = (
        _find_state(store, published)
        if isinstance(published, Weights)
        else _find_folder_state(store, published)
    )
    row = {"weights": published.name, "accepted": store.has_accepted(published)}
    return {**to_dict(published), **row, **state}


def _find_state(store: WeightsStore, weights: Weights) -> Row:
    place = store.get_path(weights)
    part = place.with_name(f"{place.name}.part")
    size = part.stat().st_size if part.is_file() else 0
    state = "incomplete" if size else "absent"
    if place.is_file():
        state = "here" if weights.has_size(place.stat().st_size) else "damaged"
    return {"state": state, "part_bytes": size, "place": str(place)}


def _find_folder_state(store: WeightsStore, folder: WeightsRepository) -> Row:
    """Return the state of all listed files; files that were put there by hand count as well."""
    from filmgate.weights.repository import list_files

    home, files = store.get_folder(folder), list_files(folder, store)
    rows = [_find_state(store, file) for file in files]
    states = {row["state"] for row in rows} or {"absent"}
    present = {path.relative_to(home).as_posix(): (path.stat().st_size, None)
               for path in _list_readable(home)}  # fmt: skip
    if present and not files:
        states = {"incomplete"}
        with suppress(BadWeights):
            files, states = folder.select_files("", present), {"here"}
    state = "damaged" if "damaged" in states else states.pop() if len(states) == 1 else "incomplete"
    part, size = sum(row["part_bytes"] for row in rows), sum(file.size_bytes for file in files)
    return {"state": state, "part_bytes": part, "place": str(home), "size_bytes": size or None}


def _list_readable(home: Path) -> Iterator[Path]:
    from filmgate.weights.definitions import SAFE_SUFFIXES

    paths = (*home.glob("*"), *home.glob("*/*"))
    return (path for path in paths if path.suffix in SAFE_SUFFIXES and path.is_file()
            and not path.name.endswith(".listed.json"))  # fmt: skip
