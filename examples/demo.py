"""`filmgate demo` from Python: make a video, interpolate it, check it, draw a contact sheet."""

import sys

from filmgate.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["demo", "demo", "--overwrite"]))
