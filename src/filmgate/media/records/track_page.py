"""The page of tracks: what it counts, and its HTML."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from filmgate.media.records.page import render_page, render_table
from filmgate.media.records.person import choose_colour

MOST_SHOWN = 300  # tracks with a row of their own
_WIDTH, _ROW, _BAR, _PLOT = 860, 16, 10, 110  # pixels
_MARGIN, _RIGHT = 64, 24  # pixels, for numbers left of a plot and half a time right of it
_STYLE = """
td img { display: inline-block; margin: 0 .3em 0 0; vertical-align: top }
td { border-bottom: 1px solid #eee } svg text { font: 11px system-ui, sans-serif; fill: #444 }
.looks { white-space: nowrap } .dot { display: inline-block; width: .8em; height: .8em;
       border-radius: .2em; margin-right: .4em }
"""

Looks = Mapping[int, Mapping[str, Mapping[str, Any]]]


@dataclass(slots=True)
class Track:
    """The sums of a track: records, those that were seen and their scores; times in seconds."""

    id: int
    count: int = 0
    seen: int = 0
    scores: float = 0.0
    spans: list[tuple[float, float]] = field(default_factory=list)

    def add(self, later: Track, gap: float) -> None:
        """Take what comes after it; bars that are less than `gap` seconds apart become one."""
        self.count += later.count
        self.seen += later.seen
        self.scores += later.scores
        for start, end in later.spans:
            if self.spans and start - self.spans[-1][1] <= gap:
                self.spans[-1] = (self.spans[-1][0], max(end, self.spans[-1][1]))
            else:
                self.spans.append((start, end))

    def to_plain(self) -> dict[str, Any]:
        """Return plain values."""
        return {"count": self.count, "seen": self.seen, "scores": self.scores, "spans": self.spans}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Track:
        """Return the track of plain values."""
        spans = [(start, end) for start, end in values["spans"]]
        return cls(values["id"], values["count"], values["seen"], values["scores"], spans)


@dataclass(slots=True)
class Overview:
    """The sums of all frames: their number, end (s), most people in one, and by second."""

    width: int = 0
    height: int = 0
    frames: int = 0
    end: float = 0.0
    most: int = 0
    seconds: dict[int, tuple[int, int]] = field(default_factory=dict)  # people, frames

    def count_frame(self, time: float, end: float, people: int) -> None:
        """Take the next frame."""
        self.frames += 1
        self.end, self.most = max(self.end, end), max(self.most, people)
        before = self.seconds.get(int(time), (0, 0))
        self.seconds[int(time)] = before[0] + people, before[1] + 1

    def to_plain(self) -> dict[str, Any]:
        """Return plain values."""
        return {"frames": self.frames, "end": self.end, "most": self.most,
                "seconds": [(k, *pair) for k, pair in self.seconds.items()]}  # fmt: skip

    def add(self, values: Mapping[str, Any]) -> None:
        """Take the frames of a segment, as plain values."""
        self.frames += values["frames"]
        self.end, self.most = max(self.end, values["end"]), max(self.most, values["most"])
        for second, people, frames in values["seconds"]:
            before = self.seconds.get(second, (0, 0))
            self.seconds[second] = before[0] + people, before[1] + frames


def render_track_page(
    title: str, overview: Overview, tracks: Collection[Track], shown: Sequence[Track], looks: Looks
) -> str:
    """Return the page. `shown` are the longest of all `tracks`."""
    in_order = sorted(shown, key=lambda track: (track.spans[0][0], track.id))
    records, seen = sum(t.count for t in tracks), sum(t.seen for t in tracks)
    people = records / overview.frames if overview.frames else 0
    longest = max((t.spans[-1][1] - t.spans[0][0] for t in tracks), default=0.0)
    figures = [
        ("video", f"{overview.width}x{overview.height}, {overview.frames:,} frames"),
        ("tracks", f"{len(tracks):,}, the longest over {_format_time(longest)}"),
        ("people in a frame", f"{people:.2f} in the mean, {overview.most} at most"),
        ("boxes", f"{records:,}, of which {records - seen:,} were filled in"),
    ]
    verdict = f"{_count(len(tracks), 'track')} in {_format_time(overview.end)} of video"
    note = (f"<p>The longest {len(shown)} of {len(tracks):,} tracks are shown.</p>"
            if len(shown) < len(tracks) else "")  # fmt: skip
    parts = [
        render_table(("what", "found"), figures), "<h2>People over time</h2>",
        _draw_counts(overview), "<h2>Tracks</h2>", note, _draw_timeline(in_order, overview.end),
        "<h2>Who is who</h2>", "<p>The first, the best and the last image of each track.</p>",
        _render_people(in_order, looks),
    ]  # fmt: skip
    return render_page(f"Tracks: {title}", verdict, None, parts, _STYLE)


def _render_people(tracks: Iterable[Track], looks: Looks) -> str:
    heads = ("track", "images", "from", "to", "frames", "seen", "mean score")
    lines = ["<table><tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for track in tracks:
        score = f"{track.scores / track.seen:.2f}" if track.seen else ""
        cells = (_format_time(track.spans[0][0]), _format_time(track.spans[-1][1]),
                 f"{track.count:,}", f"{track.seen:,}", score)  # fmt: skip
        dot = f'<span class="dot" style="background:{_to_css(track.id)}"></span>{track.id}'
        lines.append(
            f'<tr id="t{track.id}"><td>{dot}</td>'
            f'<td class="looks">{_render_looks(looks.get(track.id, {}))}</td>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        )  # fmt: skip
    return "\n".join([*lines, "</table>"])


def _render_looks(looks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return images of different frames, in their order."""
    frames = {look["frame"]: look["jpeg"] for look in looks.values()}
    return "".join(
        f'<img alt="frame {frame}" title="frame {frame}" src="data:image/jpeg;base64,{jpeg}">'
        for frame, jpeg in sorted(frames.items())
    )


def _draw_timeline(tracks: Sequence[Track], end: float) -> str:
    """Return a drawing with a row for each track and a bar for each time it is there."""
    height, scale = len(tracks) * _ROW + 20, (_WIDTH - _MARGIN - _RIGHT) / max(end, 1e-9)
    lines = [_start_drawing(height), *_draw_times(end, scale, height)]
    for row, track in enumerate(tracks):
        y = row * _ROW
        label = f'<text x="{_MARGIN - 8}" y="{y + _BAR}" text-anchor="end">{track.id}</text>'
        lines.append(f'<a href="#t{track.id}">{label}')
        for start, stop in track.spans:
            wide = max(1.0, (stop - start) * scale)
            times = f"track {track.id}: {_format_time(start)} to {_format_time(stop)}"
            lines.append(
                f'<rect x="{_MARGIN + start * scale:.1f}" y="{y + 1}" width="{wide:.1f}" '
                f'height="{_BAR}" rx="2" fill="{_to_css(track.id)}"><title>{times}</title></rect>'
            )
        lines.append("</a>")
    return "\n".join([*lines, "</svg>"])


def _draw_counts(overview: Overview) -> str:
    """Return a curve of the people in a frame, the mean of each second or of more."""
    last = max(overview.seconds, default=0)
    step = max(1, -(-(last + 1) // _WIDTH))
    sums: dict[int, list[int]] = {}
    for second, (people, frames) in overview.seconds.items():
        one = sums.setdefault(second // step, [0, 0])
        one[0] += people
        one[1] += frames
    scale, top = (_WIDTH - _MARGIN - _RIGHT) / max(overview.end, 1e-9), max(overview.most, 1)
    points = [f"{_MARGIN},{_PLOT}"]
    for k, (people, frames) in sorted(sums.items()):
        y = _PLOT - people / frames / top * (_PLOT - 10)
        edges = k * step, min((k + 1) * step, overview.end)
        points += [f"{_MARGIN + edge * scale:.1f},{y:.1f}" for edge in edges]
    points.append(f"{points[-1].partition(',')[0]},{_PLOT}")
    lines = [
        _start_drawing(_PLOT + 20),
        *_draw_times(overview.end, scale, _PLOT + 20),
        f'<text x="{_MARGIN - 8}" y="14" text-anchor="end">{overview.most}</text>',
        f'<text x="{_MARGIN - 8}" y="{_PLOT}" text-anchor="end">0</text>',
        f'<polygon points="{" ".join(points)}" fill="#1f5fa8" fill-opacity=".35"/>',
        f'<line x1="{_MARGIN}" y1="{_PLOT}" x2="{_WIDTH - _RIGHT}" y2="{_PLOT}" stroke="#999"/>',
    ]
    return "\n".join([*lines, "</svg>"])


def _start_drawing(height: int) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" width="100%" role="img">'


def _draw_times(end: float, scale: float, height: int) -> Iterable[str]:
    """Yield lines at round times, with the times below."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
    step = next((step for step in steps if end / step <= 8), max(steps[-1], end / 8))
    for k in range(int(end / step) + 1):
        x = _MARGIN + k * step * scale
        yield (f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - 18}" stroke="#e4e4e4"/>'
               f'<text x="{x:.1f}" y="{height - 4}" text-anchor="middle">'
               f"{_format_time(k * step)}</text>")  # fmt: skip


def _format_time(seconds: float) -> str:
    """Return "12.3 s", "4:05" or "1:02:03"."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _to_css(id: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*choose_colour(id))
