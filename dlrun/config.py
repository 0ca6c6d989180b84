"""From overrides to plain values, by Hydra; with cli.py the only file that knows Hydra and OmegaConf."""

import concurrent.futures
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log, run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from hydra.version import setbase
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from dlrun import catalogue, rundir
from dlrun.schema import InvalidConfig, nearest, show

OWN_TARGETS = ("hydra.", "hydra_plugins.", "dlrun.")


def loader(config_dirs: list[Path]) -> Hydra:
    """Hydra over the packaged configs, with the user's folders before them, so that a user's option wins."""
    for folder in config_dirs:
        if not folder.is_dir():
            raise InvalidConfig([f"--config-dir {folder}: no such folder"])
    search = ConfigSearchPathImpl()
    search.append("hydra", "pkg://hydra.conf")
    for number, folder in enumerate(config_dirs):
        search.append(f"user{number}", f"file://{folder.resolve()}")
    search.append("main", f"file://{catalogue.conf()}")
    search.append("schema", "structured://")
    Plugins.instance()  # registers the kinds of config sources
    GlobalHydra.instance().clear()
    setbase("1.3")
    OmegaConf.register_new_resolver("run_dir", _fresh_name, use_cache=True, replace=True)
    return Hydra.create_main_hydra2("dlrun", search)


def _fresh_name(root: str) -> str:
    return os.path.join(root, time.strftime("%Y-%m-%d"), f"{time.strftime('%H-%M-%S')}-{secrets.token_hex(3)}")


def compose(hydra: Hydra, overrides: list[str], *, multirun: bool = False) -> DictConfig:
    """The whole configuration, Hydra's part included. Raises :class:`InvalidConfig` with everything that is wrong."""
    mode = RunMode.MULTIRUN if multirun else RunMode.RUN
    try:
        cfg = hydra.compose_config("config", [*overrides, f"hydra.mode={mode.name}"], mode)
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        found = _diagnose(hydra, overrides, multirun)
        raise InvalidConfig(found or [_first_lines(error)]) from None
    return cfg


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The task's part of a configuration as plain values, every interpolation resolved."""
    task = OmegaConf.masked_copy(cfg, [k for k in cfg if k != "hydra"]) if "hydra" in cfg else cfg
    try:
        values = OmegaConf.to_container(task, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise InvalidConfig([f"{error.full_key}: {_first_lines(error)}"]) from None
    return values  # pyright: ignore[reportReturnType]


def targets(node: Any, path: str = "") -> list[str]:
    """Problems with ``_target_`` keys anywhere below a node: a configuration holds values, never things to import."""
    found = []
    if isinstance(node, dict):
        for key, value in node.items():
            where = f"{path}.{key}" if path else str(key)
            ours = path.startswith("hydra") and isinstance(value, str) and value.startswith(OWN_TARGETS)
            if key == "_target_" and not ours:
                found.append(f"{where}={show(value)}: not allowed; a configuration holds values, never things to import")
            else:
                found += targets(value, where)
    elif isinstance(node, list):
        for i, value in enumerate(node):
            found += targets(value, f"{path}[{i}]")
    return found


def check_targets(cfg: DictConfig) -> list[str]:
    """Problems with ``_target_`` in a whole configuration, Hydra's own part included."""
    return targets(OmegaConf.to_container(cfg, resolve=False))


def shadowed(cfg: DictConfig, config_dirs: list[Path]) -> list[str]:
    """Notices for the chosen options of which a user's file replaces the packaged one."""
    found = []
    for group, option in cfg.hydra.runtime.choices.items():
        if not group.startswith("hydra/") and (catalogue.conf() / group / f"{option}.yaml").is_file():
            own = next((f for d in config_dirs if (f := d / group / f"{option}.yaml").is_file()), None)
            if own:
                found.append(f"{group}={option} is your {own}, not the packaged option of that name")
    own = next((d / "config.yaml" for d in config_dirs if (d / "config.yaml").is_file()), None)
    return [f"{own} replaces the packaged defaults", *found] if own else found


def run(hydra: Hydra, cfg: DictConfig, task: Callable[[Path], Any]) -> Any:
    """Creates the run directory exclusively, writes ``.hydra/``, sets up log.txt, and calls ``task`` with it."""
    while True:
        directory = Path(str(OmegaConf.select(cfg, "hydra.run.dir")))
        if rundir.create(directory):
            break
        if "run_dir" not in str(OmegaConf.to_container(cfg.hydra.run, resolve=False)["dir"]):  # pyright: ignore
            raise InvalidConfig([f"hydra.run.dir={directory}: already in use; to go on with a run: dlrun resume DIR"])
        OmegaConf.clear_cache(cfg)  # somebody drew the same name in the same second: draw again
    done = concurrent.futures.Future()  # rather than Hydra's JobReturn, which prints tracebacks of its own

    def job(_: DictConfig) -> None:
        try:
            done.set_result(task(directory))
        except BaseException as error:
            done.set_exception(error)

    run_job(
        task_function=job,
        config=cfg,
        job_dir_key="hydra.run.dir",
        job_subdir_key=None,
        hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks()),
    )
    return done.result()


