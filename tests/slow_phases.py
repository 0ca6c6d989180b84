"""dlrun with a phase that waits: once there, it says PHASE on stderr, and goes on when its stdin has a line or ends.

``python slow_phases.py PHASE WORD...``, where PHASE is one of PHASES, or ``none``.
"""

import sys
from collections.abc import Callable
from typing import Any

PHASES = ("compile", "train", "evaluate", "save")


def waiting(owner: type, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
    """Has a method wait before its first call for which ``when`` is true."""
    method, left = getattr(owner, name), ["once"]

    def waits(self: Any, *args: Any, **kwargs: Any) -> Any:
        if left and when(*args):
            left.clear()
            print("PHASE", file=sys.stderr, flush=True)
            sys.stdin.readline()
        return method(self, *args, **kwargs)

    setattr(owner, name, waits)


def main(phase: str, words: list[str]) -> int:
    from dlrun.cli.main import main
    from dlrun.runs.checkpoint import Checkpoints
    from dlrun.train.single import SingleState

    if phase == "compile":
        waiting(SingleState, "start")
    elif phase == "train":
        waiting(SingleState, "advance", lambda step, _: step > 0)
    elif phase == "evaluate":
        waiting(SingleState, "evaluate")
    elif phase == "save":
        waiting(Checkpoints, "save")
    return main(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
