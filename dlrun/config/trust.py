"""What a directory may decide about this command, and what only the person at the keyboard may.

A run or sweep directory may come from anybody, and ``dlrun resume`` goes on with what it says. Its configuration
decides what is computed. It does not decide what is loaded as code, which machines are spoken to, how jobs are launched
or which other folders are searched, and nothing in it is evaluated: neither environment variables nor other resolvers.
:data:`DECIDES` has the whole list, and :func:`of_a_run` and :func:`of_a_sweep` hold a directory to it.
"""

import re
import shlex
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from dlrun.config import catalogue
from dlrun.config.hydra_adapter import Config
from dlrun.config.overrides import parse
from dlrun.config.schema import filled
from dlrun.config.settings import Settings
from dlrun.errors import InvalidConfig, show
from dlrun.runs import atomic, rundir

Who = Literal["directory", "person"]
DECIDES: dict[str, Who] = {
    **dict.fromkeys(("model", "act", "norm", "init", "optim", "schedule", "augment"), "directory"),
    "loss": "directory",  # a teacher's directory is read
    "data": "directory",  # files and folders are read; published data is fetched, and checked by SHA-256
    "experiment": "directory",
    **dict.fromkeys(("seed", "epochs", "steps", "batch_size", "precision", "matmul_precision"), "directory"),
    **dict.fromkeys(("deterministic", "dropout", "label_smoothing", "clip_norm", "accumulate", "ema"), "directory"),
    **dict.fromkeys(("on_nonfinite", "max_skipped", "split", "stream", "eval", "checkpoint"), "directory"),
    **dict.fromkeys(("early_stop", "devices"), "directory"),
    "log": "directory",  # sinks write into the directory, or to the account that this machine's environment names
    "distributed": "person",  # a coordinator is a machine to talk to
    "compile_cache": "person",  # native code is loaded from there; auto and null are anybody's
    "launcher": "person",  # shell commands, accounts of a cluster; launcher=local with small counts is anybody's
    "hydra": "person",  # search paths, loggers, launchers; the sweeper and the names of jobs are anybody's
}
"""Who decides each key at the top level of a configuration, where a directory that is resumed says something else than
the default. Likewise the folders of ``--config-dir`` and the packages of ``--trust`` are only the person's."""
ANYBODYS: dict[str, tuple[Any, ...]] = {"compile_cache": ("auto", None)}
"""Values of a person's keys that a directory may give all the same."""
ANYBODYS_WORDS = re.compile(
    r"compile_cache=(auto|null)$|launcher=local$|launcher\.(vmap|chunk|fail_fast)=\w+$"
    r"|launcher\.(workers|retries)=(\d\d?|null)$|hydra\.sweeper\.n_trials=\d{1,4}$"
    r"|hydra/sweeper=\w+$|hydra\.sweeper\.(?!n_trials=)[a-z_.]+=|hydra\.sweep\.subdir="
)
"""Words of a person's keys that a sweep's record may hold all the same.

It may not lift ``launcher.max_jobs``, nor ask for so many processes, attempts or trials that the command has no end.
"""
LOGGING = re.compile(
    r"ext://sys\.std(out|err)|logging\.(StreamHandler|FileHandler|NullHandler|Formatter)|colorlog\.ColoredFormatter"
    r"|logging\.handlers\.(TimedRotatingFileHandler|RotatingFileHandler)"
)
"""What Hydra's loggers may be made of: Python makes whatever class they name, of any module."""
REFERENCE = re.compile(r"\$\{\s*\.*[\w.\[\]-]+\s*\}")
"""A reference to another key, such as ``${optim.lr}``."""


_ABSENT = object()


def evaluates(text: str) -> bool:
    """Whether text refers to more than keys, such as ``${oc.env:HOME}``, which stands for an environment variable."""
    return "${" in REFERENCE.sub("", text)


def of_a_run(cfg: Config, directory: Path, overrides: list[str]) -> tuple[Config, list[str]]:
    """The configuration of a run directory without what it may not decide, and notices of what was left out.

    What a resolver stood for when the run was made is taken from run.json.

    Args:
      cfg: as it is written there.
      overrides: of this command.

    Raises:
      InvalidConfig: where run.json does not say what a resolver stood for.
    """
    recorded = (atomic.read_json(directory / rundir.RUN) or {}).get("config")
    found: list[str] = []
    values: Any = _filled_in(OmegaConf.to_container(cfg, resolve=False), recorded, "", found)
    if found:
        raise InvalidConfig([f"{directory / rundir.CONFIG}: {problem}" for problem in found])
    typed, usual, notices, file = _keys(overrides), filled(Settings, {}), [], directory / rundir.CONFIG
    for key in [key for key in values if DECIDES.get(key) == "person"]:
        said = rundir.flat({key: values.pop(key)})
        if key not in usual:
            notices.append(f"{key}: ignored in {file}, as it is not part of a run")
            continue
        free = (*ANYBODYS.get(key, ()), *rundir.flat({key: usual[key]}).values())
        values[key] = said[key] if said.get(key, "") in free else usual[key]
        left_out = [f"{k}={show(v, 500)}" for k, v in said.items() if v not in free and k not in typed]
        if left_out:
            yours = shlex.join(["dlrun", "resume", str(directory), *left_out])
            what = ", ".join(left_out)
            notices.append(f"{what}: ignored in {file}, as only a command may set it; if it is yours: {yours}")
    left: Any = OmegaConf.create(values)
    return left, notices


