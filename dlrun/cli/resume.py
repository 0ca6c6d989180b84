"""``dlrun resume``: goes on with a run or a sweep, with changes to its configuration where these are allowed."""

import argparse
import logging
import os
import re
import shlex
from pathlib import Path
from typing import Any

from dlrun.cli import prepare
from dlrun.config import catalogue, composition, ignored, records, trust
from dlrun.config.hydra_adapter import Config
from dlrun.config.overrides import quoted
from dlrun.errors import InvalidConfig, show, tell
from dlrun.runs import atomic, files, rundir
from dlrun.train import log_file

# These keys may change: neither the form of the saved state nor the order of batches depends on them.
MAY_CHANGE = (
    "epochs", "steps", "dropout", "label_smoothing", "clip_norm", "ema", "on_nonfinite", "max_skipped", "devices",
    "compile_cache", "eval.", "checkpoint.every", "checkpoint.keep", "early_stop.", "log.", "distributed.", "optim.",
    "schedule.", "augment.", "stream.when", "stream.memory", "stream.workers", "stream.prefetch",
    "data.timeout", "data.min_rate",
)  # fmt: skip
SWITCHES = ("dropout", "ema")  # if they are on, the state has arrays for them


def resume(words: list[str], args: argparse.Namespace) -> int:
    """Goes on with a run from its last sound state, with changes that fit that state; or with a sweep."""
    if not words or ("=" in words[0] and not os.path.isdir(words[0])):
        later = next((word for word in words[1:] if os.path.isdir(word)), None)
        if words and later is None and folder_like(words[0]):
            raise InvalidConfig([f"{words[0]}: no such folder; dlrun resume DIR [key=value ...]"])
        hint = f"; the folder comes first: dlrun resume {shlex.quote(later)} ..." if later else ""
        raise InvalidConfig([f"resume: which run? dlrun resume DIR [key=value ...]{hint}"])
    directory, overrides = Path(words[0]), words[1:]
    prepare.require_utf8(overrides)
    if (command := sweep(directory, overrides, args.config_dir)) is not None:
        if args.accept_data:
            raise InvalidConfig(
                ["--accept-data: not allowed for a sweep, whose runs must share their data; allowed: for a single run"]
            )
        from dlrun.cli import train

        args.multirun = True
        return train.train(command, args)
    cfg, problems, notices = configuration(directory, overrides)
    plan = prepare.checked(cfg, problems, prepare.trust(args))
    for line in notices:
        tell(f"notice: {line}")
    _tell_disagreement(directory, plan.values, overrides)
    setup = prepare.prepare(plan)
    how = {"resumed": overrides, "accept_data": args.accept_data}
    return prepare.run(setup, directory, **how, accept=lambda: accept(directory, cfg))


def sweep(directory: Path, overrides: list[str], config_dirs: list[Path]) -> list[str] | None:
    """The overrides of a directory's sweep, with ``overrides`` replacing those of the same keys; None without a sweep.

    Raises:
      InvalidConfig: where the directory's record is damaged, or says what only the person may say.
    """
    from dlrun.sweep import folder

    record = folder.read(directory)
    if record is None:
        return None
    trust.of_a_sweep(record, directory, overrides, config_dirs)
    new = {_name(text) for text in overrides}
    kept = [text for text in record["overrides"] if _name(text) not in new | {"hydra.sweep.dir"}]
    return [*kept, *overrides, f"hydra.sweep.dir={quoted(str(directory))}"]


