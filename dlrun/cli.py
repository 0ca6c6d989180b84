"""argv to a subcommand or a run; no logic of its own. Imports JAX and Hydra only where they are needed."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from dlrun import __version__, help
from dlrun.schema import InvalidConfig, nearest

SUBCOMMANDS = ("resume", "ls", "show")


def parser() -> argparse.ArgumentParser:
    """The flags, which may stand anywhere among the overrides."""
    p = argparse.ArgumentParser("dlrun", add_help=False, allow_abbrev=False, exit_on_error=False)
    p.add_argument("words", nargs="*", metavar="group=option | key=value")
    p.add_argument("-h", "--help", action="store_true", help="show this help")
    p.add_argument("--version", action="version", version=f"dlrun {__version__}")
    p.add_argument("-m", "--multirun", action="store_true", help="sweep: a run for every combination of the values")
    p.add_argument("--config-dir", action="append", default=[], type=Path, metavar="DIR", help="a folder with your own options, laid out like conf/; may be given again")  # fmt: skip
    p.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help="allow importing your own parts from this package or module")  # fmt: skip
    p.add_argument("--cfg", choices=("job", "hydra", "all"), help="print the composed configuration and stop")
    p.add_argument("--resolve", action="store_true", help="with --cfg: fill in references between keys")
    p.add_argument("--debug", action="store_true", help="show a traceback when something fails")
    return p


def main(argv: list[str] | None = None) -> int:
    """Runs a command line; gives the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        args = parser().parse_intermixed_args(argv)
    except argparse.ArgumentError as error:
        return _wrong([str(error)])
    except SystemExit as done:
        return int(done.code or 0)
    try:
        return dispatch(args)
    except InvalidConfig as error:
        return _wrong(error.problems)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if args.debug:
            raise
        lines = str(error).splitlines()
        print(f"failed: {type(error).__name__}: {lines[0] if lines else ''} (--debug shows where)", file=sys.stderr)
        return 1


def dispatch(args: argparse.Namespace) -> int:
    """Calls the subcommand, or trains."""
    words = args.words
    command = words[0] if words and words[0].isidentifier() else None
    if command and command not in SUBCOMMANDS:
        raise InvalidConfig([f"{command}: unknown subcommand{nearest(command, SUBCOMMANDS)}; known: {', '.join(SUBCOMMANDS)}"])
    if args.help:
        print(help.overview(args.config_dir))
        return 0
    if command == "show":
        print(help.show(words[1:], args.config_dir))
        return 0
    if command == "ls":
        from dlrun import listing

        return listing.ls([Path(w) for w in words[1:]] or [Path("outputs")])
    if command == "resume":
        return resume(words[1:], args)
    return train(words, args)


def train(overrides: list[str], args: argparse.Namespace) -> int:
    """Composes, checks, and only then makes the run directory and trains. The last line on stdout is the directory."""
    from dlrun import config

    hydra = config.loader(args.config_dir)
    cfg = config.compose(hydra, overrides, multirun=args.multirun)
    if problems := config.check_targets(cfg):
        raise InvalidConfig(problems)
    if args.cfg:
        print(config.text(cfg, args.cfg, resolve=args.resolve))
        return 0
    for notice in config.shadowed(cfg, args.config_dir):
        print(f"notice: {notice}", file=sys.stderr)
    _trust(args)
    if args.multirun:
        print(config.sweep(hydra, cfg, job))
        return 0
    setup = _prepare(config.plain(cfg))
    return config.run(hydra, cfg, lambda directory: _run(setup, directory))


def job(cfg: Any) -> int:
    """One job of a sweep, in the directory that Hydra made for it."""
    from dlrun import config

    setup = _prepare(config.plain(cfg))
    return _run(setup, config.output_dir())


def resume(words: list[str], args: argparse.Namespace) -> int:
    """Goes on with a run where its last sound state is, with changes that keep the state's form."""
    from dlrun import config, resuming

    if not words or "=" in words[0]:
        raise InvalidConfig(["resume: which run? dlrun resume DIR [key=value ...]"])
    directory, overrides = Path(words[0]), words[1:]
    cfg = resuming.configuration(directory, overrides)
    _trust(args)
    setup = _prepare(config.plain(cfg))
    return resuming.resumed(directory, cfg, lambda: _run(setup, directory, resumed=overrides))


def _trust(args: argparse.Namespace) -> None:
    from dlrun.plan import importable

    # In the environment, so that the processes of a launcher trust what this command trusts.
    os.environ["DLRUN_TRUST"] = " ".join([*args.trust, os.environ.get("DLRUN_TRUST", "")]).strip()
    if os.environ["DLRUN_TRUST"]:
        importable(args.config_dir)


def _prepare(values: dict[str, Any]) -> Any:
    from dlrun import plan, setup

    checked = plan.plan(values, plan.trusted([]))
    setup.initialize(values)
    return setup.prepare(checked)


def _run(setup: Any, directory: Path, *, resumed: list[str] | None = None) -> int:
    from dlrun.run import run

    code = run(setup, directory, resumed=resumed)
    print(directory, flush=True)
    return code


def _wrong(problems: list[str]) -> int:
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 2
