"""A contact sheet has a row of frames for each moment, in the video's colours."""

from fractions import Fraction
from pathlib import Path

from PIL import Image

from filmgate.quality.report.contact_sheet import LABEL_HEIGHT, write_contact_sheet
from tests import videos


def test_a_sheet_has_a_row_for_each_moment(tmp_path: Path) -> None:
    video = videos.make(videos.VIDEOS["even"], tmp_path / "video.mp4")
    moments = [Fraction(0), Fraction(1, 5)]
    png = write_contact_sheet(video, moments, tmp_path / "sheet.png", columns=3, width=68)
    with Image.open(png) as sheet:
        assert sheet.size == (3 * 68, 2 * (48 + LABEL_HEIGHT))
        block = [sheet.getpixel((column * 68 + 2 + 4, 8)) for column in range(3)]
    bright = [isinstance(pixel, tuple) and pixel[0] > 128 for pixel in block]
    assert bright == [False, True, False]  # the first bit of the numbers 0, 1, 2
