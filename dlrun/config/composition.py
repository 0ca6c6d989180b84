"""Turns overrides into plain values: Hydra composes, and this file finds and words all that is wrong with overrides."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from dlrun.config import catalogue, directories, ignored, trust
from dlrun.config.hydra_adapter import Config, Hydra, HydraError, Override
from dlrun.config.overrides import error_line, one_duration, parse, twice
from dlrun.errors import InvalidConfig, nearest, show

REFUSALS = (HydraError, OmegaConfBaseException, YAMLError, OSError, ValueError, TypeError)
"""What composing may raise, whatever the overrides and the user's files hold."""
_ABSENT = object()
OF_PLUGINS = ("hydra/launcher", "hydra/sweeper")
OWN_TARGETS = ("hydra.", "hydra_plugins.", "dlrun.")


def loader(config_dirs: list[Path]) -> Hydra:
    """Hydra over the packaged configs, with the user's folders before them, so that a user's option wins."""
    for folder in config_dirs:
        if not folder.is_dir():
            raise InvalidConfig([f"--config-dir {folder}: no such folder"])
    directories.register()
    return Hydra([folder.resolve() for folder in config_dirs], catalogue.conf())


def compose(hydra: Hydra, overrides: list[str], *, multirun: bool = False) -> tuple[Config, list[str]]:
    """The whole configuration, Hydra's part included, and what is wrong with the overrides.

    Hydra refuses a command for the first thing that is wrong with it. Then the overrides are tried one by one, so that
    all problems become known, and the values of the good ones can still be checked.
    """
    found = twice(overrides)
    try:
        cfg = hydra.compose(overrides, multirun=multirun)
    except REFUSALS as refusal:
        cfg, refused = _piecewise(hydra, overrides, refusal, multirun=multirun)
        found += refused
    for text in one_duration(overrides)[len(overrides) :]:  # not typed, so not among the overrides on record
        OmegaConf.update(cfg, text.partition("=")[0], None, force_add=True)
    found += ignored.of_experiments(hydra, cfg, overrides, multirun=multirun)
    return cfg, found + forbidden(cfg) + trust.of_files(cfg, overrides)


def plain(cfg: Config) -> tuple[dict[str, Any], list[str]]:
    """A configuration without Hydra's part, as plain values, and what is wrong with references and missing values."""
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
            found.append(f"{error.full_key or key}: {error_line(error)}")
    return values, found


def _targets(node: Any, path: str = "") -> list[str]:
    """Problems with ``_target_`` keys anywhere below a node: a configuration holds values, never things to import."""
    problems = []
    if isinstance(node, dict):
        for key, value in node.items():
            where = f"{path}.{key}" if path else str(key)
            ours = path.startswith("hydra") and isinstance(value, str) and value.startswith(OWN_TARGETS)
            if key == "_target_" and not ours:
                problems.append(f"{where}={show(value)}: not allowed; a configuration holds values, nothing to import")
            else:
                problems += _targets(value, where)
    elif isinstance(node, list):
        for i, value in enumerate(node):
            problems += _targets(value, f"{path}[{i}]")
    return problems


def forbidden(cfg: Config) -> list[str]:
    """Problems with what no configuration may hold, wherever that comes from.

    Examples are things to import, several options of a group, or another layout of the run directory.
    """
    found = _targets(OmegaConf.to_container(cfg, resolve=False))
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
    found = [
        f"--config-dir {d}: holds no options (GROUP/OPTION.yaml)" for d in config_dirs if not catalogue.has_options(d)
    ]
    found += [f"{file}: not read; allowed: the suffix .yaml" for d in config_dirs for file in catalogue.misnamed(d)]
    for file in ["config.yaml", *(f"{group}/{option}.yaml" for group, option in cfg.hydra.runtime.choices.items())]:
        own = next((d / file for d in config_dirs if (d / file).is_file()), None)
        if own and (packaged / file).is_file():
            found.append(f"{own} replaces the packaged {file}")
    return found


def assign(cfg: Config, override: Override) -> list[str]:
    """Gives a key its value, and says what is wrong with that.

    Unknown keys and values of any type are accepted: :func:`dlrun.config.plan.plan` checks them later, all at once.
    """
    key = override.key
    try:
        if not key:
            return [f"{override.text}: has no key; allowed: key=value"]
        if override.deletes:
            return [f"{override.text}: unknown key"] if _absent(cfg, override) else []
        if not override.sweeps:
            OmegaConf.update(cfg, key, override.value, merge=False, force_add=True)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        return [f"{override.text}: {error_line(error)}"]
    return []


def _piecewise(hydra: Hydra, overrides: list[str], of_all: Exception, *, multirun: bool) -> tuple[Config, list[str]]:
    """The configuration that the good overrides make, and what is wrong with the others; ``of_all`` refused all."""
    groups = hydra.groups()
    choices, values, found = [], [], []
    cfg: Config | None = None  # of the choices
    for text in overrides:
        override, problem = parse(text)
        if override is None:
            found.append(problem)
        elif override.sweeps:
            values.append(override)
            if not multirun:
                found.append(f"{text}: several values need a sweep: dlrun -m {text}")
        elif override.key in groups or override.of_hydra:
            try:
                if [*choices, text] == overrides:
                    raise of_all
                cfg = hydra.compose([*choices, text], multirun=multirun)
                choices.append(text)
            except REFUSALS as refusal:
                cfg = cfg or hydra.compose(choices, multirun=multirun)
                found.append(_refused(hydra, cfg, override, refusal))
        else:
            values.append(override)
    try:
        cfg = cfg or hydra.compose(choices, multirun=multirun)
    except REFUSALS as refusal:  # the user's own configs are broken, whatever the overrides
        raise InvalidConfig([*found, error_line(refusal)]) from None
    # A key that a file leaves out may be given all the same: the component's signature knows it, or nothing does.
    amended = [("++" if v.changes and _absent(cfg, v) else "") + v.text for v in values]
    found += [problem for v in values for problem in assign(cfg, v)]
    if not found:
        try:
            return hydra.compose([*choices, *amended], multirun=multirun), []
        except REFUSALS as refusal:
            found.append(error_line(refusal))
    return cfg, found


def _refused(hydra: Hydra, cfg: Config, override: Override, refusal: Exception) -> str:
    """Why an option can't be chosen, or a key of Hydra's part can't be set."""
    group, value = override.key, override.value
    if unknown := _unknown(cfg, group):
        return unknown
    if group == catalogue.EXPERIMENT and (problem := ignored.refused(hydra, value, str(refusal))):
        return problem
    known = hydra.options(group)
    if not known or override.package or override.deletes or (isinstance(value, str) and value in known):
        return f"{override.text}: {error_line(refusal)}"
    more = "; others need a plugin of Hydra's, such as hydra-joblib-launcher" if group in OF_PLUGINS else ""
    return f"{group}={show(value)}: unknown option{nearest(show(value), known)}; known: {', '.join(known)}{more}"


def _unknown(cfg: Config, key: str) -> str | None:
    """What to say of a key ``hydra.…`` that does not exist; None for one that does."""
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


def _absent(cfg: Config, override: Override) -> bool:
    try:
        return OmegaConf.select(cfg, override.key, default=_ABSENT) is _ABSENT
    except (OmegaConfBaseException, ValueError):  # a.b below an a that is no section
        return True


def _container(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
