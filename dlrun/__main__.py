"""``python -m dlrun`` is ``dlrun``."""

import sys

from dlrun.cli import main

if __name__ == "__main__":
    sys.exit(main())
