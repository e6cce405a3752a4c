"""Parts of self-contained HTML pages: nothing is loaded from elsewhere."""

from collections.abc import Iterable, Sequence
from html import escape

START = '<!doctype html>\n<html lang="en">'
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em;
       color: #222; background: #fff }
img { max-width: 100%; display: block; margin: .6em 0 }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .2em .9em .2em 0;
       text-align: left; vertical-align: top } th { border-bottom: 1px solid #999 }
.yes { color: #2a7a2e } .no { color: #b3261e } figcaption { color: #555; font-size: 13px }
figure { margin: 1em 0 }
"""


def render_page(
    title: str, verdict: str, ok: bool | None, parts: Iterable[str], style: str = ""
) -> str:
    """Return a complete HTML page. `ok` colours the verdict; None leaves it plain."""
    kind = "" if ok is None else ' class="yes"' if ok else ' class="no"'
    return (
        f'{START}<meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}{style}</style>\n<h1>{escape(title)}</h1>\n"
        f"<p{kind}><strong>{escape(verdict)}</strong></p>\n" + "\n".join(parts) + "\n</html>\n"
    )


def render_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return an HTML table; cells are escaped."""
    lines = ["<table><tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>"]
    lines += [
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    ]
    return "\n".join([*lines, "</table>"])
