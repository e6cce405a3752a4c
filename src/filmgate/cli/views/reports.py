"""What was found, shown: as words for people, or as JSON for programs."""

import json as json_
from fractions import Fraction

from rich.filesize import decimal
from rich.table import Table

from filmgate.cli.views.tables import plain_console, safe
from filmgate.media.probe import Contents, Track
from filmgate.quality.verify import Report
from filmgate.tasks.job_config import plain


def contents(found: Contents, json: bool) -> None:
    """What is in a file."""
    if json:
        print(json_.dumps(plain(found)))
        return
    console = plain_console()
    console.print(f"{found.path}: {found.container}, {decimal(found.size_bytes)}, "
                  f"{_seconds(found.duration)} from {_seconds(found.start)}")  # fmt: skip
    table = Table(box=None, pad_edge=False, show_header=False)
    for track in found.tracks:
        star = "*" if track.index == found.best else ""
        about = ", ".join(part for part in _about(track) if part)
        table.add_row(f"{track.index}{star}", track.kind, track.codec, safe(about))
    console.print(table)
    for chapter in found.chapters:
        title = chapter.metadata.get("title", "")
        console.print(safe(f"chapter {_seconds(chapter.start)} {title}".rstrip()))
    for key, text in found.metadata.items():
        console.print(safe(f"{key}: {text}"))
    if found.best is not None:
        console.print("* is the stream that would be processed; --video picks another")


def _about(track: Track) -> list[str]:
    words = [track.language or "", track.metadata.get("title", "")]
    if picture := track.picture:
        words += [
            f"{picture.width}x{picture.height}",
            picture.pixels,
            f"{float(picture.rate):.3f} fps" if picture.rate else "",
            f"turned {picture.turn} degrees" if picture.turn else "",
            f"pixel aspect {picture.aspect}" if picture.aspect not in (None, 1) else "",
            "/".join(v for v in plain(picture.colour).values() if v != "unknown"),
        ]
    if track.sample_rate:
        words += [f"{track.sample_rate} Hz", f"{track.channels} channels"]
    return [*words, _seconds(track.duration), " ".join(track.traits)]


def report(found: Report, json: bool) -> None:
    """What `check` found."""
    if json:
        print(json_.dumps({"ok": found.ok, **plain(found)}))
        return
    console = plain_console()
    table = Table(box=None, pad_edge=False)
    for head in ("", "", "found", "wanted"):
        table.add_column(head, overflow="fold")
    for finding in found.findings:
        words = safe(finding.found), safe(finding.wanted)
        table.add_row("ok" if finding.ok else "NO", finding.name, *words)
    console.print(table)
    if found.note:
        console.print(found.note)
    wrong = sum(not finding.ok for finding in found.findings)
    console.print(f"{found.out} is as it should be" if found.ok else
                  f"{found.out}: {wrong} of {len(found.findings)} are wrong")  # fmt: skip


def _seconds(time: Fraction | None) -> str:
    return "" if time is None else f"{float(time):.3f} s"
