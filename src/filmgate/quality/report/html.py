"""What was found of a film as one page of HTML with its pictures inside, and a plot beside it."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from filmgate.quality.report.plot import as_png

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em;
       color: #222; background: #fff }
img { max-width: 100%; display: block; margin: .6em 0 }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .2em .9em .2em 0;
       text-align: left; vertical-align: top } th { border-bottom: 1px solid #999 }
.yes { color: #2a7a2e } .no { color: #b3261e } figcaption { color: #555; font-size: 13px }
figure { margin: 1em 0 }
"""


def page(title: str, verdict: str, ok: bool | None, parts: Iterable[str]) -> str:
    """A page that needs nothing beside it. `ok`: None where there is no verdict."""
    kind = "" if ok is None else ' class="yes"' if ok else ' class="no"'
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style>\n<h1>{escape(title)}</h1>\n"
        f"<p{kind}><strong>{escape(verdict)}</strong></p>\n" + "\n".join(parts) + "\n</html>\n"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of plain words."""
    lines = ["<table><tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>"]
    lines += [
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    ]
    return "\n".join([*lines, "</table>"])


def figure(image: Image.Image, words: str) -> str:
    """A picture, inside the page."""
    data = b64encode(as_png(image)).decode()
    return (
        f'<figure><img alt="{escape(words)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(words)}</figcaption></figure>"
    )


def write(report: Path, html: str, plot: Image.Image) -> tuple[Path, Path]:
    """The page, and its plot as a PNG of the same name."""
    png = report.with_suffix(".png")
    report.write_text(html, encoding="utf-8")
    png.write_bytes(as_png(plot))
    return report, png


def plot_path(row: Sequence[Image.Image], width: int) -> Image.Image:
    whole = Image.new("RGB", (len(row) * width, max(image.height for image in row)), "black")
    for k, image in enumerate(row):
        whole.paste(image, (k * width, 0))
    return whole
