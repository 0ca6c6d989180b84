"""Turns the end of a command into an exit code: 0 done, 1 failed, 2 wrong input, 128 + the number of a signal."""

import sys
import traceback
from collections.abc import Callable

from dlrun.errors import InvalidConfig, printable, tell


def guarded(call: Callable[[], int], debug: bool) -> int:
    """Calls ``call``; returns its exit code, and prints what goes wrong in a line or two."""
    try:
        code = call()
        sys.stdout.flush()  # a full disk is told here, not when Python ends
        return code
    except SystemExit as done:
        return int(done.code or 0)
    except InvalidConfig as error:
        if debug and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        return _wrong(error.problems)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if debug:
            raise
        lines = str(error).splitlines()
        tell(f"failed: {type(error).__name__}: {lines[0] if lines else ''} (--debug shows where)")
        return 1


def _wrong(problems: list[str]) -> int:
    """Prints what is wrong with the input; returns its exit code."""
    for problem in problems:
        tell(f"error: {printable(problem)}")
    return 2
