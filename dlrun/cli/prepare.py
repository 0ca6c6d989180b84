"""The steps of every command that trains or inspects a run: trust, check, prepare; then perhaps run."""

import argparse
from pathlib import Path
from typing import Any

from dlrun.errors import InvalidConfig, tell


def require_utf8(words: list[str]) -> None:
    """Raises :class:`InvalidConfig` for words that can't be written to a file: names of folders that are no UTF-8."""
    if wrong := [word for word in words if not word.isascii() and word != word.encode(errors="ignore").decode()]:
        raise InvalidConfig([f"{word}: not in UTF-8; allowed: text in UTF-8" for word in wrong])


def trust(args: argparse.Namespace) -> tuple[str, ...]:
    """The packages that the user trusts on this command; from now on their modules can be imported."""
    from dlrun.config.components import importable, trusted

    trust = trusted(args.trust)
    importable(args.config_dir, trust)
    return trust


def checked(cfg: Any, problems: list[str], trust: tuple[str, ...] = ()) -> Any:
    """The plan of a configuration. Raises :class:`InvalidConfig` with all that is wrong with it, and ``problems``."""
    from dlrun.config import composition, plan

    values, unresolved = composition.plain(cfg)
    if unresolved:
        raise InvalidConfig([*problems, *unresolved])
    return plan.plan(values, trust, problems)


def prepare(checked: Any) -> Any:
    """Makes the settings that JAX needs before its first use, and gives the setup of a checked plan."""
    from dlrun.program import devices, setup
    from dlrun.train import sinks

    devices.initialize(checked.settings)
    return setup.prepare(checked, problems=sinks.missing(checked.settings.log.sinks))


def run(setup: Any, directory: Path, *, say: bool = True, **how: Any) -> int:
    """Trains a run; returns the exit code. Its directory is printed if ``say``, by the first of several processes."""
    from dlrun.train.run import train_alone

    code = train_alone(setup, directory, **how)
    if say and setup.is_main_process:
        print(directory, flush=True)
    return code


def notice(cfg: Any, args: argparse.Namespace) -> None:
    """Tells which of the user's files are not read, and which replace packaged ones."""
    from dlrun.config import composition

    for line in composition.shadowed(cfg, args.config_dir):
        tell(f"notice: {line}")
