"""Metrics of a whole split, independent of how it is divided into batches."""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np

from dlrun import step
from dlrun.data.feed import Feed
from dlrun.setup import Setup


class Evaluator:
    """Evaluates a state on a split. One compiled program serves all splits.

    Args:
      feed: gives the rows.
    """

    def __init__(self, setup: Setup, feed: Feed):
        self.setup, self.feed = setup, feed
        self.eval_steps = jax.jit(partial(step.eval_steps, setup.program, setup.graphdef), donate_argnums=1)
        devices = setup.mesh.size
        longest = max(len(setup.data.val or ()), len(setup.data.test or ()))
        self.batch_size = -(-min(setup.plan.settings.eval.batch_size, longest) // devices) * devices
        self.batches = -(-longest // self.batch_size)

    def __call__(
        self, split: str, state: step.TrainState, *, between: Callable[[], None] = lambda: None
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics of a split by name, and results for each class; ``between`` is called after each dispatch."""
        task, totals = self.setup.program.task, self._zeros()
        most = self.batches if self.setup.program.loop else 1
        for table, order, start, count in self.feed.evaluate(split, self.batch_size, self.batches, most):
            totals = self.eval_steps(state, totals, table, order, np.int32(start), np.int32(count))
            between()
        sums = jax.device_get(totals)
        means = {k: float(sums[k]) / float(sums["count"]) for k in ("loss", *task.metrics)}
        return task.report(split, means, sums), task.details(sums)

    @cached_property
    def _shapes(self) -> Any:
        """Form of the sums; traced once."""
        setup = self.setup
        batch = {"x": setup.examples(1), "y": setup.targets(1)}
        mask = jax.ShapeDtypeStruct((1,), np.float32)
        return jax.eval_shape(partial(step.eval_step, setup.program, setup.graphdef), setup.shapes, batch, mask)

    def _zeros(self) -> step.Batch:
        """Sums before the first batch."""
        zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), self._shapes)
        return jax.device_put(zeros, self.setup.everywhere)
