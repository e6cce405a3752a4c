"""`filmgate demo`: try the installation on a short video."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from filmgate.errors import BadSetting, Exit, OutputExists

Folder = Annotated[Path, Parameter(name="DIR", help="The folder for the three files.")]
Overwrite = Annotated[bool, Parameter(help="Replace files of these names.", negative=())]
_NAMES = "video.mp4", "smooth.mp4", "sheet.png"


def build_app(words: Sequence[str]) -> App:
    """Return the command."""
    return App(name="demo", default_command=run_demo)


def run_demo(folder: Folder = Path("demo"), /, *, overwrite: Overwrite = False) -> Exit:
    """Make a short video, interpolate it, check the result and draw a contact sheet.

    Writes video.mp4, smooth.mp4 and sheet.png.
    """
    video, smooth, sheet = (folder / name for name in _NAMES)
    for path in (video, smooth, sheet):
        if os.path.lexists(path) and not overwrite:
            raise OutputExists(f"{path} exists: pass another folder, or --overwrite")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise BadSetting(
            f"cannot create the folder {folder}: {error.strerror}. Pass another one"
        ) from error
    import filmgate as fg
    from filmgate.media.demo_video import make_demo_video
    from filmgate.quality.report.contact_sheet import write_contact_sheet
    from filmgate.quality.verify import check

    make_demo_video(video)
    print(f"made {video}: two shots, text, audio, and a variable frame rate")

    done = fg.run(fg.Interpolate(factor=2), video, fg.VideoOutput(smooth, overwrite=True))
    print(f"made {smooth}: {done.read} frames in, {done.written} out, {done.seconds:.1f} s")
    for part, seconds in done.busy.items():
        print(f"    {part}: busy {seconds:.1f} s")

    report = check(smooth, video)
    for finding in report.findings:
        print(f"    {'ok' if finding.ok else 'NO'}  {finding.name}: {finding.found}")
    print(f"checked {smooth}: {'all checks passed' if report.ok else 'SOME CHECKS FAILED'}")

    moments = [Fraction(2, 5), Fraction(34, 25), Fraction(5, 2)]
    write_contact_sheet(smooth, moments, sheet)
    print(f"drew {sheet}: every second frame is new; the shot boundary in row two is at 1.440 s")
    return Exit.DONE if report.ok else Exit.VERDICT_NO
