"""Metrics of a whole split, independent of how it is divided into batches."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from dlrun import step
from dlrun.data import batches
from dlrun.setup import Setup


class Evaluator:
    """Evaluates a state on a split. One compiled program serves all splits.

    Args:
      table: the rows of all splits, on the devices.
      rows: row numbers of each split.
    """

    def __init__(self, setup: Setup, table: step.Batch, rows: dict[str, np.ndarray]):
        self.setup, self.table, self.rows = setup, table, rows
        self.eval_steps = jax.jit(partial(step.eval_steps, setup.program, setup.graphdef), donate_argnums=1)
        devices = setup.mesh.size
        longest = max(len(rows["val"]), len(rows["test"]))
        self.batch_size = -(-min(setup.plan.settings.eval.batch_size, longest) // devices) * devices
        self.batches = -(-longest // self.batch_size)

    def __call__(
        self, split: str, state: step.TrainState, *, between: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        """Mean metrics over the examples of a split, by name; ``between`` is called after each dispatch."""
        used = -(-len(self.rows[split]) // self.batch_size)
        order = jax.device_put(batches.in_order(self.rows[split], self.batch_size, self.batches), self.setup.divided)
        names = [*self.setup.program.task.metrics, "count"]
        totals = jax.device_put({k: np.float32(0) for k in names}, self.setup.everywhere)
        chunk = used if self.setup.program.loop else 1
        for start in range(0, used, chunk):
            count = np.int32(min(chunk, used - start))
            totals = self.eval_steps(state, totals, self.table, order, np.int32(start), count)
            between()
        sums = jax.device_get(totals)
        count = float(sums.pop("count"))
        return {k: float(v) / count for k, v in sums.items()}
