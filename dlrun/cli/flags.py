"""The flags of ``dlrun``, and the names of its subcommands."""

import os
from pathlib import Path

from dlrun import __version__
from dlrun.cli.arguments import Parser

TOOLS = {
    "ls": "dlrun.cli.ls",
    "show-run": "dlrun.cli.show_run",
    "compare": "dlrun.cli.compare",
    "diff": "dlrun.cli.diff",
    "prune": "dlrun.cli.prune",
}
"""Subcommands on run directories, with flags of their own: each module has ``parser()`` and ``main(argv)``."""
SUBCOMMANDS = ("resume", "show", *TOOLS)


def config_dirs(flags: list[Path]) -> list[Path]:
    """The folders of the user's own options: those of the flag ``--config-dir``, then those of ``DLRUN_CONFIG_DIR``.

    The environment variable separates several as ``PATH`` does, by colons.
    """
    return [*flags, *(Path(d).expanduser() for d in os.environ.get("DLRUN_CONFIG_DIR", "").split(os.pathsep) if d)]


def parser() -> Parser:
    """The flags, which may stand anywhere among the overrides."""
    p = Parser("dlrun", add_help=False)
    p.add_argument("words", nargs="*", metavar="group=option | key=value")
    p.add_argument("-h", "--help", action="store_true", help="show this help")
    p.add_argument("--version", action="version", version=f"dlrun {__version__}", help="show the version")
    p.add_argument(
        "-m", "--multirun", action="store_true", help="sweep: train a run for every combination of the values"
    )
    p.add_argument("--dry-run", action="store_true", help="with -m: say what would be trained, and write nothing")
    p.add_argument(
        "--config-dir", action="append", default=[], type=Path, metavar="DIR",
        help="a folder with your own options, laid out like conf/; may be repeated; DLRUN_CONFIG_DIR can name more",
    )  # fmt: skip
    p.add_argument(
        "--trust", action="append", default=[], metavar="PACKAGE",
        help="allow importing your own parts from this package or module",
    )  # fmt: skip
    p.add_argument(
        "--accept-data", action="store_true",
        help="with resume: go on although the data changed; the best value so far no longer counts",
    )  # fmt: skip
    p.add_argument("--cfg", choices=("job", "hydra", "all"), help="print the composed configuration and stop")
    p.add_argument("--resolve", action="store_true", help="with --cfg: fill in references between keys")
    p.add_argument("--save", type=Path, metavar="FILE", help="with show: write the drawing to a .png, .svg or .pdf")
    p.add_argument("--debug", action="store_true", help="show a traceback when something fails")
    p.add_argument(
        "--completion", choices=("bash", "zsh", "fish"),
        help='print the script for tab completion: eval "$(dlrun --completion bash)"',
    )  # fmt: skip
    return p
