"""HTML reports with their plots embedded; their parts are those of `media.records.page`."""

import os
from base64 import b64encode
from html import escape
from pathlib import Path

from PIL import Image

from filmgate.errors import BadSetting
from filmgate.media.records.page import START
from filmgate.quality.report.plot import encode_png
from filmgate.storage.file_kind import check_output_file, check_replaceable


def render_figure(image: Image.Image, caption: str) -> str:
    """Return an HTML figure with the image embedded as PNG."""
    data = b64encode(encode_png(image)).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def check_report(report: Path) -> None:
    """Raise BadSetting if the page or its plot would replace a file that is no report."""
    check_replaceable(report, START.encode(), "a report")
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
    report.write_text(html, encoding="utf-8", newline="\n")  # as check_replaceable reads
    png.write_bytes(encode_png(plot))
    return report, png
