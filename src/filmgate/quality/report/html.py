"""Self-contained HTML reports with their plots embedded."""

import os
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from filmgate.errors import BadSetting
from filmgate.quality.report.plot import encode_png
from filmgate.storage.file_kind import check_output_file, check_replaceable

_START = '<!doctype html>\n<html lang="en">'
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em;
       color: #222; background: #fff }
img { max-width: 100%; display: block; margin: .6em 0 }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .2em .9em .2em 0;
       text-align: left; vertical-align: top } th { border-bottom: 1px solid #999 }
.yes { color: #2a7a2e } .no { color: #b3261e } figcaption { color: #555; font-size: 13px }
figure { margin: 1em 0 }
"""


def render_page(title: str, verdict: str, ok: bool | None, parts: Iterable[str]) -> str:
    """Return a complete HTML page. `ok` colours the verdict; None leaves it plain."""
    kind = "" if ok is None else ' class="yes"' if ok else ' class="no"'
    return (
        f'{_START}<meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style>\n<h1>{escape(title)}</h1>\n"
        f"<p{kind}><strong>{escape(verdict)}</strong></p>\n" + "\n".join(parts) + "\n</html>\n"
    )


def render_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return an HTML table; cells are escaped."""
    lines = ["<table><tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>"]
    lines += [
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    ]
    return "\n".join([*lines, "</table>"])


def render_figure(image: Image.Image, caption: str) -> str:
    """Return an HTML figure with the image embedded as PNG."""
    data = b64encode(encode_png(image)).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def check_report(report: Path) -> None:
    """Raise BadSetting if the page or its plot would replace a file that is no report."""
    check_replaceable(report, _START.encode(), "a report")
    png = report.with_suffix(".png")
    check_output_file(png)
    if png == report or (os.path.lexists(png) and not report.is_file()):
        raise BadSetting(f"the plot would replace {png}: choose another name for the report")


def write_report(report: Path, html: str, plot: Image.Image) -> tuple[Path, Path]:
    """Write the page, and its plot as a PNG of the same name; return both paths.

    An earlier report is replaced. Raises BadSetting if another file would be.
    """
    check_report(report)
    png = report.with_suffix(".png")
    report.write_text(html, encoding="utf-8")
    png.write_bytes(encode_png(plot))
    return report, png