def _name(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def folder_like(word: str) -> bool:
    """Whether a word with ``=`` looks like a folder's name rather than like ``key=value``."""
    section = re.split(r"[.@=]", _name(word))[0]
    return "/" in _name(word) or section not in ignored.SECTIONS


def configuration(directory: Path, overrides: list[str]) -> tuple[Config, list[str], list[str]]:
    """The configuration that a run directory was made with, with ``overrides``; what is wrong with them; and notices.

    The notices tell what the directory says and may not decide. Groups that the run's version did not know have the
    options of today's defaults.
    """
    file = directory / rundir.CONFIG
    if not directory.exists():
        raise InvalidConfig([f"{directory}: no such folder"])
    if not os.path.lexists(file) and files.kind(file.parent) in (None, "folder"):
        raise InvalidConfig([f"{directory}: not a run directory: it has no {rundir.CONFIG}"])
    rundir.check(directory)
    cfg, notices = trust.of_a_run(records.load(file), directory, overrides)
    for group, option in catalogue.defaults(catalogue.conf() / "config.yaml").items():
        if group not in catalogue.NOT_OF_A_RUN:
            cfg.setdefault(group, {"name": option})
    stray = ignored.of_a_record(cfg, file)
    before, _ = composition.plain(cfg)
    chosen = _chosen(directory)
    choices = [text for text in overrides if _name(text).split("@")[0] in catalogue.GROUPS]
    # Typing the same option again changes nothing.
    stray += [_why_not(text) for text in choices if not _same_option(before, chosen, *text.split("=", 1))]
    how = [text for text in overrides if text not in choices and re.match(r"[+~]*(hydra|launcher)[./@=]", text)]
    stray += [f"{text}: not allowed in a resumed run; allowed: key=value of the run itself" for text in how]
    cfg, problems = records.changed(cfg, [text for text in overrides if text not in [*choices, *how]])
    after, _ = composition.plain(cfg)
    return cfg, stray + problems + _forbidden(rundir.flat(before), rundir.flat(after)), notices


def _tell_disagreement(directory: Path, values: dict[str, Any], overrides: list[str]) -> None:
    """Says in which keys a configuration is not the one that run.json has, though no override changed them.

    Not of those that a directory does not decide: notices tell of them.
    """
    run = (atomic.read_json(directory / rundir.RUN) or {}).get("config")
    before, now = rundir.flat(atomic.jsonable(run or {})), rundir.flat(atomic.jsonable(values))
    changed = {_name(text) for text in overrides}
    changed |= {"epochs", "steps"} if changed & {"epochs", "steps"} else set()
    keys = [key for key in now if trust.DECIDES.get(key.partition(".")[0]) == "directory" and key not in changed]
    for key in [key for key in keys if before.get(key, now[key]) != now[key]]:
        said = f"{key}={show(now[key])}, but {rundir.RUN} has {show(before[key])}"
        told = f"warning: {directory / rundir.CONFIG}: it says {said}; going on with the former"
        tell(told)


def accept(directory: Path, cfg: Config) -> None:
    """Saves ``cfg`` as the directory's configuration, and appends to its log.txt from now on."""
    logging.basicConfig(level=logging.INFO, handlers=[log_file.handler(directory)], force=True)
    records.save(cfg, directory / rundir.CONFIG)


def _forbidden(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Problems with the keys that differ, but may not change in a resumed run."""
    problems = []
    for key in [k for k in after if before.get(k) != after[k]]:
        new = f"{key}={show(after[key])}"
        if key in SWITCHES and (before.get(key) in (None, 0)) != (after[key] in (None, 0)):
            problems.append(f"{new}: can't be switched on or off in a resumed run; start a new one")
        elif not key.startswith(MAY_CHANGE) or key.endswith(".name"):
            allowed = ", ".join(m + "*" if m.endswith(".") else m for m in MAY_CHANGE)
            problems.append(f"{new}: can't be changed in a resumed run; start a new one; allowed: {allowed}")
    return problems


def _chosen(directory: Path) -> dict[str, Any]:
    """The option of each group that a run was made with, as it was typed; empty if Hydra's record is lost."""
    try:
        record = files.from_yaml(files.read(directory / rundir.HYDRA, below=directory))
        return dict(record["hydra"]["runtime"]["choices"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _same_option(values: dict[str, Any], chosen: dict[str, Any], group: str, option: str = "") -> bool:
    """Whether a run was made with this option, which may be an alias, or an option of the user's own."""
    name = values[group].get("name") if isinstance(values.get(group), dict) else None
    packaged = catalogue.options(group, [catalogue.conf()])
    if option in packaged and group != catalogue.EXPERIMENT:
        return name in (option, catalogue.component(packaged[option]))
    return bool(option) and option in (name, chosen.get(group))


def _why_not(text: str) -> str:
    """Says why an option can't be chosen for a resumed run."""
    group = _name(text).split("@")[0]
    if group in catalogue.NOT_OF_A_RUN:
        return f"{text}: not allowed for one run; allowed: in a sweep, dlrun -m ..."
    if group == catalogue.EXPERIMENT:
        return f"{text}: can't be chosen for a resumed run; start a new one; allowed: single keys of the experiment"
    if not re.fullmatch(rf"{group}=.*", text, re.DOTALL):
        return f"{text}: not allowed here; allowed: key=value"
    return f"{text}: can't be changed in a resumed run; start a new one, as the saved state belongs to its {group}"