def of_a_sweep(record: dict[str, Any], directory: Path, overrides: list[str], config_dirs: list[Path]) -> None:
    """Refuses the record of a sweep that says for the person what only the person may say, and has not typed again.

    Args:
      record: sweep.json.
      overrides, config_dirs: of this command.

    Raises:
      InvalidConfig: with the command to type, if the sweep is one's own.
    """
    settled = {*_keys(overrides), "hydra.sweep.dir"}  # the latter is this directory, whatever it was
    words = [text for text in record["overrides"] if _keys([text]).isdisjoint(settled) and not _is_anybodys(text)]
    folders = [] if config_dirs else [part for d in record.get("config_dirs", []) for part in ("--config-dir", d)]
    if words or folders:
        again = shlex.join(["dlrun", *folders, "resume", str(directory), *overrides, *words])
        what = ", ".join([*map(show, words), *(f"--config-dir {show(d)}" for d in folders[1::2])])
        raise InvalidConfig(
            [f"{directory / rundir.SWEEP}: {what}: only a command may set it, not a directory; if it is yours: {again}"]
        )


def of_files(cfg: Config, overrides: list[str]) -> list[str]:
    """Problems with code that a composed configuration names: compiled programs, and classes of Hydra's loggers.

    A folder of compiled programs may be named on the command line; no file may name one, and nothing may name classes.
    """
    values: Any = OmegaConf.to_container(cfg, resolve=False)
    folder, found = values.get("compile_cache", "auto"), []
    if folder not in ANYBODYS["compile_cache"] and "compile_cache" not in _keys(overrides):
        found.append(
            f"compile_cache={show(folder)}: not allowed in a file, as compiled programs are loaded from there; "
            "allowed in a file: auto, null; on the command line: any folder"
        )
    for key in ("job_logging", "hydra_logging"):
        for path, value in rundir.flat({f"hydra.{key}": (values.get("hydra") or {}).get(key)}).items():
            named = path.rpartition(".")[2] in ("()", "class") or "://" in str(value)
            if named and not LOGGING.fullmatch(str(value)):
                found.append(f"{path}={show(value)}: not allowed; a configuration names nothing to import")
    return found


def _filled_in(node: Any, recorded: Any, path: str, found: list[str]) -> Any:
    """Plain values with ``recorded`` values in place of resolvers; adds to ``found`` where there is none."""
    if isinstance(node, dict):
        below = recorded if isinstance(recorded, dict) else {}
        return {
            k: _filled_in(v, below.get(k, _ABSENT), f"{path}.{k}" if path else str(k), found) for k, v in node.items()
        }
    if isinstance(node, list):
        below = recorded if isinstance(recorded, list) and len(recorded) == len(node) else [_ABSENT] * len(node)
        return [_filled_in(v, r, f"{path}[{i}]", found) for i, (v, r) in enumerate(zip(node, below, strict=True))]
    if not isinstance(node, str) or not evaluates(node):
        return node
    if recorded is _ABSENT:
        found.append(
            f"{path}={show(node)}: not evaluated, as it comes from a directory; allowed: a plain value, "
            f"in {rundir.RUN} or in its place"
        )
    return _literal(recorded)


def _literal(value: Any) -> Any:
    """A value that stands for itself, whatever text it holds."""
    if isinstance(value, dict):
        return {k: _literal(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_literal(v) for v in value]
    return value.replace("${", "\\${") if isinstance(value, str) else value


def _is_anybodys(text: str) -> bool:
    """Whether a sweep's record may hold an override."""
    override, _ = parse(text)
    if override is None:  # composing tells why
        return True
    value = text.partition("=")[2]
    elsewhere = override.key in catalogue.GROUPS and re.search(r"/|\.\.", value)  # an option outside of the folders
    if evaluates(text) or "_target_" in text or override.package or elsewhere:
        return False
    section = re.split(r"[./]", override.key)[0]
    return DECIDES.get(section) != "person" or bool(ANYBODYS_WORDS.match(f"{override.key}={value}"))


def _keys(overrides: list[str]) -> set[str]:
    return {text.lstrip("+~").partition("=")[0] for text in overrides}
