"""Hydra behind plain functions and types: the one file that imports it, and that uses its internals.

Hydra's documented way in is a decorator that parses ``sys.argv``, prints tracebacks and ends the process. What dlrun
needs instead (composing from several folders, reading an override, one run, another launcher's sweep) are parts of
Hydra that a later version may change: then this file is to be changed, and no other. OmegaConf's public functions are
used elsewhere too.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.hydra import Hydra as MainHydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser import types as grammar
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import configure_log, run_job
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import HydraContext, RunMode
from hydra.version import setbase
from omegaconf import DictConfig

Config: TypeAlias = DictConfig
HydraError = HydraException
"""What Hydra raises for an override that it can't read, or a configuration that it can't compose."""
NAME = "config"  # of the file that all composition begins with: config.yaml


@dataclass(frozen=True)
class Part:
    """A file of a composed configuration.

    Args:
      path: as in ``model/mlp``.
      section: where its keys land.
      primary: whether it is config.yaml, where composition begins.
    """

    path: str
    section: str
    primary: bool


class Hydra:
    """Hydra over folders of configs. Of files with the same name, the one in the earliest folder counts.

    Args:
      own: the user's folders, as absolute paths.
      packaged: comes after them.

    Attributes:
      folders: all of them, in that order.
    """

    def __init__(self, own: Sequence[Path], packaged: Path):
        self.folders = [*own, packaged]
        search = ConfigSearchPathImpl()
        search.append("hydra", "pkg://hydra.conf")
        for number, folder in enumerate(own):  # hydra.yaml of each run has these names on record
            search.append(f"user{number}", f"file://{folder}")
        search.append("main", f"file://{packaged}")
        search.append("schema", "structured://")
        Plugins.instance()  # registers the kinds of config sources
        GlobalHydra.instance().clear()
        setbase("1.3")
        self._hydra = MainHydra.create_main_hydra2("dlrun", search)
        self._loader = self._hydra.config_loader

    def groups(self) -> list[str]:
        """Names of the groups at the top level."""
        return self._loader.list_groups("")

    def options(self, group: str) -> list[str]:
        """Names of a group's options; none of what is no group."""
        return self._loader.get_group_options(group)

    def compose(self, overrides: list[str], *, multirun: bool) -> Config:
        """The configuration that the overrides make. Raises :data:`HydraError` or an error of OmegaConf's."""
        mode = _mode(multirun)
        return self._hydra.compose_config(NAME, [*overrides, f"hydra.mode={mode.name}"], mode)

    def parts(self, overrides: list[str], *, multirun: bool) -> list[Part]:
        """The files that :meth:`compose` merges, in that order: a later one has the last word about a key."""
        listed = self._loader.compute_defaults_list(NAME, overrides, _mode(multirun)).defaults
        return [Part(p.config_path, str(p.package or ""), p.primary) for p in listed if p.config_path]

    def run(self, cfg: Config, task: Callable[[Config], None]) -> None:
        """Calls ``task`` as Hydra does: ``.hydra/`` is written to ``hydra.run.dir`` before, and logging goes there."""
        run_job(
            task_function=task,
            config=cfg,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
            hydra_context=self._context(),
        )

    def sweep(self, cfg: Config, overrides: list[str], task: Callable[[Config, Path], None]) -> None:
        """Has the sweeper and the launcher that ``cfg`` names call ``task`` for each job, perhaps in other processes.

        Args:
          task: takes the configuration of a job and its directory.
        """

        def job(cfg: Config) -> None:
            task(cfg, Path(HydraConfig.get().runtime.output_dir))

        configure_log(cfg.hydra.hydra_logging, cfg.hydra.verbose)
        plugins = Plugins.instance()
        sweeper = plugins.instantiate_sweeper(config=cfg, hydra_context=self._context(), task_function=job)
        sweeper.sweep(arguments=overrides)

    def _context(self) -> HydraContext:
        return HydraContext(config_loader=self._loader, callbacks=Callbacks())

    def read(self, text: str) -> "Override":
        """Reads an override; ``glob(*)`` in it stands for options of these folders."""
        override = read(text)
        override.parsed.config_loader = self._loader
        return override


