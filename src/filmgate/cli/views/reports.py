"""What `probe` and `check` print: text or JSON."""

from __future__ import annotations

import json as json_
from dataclasses import astuple
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.cli.views.tables import build_plain_console, escape_text

if TYPE_CHECKING:
    from filmgate.media.probe import MediaInfo, StreamInfo
    from filmgate.quality.combs import CombReport
    from filmgate.quality.seams.score import SeamReport
    from filmgate.quality.verify import CheckReport


def print_contents(info: MediaInfo, json: bool) -> None:
    """Print what is in a file."""
    if json:
        from filmgate.tasks.settings import plain

        print(json_.dumps(plain(info)))
        return
    from rich.filesize import decimal
    from rich.table import Table

    console = build_plain_console()
    times = f"{_format_seconds(info.duration)} from {_format_seconds(info.start)}"
    console.print(f"{info.path}: {info.container}, {decimal(info.size_bytes)}, {times}")
    table = Table(box=None, pad_edge=False, show_header=False)
    for track in info.streams:
        star = "*" if track.index == info.best else ""
        text = ", ".join(part for part in _describe_track(track) if part)
        table.add_row(f"{track.index}{star}", track.kind, track.codec, escape_text(text))
    console.print(table)
    for chapter in info.chapters:
        title = chapter.metadata.get("title", "")
        console.print(escape_text(f"chapter {_format_seconds(chapter.start)} {title}".rstrip()))
    for key, text in info.metadata.items():
        console.print(escape_text(f"{key}: {text}"))
    if info.best is not None:
        console.print("* the stream that is processed; --stream selects another")


def print_combs(report: CombReport, out: Path) -> None:
    """Print how many frames are combed."""
    text = f"{out}: {report.combed} of {report.moving} moving frames are combed"
    if report.first is not None and report.last is not None:
        text += f", from {_format_seconds(report.first)} to {_format_seconds(report.last)}"
    build_plain_console().print(f"{text} ({report.frames} frames in all)")


def print_check(report: CheckReport) -> None:
    """Print what `check` found."""
    from rich.table import Table

    console = build_plain_console()
    table = Table(box=None, pad_edge=False)
    for head in ("", "", "found", "wanted"):
        table.add_column(head, overflow="fold")
    for finding in report.findings:
        texts = escape_text(finding.found), escape_text(finding.wanted)
        table.add_row("ok" if finding.ok else "NO", finding.name, *texts)
    console.print(table)
    if report.note:
        console.print(report.note)
    wrong = sum(not finding.ok for finding in report.findings)
    console.print(f"{report.out} passes all checks" if report.ok else
                  f"{report.out}: {wrong} of {len(report.findings)} checks failed")  # fmt: skip


def print_seams(report: SeamReport, page: Path) -> None:
    """Print where a video shows seams."""
    from filmgate.quality.seams.report import describe_period, describe_verdict

    console = build_plain_console()
    for period in (report.found, *report.given):
        if period:
            console.print(
                f"every {period.frames} frames ({'given' if period.given else 'found'}), from "
                f"frame {period.first}: {period.boundaries} boundaries score {period.score:.1f}, "
                f"others {period.others:.1f}, p-value {period.p_value:.0e}; sharpness varies by "
                f"{period.depth:.1%}, similarity {period.similarity:.2f}: {describe_period(period)}"
            )
    for frame in report.worst[:3]:
        if frame.score >= report.threshold:
            console.print(f"frame {frame.frame} at {frame.time:.3f} s jumps in {frame.kind}: "
                          f"score {frame.score:.1f}, threshold {report.threshold:g}")  # fmt: skip
    console.print(escape_text(f"{report.video}: {describe_verdict(report)}; see {page}"))


def _describe_track(track: StreamInfo) -> list[str]:
    words = [track.language or "", track.metadata.get("title", "")]
    if image := track.video:
        words += [
            f"{image.width}x{image.height}",
            image.pixels,
            f"{float(image.rate):.3f} fps" if image.rate else "",
            f"rotated {image.rotation} degrees" if image.rotation else "",
            f"pixel aspect {image.aspect}" if image.aspect not in (None, 1) else "",
            "/".join(v for v in astuple(image.colour) if v != "unknown"),
        ]
    if track.sample_rate:
        plural = "" if track.channels == 1 else "s"
        words += [f"{track.sample_rate} Hz", f"{track.channels} channel{plural}"]
    return [*words, _format_seconds(track.duration), " ".join(track.dispositions)]


def _format_seconds(time: Fraction | None) -> str:
    return "" if time is None else f"{float(time):.3f} s"
