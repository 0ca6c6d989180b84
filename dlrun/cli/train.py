"""``dlrun [overrides]`` trains a run, ``dlrun -m`` a sweep."""

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

from dlrun.cli import exit_codes, prepare
from dlrun.errors import InvalidConfig


def train(overrides: list[str], args: argparse.Namespace) -> int:
    """Composes, checks, and only then makes the run directory and trains. The last line on stdout is the directory."""
    from dlrun.config import composition, directories, ignored, records

    prepare.require_utf8([*overrides, *map(str, args.config_dir), os.getcwd()])
    hydra = composition.loader(args.config_dir)
    cfg, problems = composition.compose(hydra, overrides, multirun=args.multirun)
    problems += ignored.of_mode(overrides, multirun=args.multirun)
    if args.cfg:
        if problems:
            raise InvalidConfig(problems)
        print(records.text(cfg, args.cfg, resolve=args.resolve))
        return 0
    trust = prepare.trust(args)
    if args.multirun:
        return sweep(hydra, cfg, overrides, problems, trust, args)
    if args.dry_run:
        raise InvalidConfig(["--dry-run: not allowed here; allowed: dlrun -m ... --dry-run"])
    setup = prepare.prepare(prepare.checked(cfg, problems, trust))
    if not setup.is_main_process:  # a further process of several: it trains, but has no directory
        return prepare.run(setup, Path(os.devnull))
    prepare.notice(cfg, args)
    return directories.run(hydra, cfg, lambda directory: prepare.run(setup, directory))


def sweep(
    hydra: Any, cfg: Any, overrides: list[str], problems: list[str], trust: tuple[str, ...], args: argparse.Namespace
) -> int:
    """Checks all runs of a sweep, then trains them; 1 when one failed. The last line on stdout is its directory."""
    from dlrun.sweep import by_hydra, grid, request, tuning

    if by_hydra.chosen(cfg):
        if args.dry_run:
            raise InvalidConfig(
                ["--dry-run: not allowed with this hydra/launcher or hydra/sweeper; allowed: dlrun's own"]
            )
        return by_hydra.sweep(
            hydra,
            cfg,
            overrides,
            problems,
            trust,
            partial(job, trust=trust, config_dirs=args.config_dir, debug=args.debug, sweep=os.getpid()),
        )
    sweep_request = request.SweepRequest(cfg, overrides, args.config_dir, trust)
    prepare.notice(cfg, args)
    how = tuning.search if by_hydra.searches(cfg) else grid.sweep
    return how(sweep_request, hydra, problems, dry_run=args.dry_run)


def job(cfg: Any, directory: Path, *, trust: tuple[str, ...], config_dirs: list[Path], debug: bool, sweep: int) -> None:
    """Trains one run of a sweep by Hydra, with the trust that the command was given.

    Args:
      sweep: the number of the sweep's process; this may be another one.
    """
    from dlrun.config.components import importable
    from dlrun.display import streams

    if os.getpid() != sweep:
        streams.go_on_unread()

    def run() -> int:
        importable(config_dirs, trust)
        return prepare.run(prepare.prepare(prepare.checked(cfg, [], trust)), directory, say=False)

    code = exit_codes.guarded(run, debug)
    if code > 128:
        raise SystemExit(code)  # a signal stops the sweep, not this run alone
