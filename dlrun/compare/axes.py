"""What curves may be drawn along: steps, epochs, examples, seconds of training."""

from typing import Literal

from dlrun.runs.run import Run
from dlrun.runs.rundir import is_number

Axis = Literal["step", "epoch", "examples", "seconds"]
NAMES: dict[Axis, str] = {
    "step": "step", "epoch": "epoch", "examples": "examples trained on", "seconds": "seconds of training",
}  # fmt: skip


def per_step(run: Run, axis: Axis) -> float:
    """What a step is on an axis: an epoch has as many steps as the run says, a step ``batch_size`` examples; or 0."""
    if axis == "examples":
        size = run.config.get("batch_size")
        return float(size) if is_number(size) else 0.0
    if axis == "epoch":
        rows = (run.summary, *reversed(run.rows)) if "epoch" not in run.summary else (run.summary,)
        told = ((row.get("step"), row.get("epoch")) for row in rows)
        return next((epoch / step for step, epoch in told if is_number(step) and is_number(epoch) and step), 0.0)
    return 1.0
