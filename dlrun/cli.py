"""argv to a subcommand or a run; no logic of its own. Imports JAX and Hydra only where they are needed."""

import argparse
import gc
import importlib
import io
import os
import shlex
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from dlrun import __version__, help, isolation
from dlrun.arguments import Parser
from dlrun.schema import InvalidConfig, nearest, printable

TOOLS = {
    "ls": "dlrun.listing",
    "show-run": "dlrun.compare.glance",
    "compare": "dlrun.compare.command",
    "diff": "dlrun.compare.diff",
    "prune": "dlrun.prune",
}
"""What works on run directories, with flags of its own: each module has ``parser()`` and ``main(argv)``."""
SUBCOMMANDS = ("resume", "show", *TOOLS)


def parser() -> Parser:
    """The flags, which may stand anywhere among the overrides."""
    p = Parser("dlrun", add_help=False)
    p.add_argument("words", nargs="*", metavar="group=option | key=value")
    p.add_argument("-h", "--help", action="store_true", help="show this help")
    p.add_argument("--version", action="version", version=f"dlrun {__version__}", help="show the version")
    p.add_argument("-m", "--multirun", action="store_true", help="sweep: a run for every combination of the values")
    p.add_argument("--dry-run", action="store_true", help="with -m: tell what would be trained, and make nothing")
    p.add_argument(
        "--config-dir", action="append", default=[], type=Path, metavar="DIR",
        help="a folder with your own options, laid out like conf/; may be given again",
    )  # fmt: skip
    p.add_argument(
        "--trust", action="append", default=[], metavar="PACKAGE",
        help="allow importing your own parts from this package or module",
    )  # fmt: skip
    p.add_argument(
        "--accept-data", action="store_true",
        help="with resume: go on though the data changed; the best value so far counts no more",
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


def main(argv: list[str] | None = None) -> int:
    """Runs a command line; gives the exit code."""
    isolation.of_children()
    if argv is None:
        argv = sys.argv[1:]
        gc.set_threshold(50_000, 50, 100)  # importing and tracing make millions of objects that stay: 10% of a start
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # of libraries: for us, not for who trains a model
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="surrogateescape")  # a directory's name may be any bytes
    if argv[:1] == ["--complete"]:  # the completion script asks
        from dlrun import completion

        return completion.answer(argv[1:])
    return _guarded(lambda: called(argv), "--debug" in argv)


def called(argv: list[str]) -> int:
    """Calls the tool that the first word names, or looks at the words as overrides."""
    words = [word for word in argv if word != "--debug"]
    try:
        os.getcwd()
    except OSError as error:
        raise InvalidConfig([f"working folder: {error.strerror}; allowed: one that is there"]) from None
    if words and words[0] in TOOLS:
        return importlib.import_module(TOOLS[words[0]]).main(words[1:])
    return dispatch(parser().read(argv))


def dispatch(args: argparse.Namespace) -> int:
    """Calls the subcommand, or trains."""
    words = args.words
    command = words[0] if words and "=" not in words[0] and not words[0].startswith("~") else None
    if command is not None and command not in SUBCOMMANDS:
        known = f"known: {', '.join(SUBCOMMANDS)}; to train: group=option key=value"
        raise InvalidConfig([f"{command!r}: unknown subcommand{nearest(command, SUBCOMMANDS)}; {known}"])
    if command in TOOLS:
        raise InvalidConfig([f"{command}: not allowed here; allowed: dlrun {command} ..., as the first word"])
    if args.help:
        print(help.overview(args.config_dir))
        return 0
    if args.completion:
        from dlrun import completion

        print(completion.SCRIPTS[args.completion], end="")
        return 0
    if args.save and command != "show":
        raise InvalidConfig([f"--save {args.save}: not allowed here; allowed: dlrun show ... --save FILE"])
    if args.accept_data and command != "resume":
        raise InvalidConfig(["--accept-data: not allowed here; allowed: dlrun resume DIR --accept-data"])
    if command == "show":
        return show(words[1:], args)
    if command == "resume":
        return resume(words[1:], args)
    return train(words, args)


def show(words: list[str], args: argparse.Namespace) -> int:
    """Prints and draws what the words name."""
    from dlrun import showing

    def checked(overrides: list[str]) -> Any:
        from dlrun import config

        _trust(args)
        return _checked(*config.compose(config.loader(args.config_dir), overrides))

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # meanings hold letters that not every encoding has
    trust = _trust(args) if args.trust or os.environ.get("DLRUN_TRUST") else ()
    showing.show(words, args.config_dir, trust, save=args.save, checked=checked, prepared=_prepare)
    return 0


def train(overrides: list[str], args: argparse.Namespace) -> int:
    """Composes, checks, and only then makes the run directory and trains. The last line on stdout is the directory."""
    from dlrun import config, ignored

    _text([*overrides, *map(str, args.config_dir), os.getcwd()])
    hydra = config.loader(args.config_dir)
    cfg, found = config.compose(hydra, overrides, multirun=args.multirun)
    found += ignored.of_mode(overrides, multirun=args.multirun)
    if args.cfg:
        if found:
            raise InvalidConfig(found)
        print(config.text(cfg, args.cfg, resolve=args.resolve))
        return 0
    trust = _trust(args)
    if args.multirun:
        return sweep(hydra, cfg, overrides, found, trust, args)
    if args.dry_run:
        raise InvalidConfig(["--dry-run: not allowed here; allowed: dlrun -m ... --dry-run"])
    setup = _prepare(_checked(cfg, found))
    if not setup.first:  # of several processes: it trains, but has no directory
        return _run(setup, Path(os.devnull))
    _notice(cfg, args)
    return config.run(hydra, cfg, lambda directory: _run(setup, directory))


