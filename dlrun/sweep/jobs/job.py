"""A job of a sweep: its checked configuration, and what the files of its ``.hydra`` folder hold."""

import json
import re
import textwrap
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dlrun.config import catalogue
from dlrun.runs import atomic

if TYPE_CHECKING:  # it imports jax
    from dlrun.config.plan import Plan


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # pyright: ignore[reportGeneralTypeIssues]
    """Writes the same YAML as ``OmegaConf.to_yaml``, ten times as fast."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_BOOLS = {form(word) for word in ("y", "yes", "n", "no", "true", "false", "on", "off")
          for form in (str.lower, str.title, str.upper)}  # fmt: skip


def _represented(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Text as YAML, in quotes where it would be read as a number or as true or false."""
    style = "'" if text in _BOOLS or _is(int, text) or _is(float, text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _is(number: type[int] | type[float], text: str) -> bool:
    try:
        number(text)
    except ValueError:
        return False
    return True


_Dumper.add_representer(str, _represented)


@dataclass(frozen=True, eq=False)
class HydraPart:
    """The node ``hydra`` of a configuration, unresolved; the same for all jobs of one composition."""

    values: dict[str, Any]

    @cached_property
    def template(self) -> str:
        """``.hydra/hydra.yaml``, with ``<own>`` for each value that is a job's own."""
        own = {section: dict.fromkeys(names, "<own>") for section, names in _OWN.items()}
        return dumped({"hydra": {**self.values, **{k: {**self.values[k], **own[k]} for k in own}}})


_OWN = {"overrides": ("task",), "job": ("override_dirname", "id", "num"), "runtime": ("output_dir",)}


@dataclass(frozen=True, eq=False)
class Job:
    """A checked job of a sweep. It can be pickled.

    Args:
      number: its place in the sweep, from 0.
      overrides: those that make the same run outside of the sweep, as a user would type them after ``dlrun``.
      plan: the checked configuration.
      written: the configuration of the run, with references between keys as they are written in the files.
      hydra: Hydra's part of the configuration.
    """

    number: int
    overrides: list[str]
    plan: "Plan"
    written: dict[str, Any]
    hydra: HydraPart

    @cached_property
    def config(self) -> str:
        """The text of ``.hydra/config.yaml``, without the launcher, which is no part of a run."""
        return dumped({k: v for k, v in self.written.items() if k not in catalogue.NOT_OF_A_RUN})


def dumped(values: Any) -> str:
    """Plain values as YAML that OmegaConf reads as the same values."""
    return yaml.dump(values, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)


def hydra_text(job: Job, directory: Path) -> str:
    """The text of ``.hydra/hydra.yaml`` of a job in ``directory``, as Hydra's own launcher writes it."""
    form = job.hydra.values["job"]["config"]["override_dirname"]
    shown = [text for text in job.overrides if key_of(text) not in form["exclude_keys"]]
    own = {
        "task": job.overrides,
        "override_dirname": form["item_sep"].join(sorted(shown)).replace("=", form["kv_sep"]),
        "id": str(job.number),
        "num": job.number,
        "output_dir": str(directory.absolute()),
    }
    text = job.hydra.template
    for key, value in own.items():
        text = text.replace(f"    {key}: <own>\n", textwrap.indent(dumped({key: value}), "    "), 1)
    return text


def key_of(text: str) -> str:
    """The key of an override."""
    return re.split("[=@]", text.lstrip("+~"), maxsplit=1)[0]


def without_waiting(data: Any) -> Any:
    """The section ``data`` without how long a server is waited for: it is the same data, and earlier runs lack that."""
    return {k: v for k, v in data.items() if k not in ("timeout", "min_rate")} if isinstance(data, dict) else data


def taken_from(values: dict[str, Any]) -> str:
    """The part of a configuration that decides where the data comes from and how it is split, as text."""
    how = without_waiting(values.get("data")), values.get("split"), (values.get("stream") or {}).get("fingerprint")
    return json.dumps(atomic.jsonable(how), sort_keys=True, default=str)
