"""An argument parser whose errors read like all others of dlrun, and arguments that several commands share."""

import argparse
from typing import Any, NoReturn

from dlrun.errors import InvalidConfig, nearest
from dlrun.runs.rundir import OUTPUTS


class Also(argparse.Action):
    """Joins conditions that are given several times: all must hold."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, values if before is None else f"({before}) and ({values})")


def add_folders(parser: Any) -> None:
    """Adds the arguments of a command that looks for runs: folders, by default :data:`~dlrun.runs.rundir.OUTPUTS`."""
    parser.add_argument(
        "folders", nargs="*", metavar="DIR", help=f"runs, sweeps or folders of them (default: {OUTPUTS})"
    )


def add_where(parser: Any) -> None:
    """Adds the flag that chooses runs by a condition, to a parser or a group of one."""
    parser.add_argument(
        "--where",
        action=Also,
        metavar="CONDITION",
        help="only runs for which this holds: key=value, <, in, and, or, not",
    )


class Parser(argparse.ArgumentParser):
    """A parser that takes words and flags in any order, and raises :class:`InvalidConfig` for what is wrong."""

    def __init__(self, prog: str, **how: Any):
        super().__init__(prog, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **how)

    def error(self, message: str) -> NoReturn:
        raise InvalidConfig([message.removeprefix("argument ")])

    def read(self, argv: list[str]) -> argparse.Namespace:
        """Parses words and flags. Raises :class:`InvalidConfig` for unknown flags."""
        args, unknown = self.parse_known_intermixed_args(argv)
        if unknown:
            known = [flag for flag in self._option_string_actions if flag.startswith("--")]
            near = {word: nearest(word.split("=")[0], known) for word in unknown}
            raise InvalidConfig(f"{word}: unknown flag{near[word]}; known: {', '.join(known)}" for word in unknown)
        return args