def sweep(
    hydra: Any, cfg: Any, overrides: list[str], found: list[str], trust: tuple[str, ...], args: argparse.Namespace
) -> int:
    """Checks all runs of a sweep, then trains them; 1 when one failed. The last line on stdout is its directory."""
    from dlrun.sweep import foreign, naming, sweep, tuning

    if foreign.foreign(cfg):
        if args.dry_run:
            raise InvalidConfig(
                ["--dry-run: not allowed with this hydra/launcher or hydra/sweeper; allowed: dlrun's own"]
            )
        return foreign.sweep(hydra, cfg, overrides, found, trust, partial(_job, args=args))
    asked = naming.Asked(cfg, overrides, args.config_dir, trust)
    _notice(cfg, args)
    how = tuning.search if foreign.searches(cfg) else sweep.sweep
    return how(asked, hydra, found, dry_run=args.dry_run)


def _job(cfg: Any, directory: Path, *, args: argparse.Namespace) -> None:
    """One run of a sweep by Hydra, perhaps in another process."""

    def run() -> int:
        _trust(args)
        return _run(_prepare(_checked(cfg, [])), directory, say=False)

    code = _guarded(run, args.debug)
    if code > 128:
        raise SystemExit(code)  # a signal stops the sweep, not this run alone


def resume(words: list[str], args: argparse.Namespace) -> int:
    """Goes on with a run where its last sound state is, with changes that keep the state's form; or with a sweep."""
    from dlrun import resuming

    if not words or ("=" in words[0] and not os.path.isdir(words[0])):
        later = next((word for word in words[1:] if os.path.isdir(word)), None)
        if words and later is None and resuming.folder_like(words[0]):
            raise InvalidConfig([f"{words[0]}: no such folder; dlrun resume DIR [key=value ...]"])
        hint = f"; the folder comes first: dlrun resume {shlex.quote(later)} ..." if later else ""
        raise InvalidConfig([f"resume: which run? dlrun resume DIR [key=value ...]{hint}"])
    directory, overrides = Path(words[0]), words[1:]
    _text(overrides)
    if (asked := resuming.sweep(directory, overrides)) is not None:
        if args.accept_data:
            raise InvalidConfig(["--accept-data: not allowed for a sweep: its runs are compared; allowed: for a run"])
        args.multirun, args.config_dir = True, args.config_dir or asked.config_dirs
        return train(asked.overrides, args)
    cfg, found = resuming.configuration(directory, overrides)
    _trust(args)
    setup = _prepare(_checked(cfg, found))
    how = {"resumed": overrides, "accept_data": args.accept_data}
    return _run(setup, directory, **how, accept=lambda: resuming.accept(directory, cfg))


def _text(words: list[str]) -> None:
    """Raises :class:`InvalidConfig` for what can't be written into a record: names that are no text."""
    if wrong := [word for word in words if not word.isascii() and word != word.encode(errors="ignore").decode()]:
        raise InvalidConfig([f"{word}: no UTF-8; allowed: text in UTF-8" for word in wrong])


def _trust(args: argparse.Namespace) -> tuple[str, ...]:
    from dlrun.plan import importable, trusted

    # In the environment, so that the processes of a launcher trust what this command trusts.
    os.environ["DLRUN_TRUST"] = " ".join([*args.trust, os.environ.get("DLRUN_TRUST", "")]).strip()
    if trust := trusted([]):
        importable(args.config_dir, trust)
    return trust


def _checked(cfg: Any, found: list[str]) -> Any:
    """The plan of a configuration. Raises :class:`InvalidConfig` with all that is wrong with it, ``found`` included."""
    from dlrun import config, plan

    values, unresolved = config.plain(cfg)
    if unresolved:
        raise InvalidConfig([*found, *unresolved])
    return plan.plan(values, plan.trusted([]), found)


def _prepare(checked: Any) -> Any:
    from dlrun import devices, setup

    devices.initialize(checked.settings)
    return setup.prepare(checked)


def _run(setup: Any, directory: Path, *, say: bool = True, **how: Any) -> int:
    from dlrun.run import alone

    code = alone(setup, directory, **how)
    if say and setup.first:
        print(directory, flush=True)
    return code


def _notice(cfg: Any, args: argparse.Namespace) -> None:
    from dlrun import config

    for notice in config.shadowed(cfg, args.config_dir):
        print(f"notice: {notice}", file=sys.stderr)


def _wrong(problems: list[str]) -> int:
    for problem in problems:
        print(f"error: {printable(problem)}", file=sys.stderr)
    return 2


def _guarded(call: Callable[[], int], debug: bool) -> int:
    """The exit code of ``call``, with what goes wrong told in a line or two."""
    try:
        return call()
    except SystemExit as done:
        return int(done.code or 0)
    except InvalidConfig as error:
        return _wrong(error.problems)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            raise
        lines = str(error).splitlines()
        print(f"failed: {type(error).__name__}: {lines[0] if lines else ''} (--debug shows where)", file=sys.stderr)
        return 1
