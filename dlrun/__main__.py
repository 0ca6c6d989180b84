"""``python -m dlrun`` is ``dlrun``, but for what Python itself does first: see :mod:`dlrun.isolation`."""

import sys

from dlrun import isolation

if __name__ == "__main__":
    isolation.leave_the_working_folder()  # before anything else is imported
    from dlrun.cli import main

    sys.exit(main())
