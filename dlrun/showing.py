"""``dlrun show``: tables of options and keys, drawings of activations and schedules, layers of a model on data."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun import catalogue, help
from dlrun.schema import InvalidConfig

if TYPE_CHECKING:  # imported only where something is drawn: a table should come in a blink
    from dlrun.draw import Chart
    from dlrun.plan import Plan
    from dlrun.setup import Setup

REACH = 5.0  # an activation is drawn from -REACH to REACH
POINTS = 2000  # a schedule of more steps is drawn at so many of them


def show(
    words: list[str],
    config_dirs: list[Path],
    trust: tuple[str, ...] = (),
    *,
    save: Path | None = None,
    checked: Callable[[list[str]], "Plan"],
    prepared: Callable[["Plan"], "Setup"],
) -> None:
    """Prints what the words name, as :func:`dlrun.help.show` tells it, and draws ``act=…`` and ``schedule=…``.

    ``model=…`` and ``data=…`` together give a table of layers. What is drawn or has layers belongs to a run, which the
    other ``key=value`` and ``group=option`` describe as for training.

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
        from dlrun import draw

        draw.check(save)
    elif {"model", "data"} <= set(chosen.values()):
        setup = prepared(checked(words))
        from dlrun import layers

        layers.show(setup)
        return

    groups = catalogue.groups(help.folders(config_dirs))
    run = [word for word in words if charts and "=" in word and word not in charts]
    found, text, drawn = [], "", []
    try:
        text = help.show([w for w in words if w not in run or chosen.get(w) in groups], config_dirs, trust)
    except InvalidConfig as error:
        found += error.problems
    for word, chart in charts.items():
        if save is not None or _importable(word, config_dirs, trust):
            try:
                drawn.append(chart(word, checked([*run, word]), prepared))
            except InvalidConfig as error:
                found += error.problems
    if found:
        raise InvalidConfig(dict.fromkeys(found))
    if save is not None:
        draw.save(drawn, save)
    print(text)
    for chart in drawn:
        from dlrun import draw

        print()
        draw.show(chart)


def _importable(word: str, config_dirs: list[Path], trust: tuple[str, ...]) -> bool:
    """Whether an option's component may be imported; its table tells why it may not."""
    from dlrun import plan

    group, _, option = word.partition("=")
    file = catalogue.options(group, help.folders(config_dirs)).get(option)
    try:
        return file is not None and bool(plan.resolve(group, catalogue.component(file) or option, trust))
    except InvalidConfig:
        return False


def _activation(word: str, plan: "Plan", _: object) -> "Chart":
    """An activation and its derivative, of a gated one those of its gate where the value is 1."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from flax import nnx

    from dlrun.draw import Chart
    from dlrun.nn.parts import Parts

    zeros = jax.nn.initializers.zeros
    parts = Parts(plan.choices["act"], plan.choices["norm"], zeros, zeros)
    x = jnp.linspace(-REACH, REACH, 1001)

    def function(x_N):
        act = parts.act(1, nnx.Rngs(0), gated=True)
        return act(jnp.stack([jnp.ones_like(x_N), x_N] if parts.gated else [x_N], axis=-1))[..., 0]

    y, slope = jax.jit(lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),)))(x)
    name = word.partition("=")[2] + ("(1, x)" if parts.gated else "(x)")
    curves = {name: np.asarray(y), f"derivative of {name}": np.asarray(slope)}
    return Chart(word, "x", np.asarray(x), curves)


def _schedule(word: str, plan: "Plan", prepared: Callable[["Plan"], "Setup"]) -> "Chart":
    """The learning rate at every step of the run."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from dlrun.draw import Chart
    from dlrun.step import section

    total = plan.settings.steps or prepared(plan).total_steps  # the data says how many steps an epoch has
    numbers = {key: jnp.float32(value) for key, value in plan.numbers.items()}
    peak, keys = numbers["optim.lr"], section(numbers, "schedule")
    steps = np.unique(np.linspace(0, total - 1, min(total, POINTS)).astype(np.int32))
    rate = jax.jit(jax.vmap(lambda step: plan.choices["schedule"](step, jnp.float32(total), peak, **keys)))(steps)
    title = f"{word}: learning rate, optim.lr={peak:g}"
    return Chart(title, f"step, of {total}", steps, {"learning rate": np.asarray(rate)})


CHARTS: dict[str, Callable[..., "Chart"]] = {"act": _activation, "schedule": _schedule}
"""What is drawn: by group, from the word that chooses an option, the plan and what prepares it."""
