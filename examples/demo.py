"""What `make demo` runs: a sample video is made, interpolated, checked, and drawn as a sheet."""

import sys
from fractions import Fraction
from pathlib import Path

from sample_film import make

import filmgate as fg
from filmgate.quality.report.contact_sheet import contact_sheet
from filmgate.quality.verify import check


def main(folder: Path) -> int:
    """Leaves video.mp4, smooth.mp4 and sheet.png in `folder`; 0 if the check passes."""
    folder.mkdir(exist_ok=True)
    video, smooth = make(folder / "video.mp4"), folder / "smooth.mp4"
    print(f"made {video}: two shots, text, sound, and a frame rate that varies")

    done = fg.run(fg.Interpolate(factor=2), video, fg.VideoOutput(smooth, overwrite=True))
    print(f"made {smooth}: {done.read} frames became {done.written} in {done.seconds:.1f} s")
    for part, seconds in done.busy.items():
        print(f"    {part}: busy {seconds:.1f} s")

    report = check(smooth, video)
    for found in report.findings:
        print(f"    {'ok' if found.ok else 'NO'}  {found.name}: {found.found}")
    print(f"checked {smooth}: {'all is as it should be' if report.ok else 'SOMETHING IS WRONG'}")

    moments = [Fraction(2, 5), Fraction(34, 25), Fraction(5, 2)]
    sheet = contact_sheet(smooth, moments, folder / "sheet.png")
    print(f"drew {sheet}: every other frame is new; the second row meets the cut at 1.440 s")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main(Path("demo")))
