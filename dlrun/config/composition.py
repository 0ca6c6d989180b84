"""From overrides to plain values, by Hydra; with cli.py the only file that knows Hydra and OmegaConf."""

import concurrent.futures
import copy
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override, OverrideType
from hydra.core.plugins import Plugins
from hydra.core.utils import run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from hydra.version import setbase
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from dlrun.config import catalogue, ignored
from dlrun.config.overrides import _twice, one_duration, parse, said
from dlrun.errors import InvalidConfig, nearest, show
from dlrun.runs import atomic, rundir

Config: TypeAlias = DictConfig
REFUSALS = (HydraException, OmegaConfBaseException, YAMLError, OSError, ValueError, TypeError)
_ABSENT = object()
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


def compose(hydra: Hydra, overrides: list[str], *, multirun: bool = False) -> tuple[Config, list[str]]:
    """The whole configuration, Hydra's part included, and what is wrong with the overrides.

    Where Hydra refuses, naming the first thing it dislikes, the overrides are taken one by one: so all problems are
    known, and the values that remain can still be checked.
    """
    mode = RunMode.MULTIRUN if multirun else RunMode.RUN
    found = _twice(overrides)
    try:
        cfg = _composed(hydra, overrides, mode)
    except REFUSALS:
        cfg, refused = _piecewise(hydra, overrides, mode)
        found += refused
    for text in one_duration(overrides)[len(overrides) :]:  # not typed, so not among the overrides on record
        OmegaConf.update(cfg, text.partition("=")[0], None, force_add=True)
    return cfg, found + ignored.of_experiments(hydra, cfg, overrides, mode) + _not_ours(cfg)


def plain(cfg: Config) -> tuple[dict[str, Any], list[str]]:
    """The task's part of a configuration as plain values, and what is wrong with references and missing values."""
    values, found = {}, []
    for key in [k for k in cfg if k != "hydra"]:
        try:
            if OmegaConf.is_missing(cfg, key):
                raise MissingMandatoryValue("")
            value = cfg[key]
            values[key] = _container(value) if OmegaConf.is_config(value) else value
        except MissingMandatoryValue as error:
            found.append(f"{error.full_key or key}=???: a value must be given")
        except OmegaConfBaseException as error:
            found.append(f"{error.full_key or key}: {said(error)}")
    return values, found


def targets(node: Any, path: str = "") -> list[str]:
    """Problems with ``_target_`` keys anywhere below a node: a configuration holds values, never things to import."""
    found = []
    if isinstance(node, dict):
        for key, value in node.items():
            where = f"{path}.{key}" if path else str(key)
            ours = path.startswith("hydra") and isinstance(value, str) and value.startswith(OWN_TARGETS)
            if key == "_target_" and not ours:
                found.append(f"{where}={show(value)}: not allowed; a configuration holds values, nothing to import")
            else:
                found += targets(value, where)
    elif isinstance(node, list):
        for i, value in enumerate(node):
            found += targets(value, f"{path}[{i}]")
    return found


def _not_ours(cfg: Config) -> list[str]:
    """What a configuration must not hold wherever it comes from: imports, or another layout of the run directory."""
    found = targets(OmegaConf.to_container(cfg, resolve=False))
    if "hydra" in cfg:
        several = {
            k: v for k, v in cfg.hydra.runtime.choices.items() if OmegaConf.is_list(v) and k != catalogue.EXPERIMENT
        }
        found += [f"{k}={show(list(v))}: not allowed; allowed: one option" for k, v in several.items()]
        if cfg.hydra.job.chdir:
            found.append("hydra.job.chdir=true: not allowed; allowed: false, since paths are relative to where you are")
        if cfg.hydra.output_subdir != ".hydra":
            found.append(f"hydra.output_subdir={show(cfg.hydra.output_subdir)}: not allowed; allowed: .hydra")
    return found


