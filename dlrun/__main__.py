"""``python -m dlrun`` is ``dlrun``, but for what Python itself does first: see :mod:`dlrun.system.isolation`."""

import sys

from dlrun.system import isolation

if __name__ == "__main__":
    isolation.leave_the_working_folder()  # before anything else is imported
    from dlrun.cli.main import main

    sys.exit(main())
