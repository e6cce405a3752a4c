"""Make a sample video, interpolate it, check it, and draw a contact sheet (`make demo`)."""

import sys
from fractions import Fraction
from pathlib import Path

from sample_video import make

import filmgate as fg
from filmgate.quality.report.contact_sheet import write_contact_sheet
from filmgate.quality.verify import check


def main(folder: Path) -> int:
    """Write video.mp4, smooth.mp4 and sheet.png to `folder`; return 0 if all checks pass."""
    folder.mkdir(exist_ok=True)
    video, smooth = make(folder / "video.mp4"), folder / "smooth.mp4"
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
    sheet = write_contact_sheet(smooth, moments, folder / "sheet.png")
    print(f"drew {sheet}: every second frame is new; the shot boundary in row two is at 1.440 s")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main(Path("demo")))
