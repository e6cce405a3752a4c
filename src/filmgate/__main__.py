"""`python -m filmgate` is `filmgate`."""

import sys

from filmgate.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
