"""Arguments of a command line, with errors worded like all others."""

import argparse
from typing import Any, NoReturn

from dlrun.errors import InvalidConfig, nearest
from dlrun.runs.rundir import OUTPUTS


class Also(argparse.Action):
    """A condition; of several all must hold."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, values if before is None else f"({before}) and ({values})")


def add_folders(parser: Any) -> None:
    """The words of a command that looks for runs: folders, none for :data:`~dlrun.runs.rundir.OUTPUTS`."""
    parser.add_argument(
        "folders", nargs="*", metavar="DIR", help=f"runs, sweeps or folders of them (default: {OUTPUTS})"
    )


def add_where(parser: Any) -> None:
    """A flag that chooses runs by a condition; a parser, or a group of one."""
    parser.add_argument(
        "--where", action=Also, metavar="CONDITION", help="those for which it holds: key=value, <, in, and, or, not"
    )


class Parser(argparse.ArgumentParser):
    """An argument parser whose words and flags may stand in any order, and that raises :class:`InvalidConfig`."""

    def __init__(self, prog: str, **how: Any):
        super().__init__(prog, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **how)

    def error(self, message: str) -> NoReturn:
        raise InvalidConfig([message.removeprefix("argument ")])

    def read(self, argv: list[str]) -> argparse.Namespace:
        """Flags and words. Raises :class:`InvalidConfig` for flags that there are not."""
        args, unknown = self.parse_known_intermixed_args(argv)
        if unknown:
            known = [flag for flag in self._option_string_actions if flag.startswith("--")]
            near = {word: nearest(word.split("=")[0], known) for word in unknown}
            raise InvalidConfig(f"{word}: unknown flag{near[word]}; known: {', '.join(known)}" for word in unknown)
        return args
