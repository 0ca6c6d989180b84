"""Configurations as YAML: printed, written to a run's directory, read from there, and changed when a run is resumed."""

import copy
import io
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dlrun.config import ignored
from dlrun.config.composition import assign, forbidden
from dlrun.config.hydra_adapter import Config, refer_to
from dlrun.config.overrides import error_line, one_duration, parse, twice
from dlrun.errors import InvalidConfig
from dlrun.runs import atomic, files


def text(cfg: Config, part: str, *, resolve: bool) -> str:
    """A composed configuration as YAML.

    Args:
      part: ``job`` for all but Hydra's part, ``hydra`` for that alone, or ``all``.
      resolve: whether references between keys are filled in.
    """
    keys = {"job": [k for k in cfg if k != "hydra"], "hydra": ["hydra"], "all": list(cfg)}[part]
    refer_to(cfg)
    return OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, keys), resolve=resolve).rstrip()


def load(file: Path) -> Config:
    """A configuration that was written to a run directory. Raises :class:`InvalidConfig` where it can't be read."""
    try:
        content = files.start(file, files.YAML_BYTES + 1)
        files.yaml_texts(content)  # refuses a file that goes on
        cfg = OmegaConf.load(io.StringIO(content.decode()))
    except files.Refused as error:
        raise InvalidConfig([f"{file}: can't be read: it {error.strerror}"]) from None
    except OSError as error:
        raise InvalidConfig([f"{file}: can't be read: {(error.strerror or str(error)).lower()}"]) from None
    except (ValueError, YAMLError, OmegaConfBaseException) as error:
        raise InvalidConfig([f"{file}: can't be read: {error_line(error)}"]) from None
    if not isinstance(cfg, Config) or not cfg:
        raise InvalidConfig([f"{file}: can't be read: it holds no keys"])
    return cfg


def save(cfg: Config, file: Path) -> None:
    """Writes a configuration the way Hydra does, atomically."""
    atomic.write(file, OmegaConf.to_yaml(cfg))


def changed(cfg: Config, overrides: list[str]) -> tuple[Config, list[str]]:
    """A copy of a written configuration with ``key=value`` overrides applied, and what is wrong with them."""
    cfg, problems = copy.deepcopy(cfg), [*twice(overrides), *ignored.of_experiment_keys(overrides)]
    for text in one_duration(overrides):
        override, problem = parse(text)
        if override is not None and (override.sweeps or not override.changes):
            problem = f"{text}: not allowed here; allowed: key=value"
        problems += assign(cfg, override) if override and not problem else [problem]
    ignored.taken(cfg)
    return cfg, problems + forbidden(cfg)