def _mode(multirun: bool) -> RunMode:
    return RunMode.MULTIRUN if multirun else RunMode.RUN


def refer_to(cfg: Config) -> None:
    """From now on ``${hydra:...}`` stands for values of this configuration."""
    HydraConfig.instance().cfg = cfg  # pyright: ignore[reportAttributeAccessIssue]


def cause(error: BaseException) -> BaseException:
    """What an error is about: the error that Hydra's error of composing wraps, else the error itself."""
    return error.__cause__ or error if isinstance(error, ConfigCompositionException) else error


class Override:
    """An override such as ``+optim.lr=0.1`` or ``act=relu,gelu``, as Hydra reads it.

    Its values come as *elements*: plain values, except that text which was typed in quotes remembers them. See
    :func:`plain` and :func:`as_typed`.

    Args:
      parsed: Hydra's.

    Attributes:
      text: as typed.
      key: without ``+``, ``~`` and ``@package``: of a value, or the group of a choice.
      package: what is after the ``@``; None without one.
    """

    def __init__(self, parsed: grammar.Override):
        self.parsed = parsed
        self.text, self.key, self.package = str(parsed.input_line), parsed.key_or_group, parsed.package

    @property
    def name(self) -> str:
        """What is before the ``=``, as typed."""
        return self.parsed.get_key_element()

    @property
    def changes(self) -> bool:
        """Whether it is a plain ``key=value``, without ``+`` or ``~``."""
        return self.parsed.type is grammar.OverrideType.CHANGE

    @property
    def adds(self) -> bool:
        """Whether it is ``+key=value``."""
        return self.parsed.is_add()

    @property
    def deletes(self) -> bool:
        """Whether it is ``~key``."""
        return self.parsed.is_delete()

    @property
    def of_hydra(self) -> bool:
        """Whether its key is in Hydra's own part of the configuration."""
        return self.parsed.is_hydra_override()

    @property
    def element(self) -> Any:
        """Its one value, as an element; of several values, what Hydra makes of them: see the properties below."""
        return self.parsed._value

    @property
    def value(self) -> Any:
        """Its one value, plain."""
        return self.parsed.value()

    @property
    def sweeps(self) -> bool:
        """Whether it has several values, or an interval of them."""
        return self.parsed.is_sweep_override()

    @property
    def tags(self) -> set[str]:
        """The tags of its values: ``{"log"}`` for ``tag(log, ...)``."""
        return self.element.tags if isinstance(self.element, grammar.Sweep) else set()

    @property
    def interval(self) -> tuple[Any, Any] | None:
        """Start and end of an ``interval(...)``."""
        sweep = self.element
        return (sweep.start, sweep.end) if isinstance(sweep, grammar.IntervalSweep) else None

    @property
    def range(self) -> tuple[Any, Any, Any] | None:
        """Start, stop and step of a ``range(...)``."""
        sweep = self.element
        return (sweep.start, sweep.stop, sweep.step) if isinstance(sweep, grammar.RangeSweep) else None

    @property
    def numbers(self) -> Any:
        """The numbers of a range, not enumerated: a ``range``, or with ``start``, ``stop``, ``step`` as decimals."""
        return self.element.range()

    def elements(self) -> Iterator[Any]:
        """Its several values; ``shuffle(...)`` draws their order anew each time. Not of an interval."""
        return iter(self.parsed.sweep_iterator())

    def texts(self) -> tuple[str, ...]:
        """Its several values, each as typed, in the order that they were typed in."""
        sweep = self.element
        if getattr(sweep, "shuffle", False):
            sweep = replace(sweep, shuffle=False)
        return tuple(map(as_typed, replace(self.parsed, _value=sweep).sweep_iterator()))


def read(text: str) -> Override:
    """Reads an override. Raises :data:`HydraError` where it is none."""
    return Override(OverridesParser.create().parse_override(text))


def plain(element: Any) -> Any:
    """An element without the quotes around text."""
    return grammar.Override._convert_value(element)


def as_typed(element: Any) -> str:
    """An element as it is typed in an override."""
    return grammar.Override._get_value_element_as_str(element)


def in_quotes(text: str) -> Any:
    """This text in single quotes, as an element."""
    return grammar.QuotedString(text, grammar.Quote.single)
