"""``dlrun show``: tables of options and keys, drawings of activations and schedules, layers of a model on data."""

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.check.charts import CHARTS
from dlrun.cli import help, prepare
from dlrun.config import catalogue
from dlrun.errors import InvalidConfig

if TYPE_CHECKING:  # imported only where something is drawn: a table should come at once
    from dlrun.config.plan import Plan
    from dlrun.program.setup import Setup


def show(words: list[str], args: argparse.Namespace) -> int:
    """Prints and draws what the words name."""

    trust = prepare.trust(args)

    def checked(overrides: list[str]) -> Any:
        from dlrun.config import composition

        return prepare.checked(*composition.compose(composition.loader(args.config_dir), overrides), trust)

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # meanings hold letters that not every encoding has
    draw_or_tell(words, args.config_dir, trust, save=args.save, checked=checked, prepared=prepare.prepare)
    return 0


def draw_or_tell(
    words: list[str],
    config_dirs: list[Path],
    trust: tuple[str, ...] = (),
    *,
    save: Path | None = None,
    checked: Callable[[list[str]], "Plan"],
    prepared: Callable[["Plan"], "Setup"],
) -> None:
    """Prints what the words name, as :func:`dlrun.cli.help.show` tells it, and draws ``act=…`` and ``schedule=…``.

    ``model=…`` and ``data=…`` together give a table of layers. Drawings and layers are those of a run; the other
    ``key=value`` and ``group=option`` describe that run, as for training.

    Args:
      save: file that the drawing goes to as well.
      checked: gives the plan of a run from its overrides.
      prepared: gives the setup of a plan.

    Raises:
      InvalidConfig: with all that is wrong with the words; when ``save`` can't be written.
    """
    chosen = {word: word.partition("=")[0] for word in words if word.partition("=")[2]}
    charts = {word: CHARTS[group] for word, group in chosen.items() if group in CHARTS}
    if save is not None:
        if not charts:
            raise InvalidConfig([f"--save {save}: nothing to draw; allowed: act=... and schedule=..."])
        from dlrun.display import line_chart

        line_chart.check(save)
    elif {"model", "data"} <= set(chosen.values()):
        setup = prepared(checked(words))
        from dlrun.check import layers

        layers.show(setup)
        return

    groups = catalogue.groups(help.folders(config_dirs))
    run = [word for word in words if charts and "=" in word and word not in charts]
    wrong, text, drawn = [], "", []
    try:
        text = help.show([w for w in words if w not in run or chosen.get(w) in groups], config_dirs, trust)
    except InvalidConfig as error:
        wrong += error.problems
    for word, chart in charts.items():
        if save is not None or _importable(word, config_dirs, trust):
            try:
                drawn.append(chart(word, checked([*run, word]), prepared))
            except InvalidConfig as error:
                wrong += error.problems
    if wrong:
        raise InvalidConfig(dict.fromkeys(wrong))
    if save is not None:
        line_chart.save(drawn, save)
    print(text)
    for chart in drawn:
        from dlrun.display import line_chart

        print()
        line_chart.show(chart)


def _importable(word: str, config_dirs: list[Path], trust: tuple[str, ...]) -> bool:
    """Whether an option's component may be imported; its table tells why it may not."""
    from dlrun.config import components

    group, _, option = word.partition("=")
    file = catalogue.options(group, help.folders(config_dirs)).get(option)
    try:
        return file is not None and bool(components.resolve(group, catalogue.component(file) or option, trust))
    except InvalidConfig:
        return False