def sweep(hydra: Hydra, cfg: DictConfig, job: Callable[[DictConfig], Any]) -> Path:
    """Runs a sweep through Hydra's sweeper and launcher, ``job`` for each of its configurations; gives its directory."""
    directory = Path(str(OmegaConf.select(cfg, "hydra.sweep.dir")))
    configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks())
    sweeper = Plugins.instance().instantiate_sweeper(config=cfg, hydra_context=context, task_function=job)
    sweeper.sweep(arguments=OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False))  # pyright: ignore
    return directory


def output_dir() -> Path:
    """The directory of the job that Hydra is running."""
    return Path(HydraConfig.get().runtime.output_dir)


def text(cfg: DictConfig, part: str, *, resolve: bool) -> str:
    """A configuration as YAML: the ``job``'s part, ``hydra``'s, or ``all``."""
    keys = {"job": [k for k in cfg if k != "hydra"], "hydra": ["hydra"], "all": list(cfg)}[part]
    HydraConfig.instance().set_config(cfg)
    return OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, keys), resolve=resolve).rstrip()


def load(file: Path) -> DictConfig:
    """A configuration that was written to a run directory."""
    return OmegaConf.load(file)  # pyright: ignore[reportReturnType]


def override(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """A copy of a written configuration with ``key=value`` overrides applied to keys that exist."""
    cfg, found = OmegaConf.create(OmegaConf.to_container(cfg)), []  # pyright: ignore
    for text in overrides:
        parsed, problem = _parse(text)
        if problem:
            found.append(problem)
        elif parsed.is_sweep_override() or not parsed.is_change():
            found.append(f"{text}: not allowed here; allowed: key=value")
        elif OmegaConf.select(cfg, parsed.key_or_group, default=_ABSENT) is _ABSENT:
            found.append(f"{parsed.key_or_group}: unknown key{nearest(parsed.key_or_group, _paths(cfg))}")
        else:
            OmegaConf.update(cfg, parsed.key_or_group, parsed.value())
    if found:
        raise InvalidConfig(found)
    return cfg


def save(cfg: DictConfig, file: Path) -> None:
    """Writes a configuration the way Hydra does, atomically."""
    rundir.write(file, OmegaConf.to_yaml(cfg))


_ABSENT = object()


def _parse(text: str) -> tuple[Any, str | None]:
    try:
        return OverridesParser.create().parse_override(text), None
    except HydraException as error:
        return None, f"{text}: can't be read as key=value: {_first_lines(error)}"


def _diagnose(hydra: Hydra, overrides: list[str], multirun: bool) -> list[str]:
    """What is wrong with overrides that Hydra refused: all of it, where Hydra names the first."""
    found, choices, values = [], [], []
    options = hydra.config_loader.get_group_options
    groups = [g for g in hydra.config_loader.list_groups("") if g != "hydra"]
    for text in overrides:
        parsed, problem = _parse(text)
        if problem:
            found.append(problem)
            continue
        name, value = parsed.key_or_group, parsed.value()
        if parsed.is_sweep_override() and not multirun:
            found.append(f"{text}: several values need a sweep: dlrun -m {text}")
        elif name in groups:
            known = options(name)
            chosen = [c for c in _swept(parsed) if c is not None and c not in known and str(c) not in known]
            found += [f"{name}={show(c)}: unknown option{nearest(str(c), known)}; known: {', '.join(known)}" for c in chosen]
            if not chosen:
                choices.append(text if not parsed.is_sweep_override() else f"{name}={_swept(parsed)[0]}")
        elif name.startswith("hydra") or "@" in text.split("=")[0]:
            choices.append(text)
        elif not parsed.is_add():
            values.append((name, value))
    try:
        cfg = hydra.compose_config("config", [c for c in choices if not c.startswith("hydra.sweeper")], RunMode.RUN)
    except (HydraException, OmegaConfBaseException, OSError) as error:
        return found or [_first_lines(error)]
    with open_dict(cfg):
        del cfg["hydra"]
    known = [*_paths(cfg), *groups]
    for name, _ in values:
        if OmegaConf.select(cfg, name, default=_ABSENT) is _ABSENT:
            found.append(f"{name}: unknown key{nearest(name, known)}")
    return found


def _swept(parsed: Any) -> list[Any]:
    """The options a group override names: one, or several in a sweep."""
    if parsed.is_sweep_override():
        return [str(v).split("=", 1)[-1] for v in parsed.sweep_string_iterator()]
    return [parsed.value()]


def _paths(node: Any, path: str = "") -> list[str]:
    if isinstance(node, DictConfig):
        node = OmegaConf.to_container(node)
    if not isinstance(node, dict):
        return [path]
    below = [p for key, value in node.items() for p in _paths(value, f"{path}.{key}" if path else str(key))]
    return ([path] if path else []) + below


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines else type(error).__name__