def shadowed(cfg: Config, config_dirs: list[Path]) -> list[str]:
    """Notices for folders and files that are no options, and for chosen options that replace a packaged one."""
    packaged = catalogue.conf()
    found = [f"--config-dir {d}: holds no options (GROUP/OPTION.yaml)" for d in config_dirs if not catalogue.holds(d)]
    found += [f"{file}: not read; allowed: the suffix .yaml" for d in config_dirs for file in catalogue.misnamed(d)]
    for file in ["config.yaml", *(f"{group}/{option}.yaml" for group, option in cfg.hydra.runtime.choices.items())]:
        own = next((d / file for d in config_dirs if (d / file).is_file()), None)
        if own and (packaged / file).is_file():
            found.append(f"{own} replaces the packaged {file}")
    return found


def run(hydra: Hydra, cfg: Config, task: Callable[[Path], Any]) -> Any:
    """Creates the run directory exclusively, writes ``.hydra/``, sets up log.txt, and calls ``task`` with it."""
    directory = create(cfg, "hydra.run.dir")
    with open_dict(cfg):
        for group in catalogue.NOT_OF_A_RUN:
            cfg.pop(group, None)
    done = concurrent.futures.Future()  # rather than Hydra's JobReturn, which prints tracebacks of its own

    def job(_: Config) -> None:
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


def create(cfg: Config, key: str) -> Path:
    """Makes the directory that ``key`` names, which nobody else may have."""
    while True:
        name = _directory(cfg, key)
        if not name or not isinstance(name, str):
            raise InvalidConfig([f"{key}={show(name)}: not allowed; allowed: a folder's name"])
        try:
            if rundir.create(Path(name)):
                return Path(name)
        except (OSError, ValueError) as error:
            raise InvalidConfig([f"{key}={show(name)}: can't be made: {getattr(error, 'strerror', error)}"]) from None
        if "run_dir" not in raw(cfg, key):
            raise InvalidConfig([f"{key}={show(name)}: already in use; to go on with a run: dlrun resume DIR"])
        OmegaConf.clear_cache(cfg)  # somebody drew the same name in the same second: draw again


def named_directory(cfg: Config, key: str) -> str | None:
    """The directory that ``key`` names, where it is the user's name rather than a fresh one."""
    name = _directory(cfg, key)
    return name if isinstance(name, str) and name and "run_dir" not in raw(cfg, key) else None


def _directory(cfg: Config, key: str) -> Any:
    try:
        return OmegaConf.select(cfg, key)
    except OmegaConfBaseException as error:
        raise InvalidConfig([f"{key}={show(raw(cfg, key))}: {said(error)}"]) from None


def raw(cfg: Config, key: str) -> str:
    """A value of Hydra's part as it is written, references and all."""
    node: Any = OmegaConf.to_container(cfg.hydra, resolve=False)
    for part in key.split(".")[1:]:
        node = node[part]
    return str(node)


def text(cfg: Config, part: str, *, resolve: bool) -> str:
    """A configuration as YAML: the ``job``'s part, ``hydra``'s, or ``all``."""
    keys = {"job": [k for k in cfg if k != "hydra"], "hydra": ["hydra"], "all": list(cfg)}[part]
    HydraConfig.instance().set_config(cfg)
    return OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, keys), resolve=resolve).rstrip()


def load(file: Path) -> Config:
    """A configuration that was written to a run directory. Raises :class:`InvalidConfig` where it can't be read."""
    try:
        cfg = OmegaConf.load(file)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise InvalidConfig([f"{file}: can't be read: {said(error)}"]) from None
    if not isinstance(cfg, DictConfig) or not cfg:
        raise InvalidConfig([f"{file}: can't be read: it holds no keys"])
    return cfg


def override(cfg: Config, overrides: list[str]) -> tuple[Config, list[str]]:
    """A copy of a written configuration with ``key=value`` overrides applied, and what is wrong with them."""
    cfg, found = copy.deepcopy(cfg), [*_twice(overrides), *ignored.typed(overrides)]
    for text in one_duration(overrides):
        parsed, problem = parse(text)
        if parsed is not None and (parsed.is_sweep_override() or parsed.type is not OverrideType.CHANGE):
            problem = f"{text}: not allowed here; allowed: key=value"
        found += _set(cfg, parsed) if parsed and not problem else [problem]
    ignored.taken(cfg)
    return cfg, found + _not_ours(cfg)


def save(cfg: Config, file: Path) -> None:
    """Writes a configuration the way Hydra does, atomically."""
    atomic.write(file, OmegaConf.to_yaml(cfg))


def _composed(hydra: Hydra, overrides: list[str], mode: RunMode) -> Config:
    return hydra.compose_config("config", [*overrides, f"hydra.mode={mode.name}"], mode)


def _piecewise(hydra: Hydra, overrides: list[str], mode: RunMode) -> tuple[Config, list[str]]:
    """What the good ones of the overrides give, and what is wrong with the others."""
    groups = hydra.config_loader.list_groups("")
    choices, values, found = [], [], []
    for text in overrides:
        parsed, problem = parse(text)
        if parsed is None:
            found.append(problem)
        elif parsed.is_sweep_override():
            values.append(parsed)
            if mode is RunMode.RUN:
                found.append(f"{text}: several values need a sweep: dlrun -m {text}")
        elif parsed.key_or_group in groups or parsed.key_or_group.startswith(("hydra.", "hydra/")):
            try:
                _composed(hydra, [*choices, text], mode)
                choices.append(text)
            except REFUSALS as refusal:
                found.append(_refused(hydra, _composed(hydra, choices, mode), parsed, refusal))
        else:
            values.append(parsed)
    try:
        cfg = _composed(hydra, choices, mode)
    except REFUSALS as refusal:  # the user's own configs are broken, whatever the overrides
        raise InvalidConfig([*found, said(refusal)]) from None
    # A key that a file leaves out may be given all the same: the component's signature knows it, or nothing does.
    amended = [("++" if v.type is OverrideType.CHANGE and _absent(cfg, v) else "") + str(v.input_line) for v in values]
    found += [problem for v in values for problem in _set(cfg, v)]
    if not found:
        try:
            return _composed(hydra, [*choices, *amended], mode), []
        except REFUSALS as refusal:
            found.append(said(refusal))
    return cfg, found


def _refused(hydra: Hydra, cfg: Config, parsed: Override, refusal: Exception) -> str:
    """Why an option can't be chosen, or a key of Hydra's part can't be set."""
    group, value = parsed.key_or_group, parsed.value()
    if unknown := _unknown(cfg, group):
        return unknown
    if group == catalogue.EXPERIMENT and (problem := ignored.refused(hydra, value, str(refusal))):
        return problem
    known = hydra.config_loader.get_group_options(group)
    if not known or parsed.package or parsed.is_delete() or (isinstance(value, str) and value in known):
        return f"{parsed.input_line}: {said(refusal)}"
    return f"{group}={show(value)}: unknown option{nearest(show(value), known)}; known: {', '.join(known)}"


def _unknown(cfg: Config, key: str) -> str | None:
    """What to say of a key ``hydra.…`` that there is not."""
    names, node = key.split("."), OmegaConf.to_container(cfg, resolve=False)
    for i, name in enumerate(names if names[0] == "hydra" else []):
        if not isinstance(node, dict):
            break
        if name not in node:
            known, group = [str(k) for k in node if k != "_target_"], f"hydra/{names[1]}"
            option = cfg.hydra.runtime.choices.get(group)
            of = f"known to {group}={option}" if option else "known"
            return f"{'.'.join(names[: i + 1])}: unknown key{nearest(name, known)}; {of}: {', '.join(known)}"
        node = node[name]
    return None


def _absent(cfg: Config, parsed: Override) -> bool:
    try:
        return OmegaConf.select(cfg, parsed.key_or_group, default=_ABSENT) is _ABSENT
    except (OmegaConfBaseException, ValueError):  # a.b below an a that is no section
        return True


def _set(cfg: Config, parsed: Override) -> list[str]:
    """Sets a key, known or not and whatever the type: that is for the check of all values to say."""
    key = parsed.key_or_group
    try:
        if not key:
            return [f"{parsed.input_line}: has no key; allowed: key=value"]
        if parsed.is_delete():
            return [f"{parsed.input_line}: unknown key"] if _absent(cfg, parsed) else []
        if not parsed.is_sweep_override():
            OmegaConf.update(cfg, key, parsed.value(), merge=False, force_add=True)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        return [f"{parsed.input_line}: {said(error)}"]
    return []


def _container(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
