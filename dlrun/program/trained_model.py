"""Rebuilds a trained model from its run directory: run.json and data.json, and the weights of a saved state."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from dlrun.config.plan import plan
from dlrun.data.readers import files
from dlrun.errors import InvalidConfig
from dlrun.nn.parts import Inputs
from dlrun.objective.metrics import UNMEASURED
from dlrun.program import pytree, step
from dlrun.program.program import Program
from dlrun.program.state import kept, with_kept
from dlrun.runs import atomic, checkpoint, manifest, rundir
from dlrun.runs.checkpoint import CheckpointError


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model: its program and its weights.

    Args:
      program, graphdef: how it computes.
      params: its weights; for a run with a moving average, the averaged ones.
      variables: its other variables, such as batch statistics.
      data: the content of data.json.
      step: the step at which the state was saved.
      sha256: of that state's manifest; no two states have the same.
    """

    program: Program
    graphdef: nnx.GraphDef
    params: nnx.State
    variables: nnx.State
    data: dict[str, Any]
    step: int
    sha256: str

    @property
    def identity(self) -> dict[str, Any]:
        """Identifies these weights, as plain values."""
        return {"step": self.step, "sha256": self.sha256}

    def outputs(self, arrays: dict[str, Any], x: Array) -> Array:
        """Outputs for standardised inputs, as in evaluation.

        Args:
          arrays: ``params`` and ``variables`` as its own; and ``inputs``, a ``scale`` and ``shift``, if ``x`` was
            standardised by other means and deviations than the model's.
          x: inputs (B, ...), as :func:`dlrun.data.features.inputs` makes them of raw examples.
        """
        if "inputs" in arrays:
            x = x * arrays["inputs"]["scale"] + arrays["inputs"]["shift"]
        return step.forward(self.program, self.graphdef, arrays["params"], arrays["variables"], x, train=False)[0]


def load(directory: Path, trust: tuple[str, ...] = ()) -> Trained:
    """The model of a run, in its best state by validation; of a run that has not ended, in its last state.

    Raises:
      InvalidConfig: where the directory holds no model that can be rebuilt.
    """
    run, data = atomic.read_json(directory / rundir.RUN), atomic.read_json(directory / rundir.DATA)
    if run is None or data is None:
        raise InvalidConfig([f"{directory}: not a run directory: it has no {rundir.RUN} with a {rundir.DATA}"])
    if not isinstance(run.get("config"), dict):
        raise InvalidConfig([f"{directory / rundir.RUN}: is damaged: it has no configuration"])
    if not (rundir.is_record_of_data(data) and _tells_shapes(data)):
        raise InvalidConfig([f"{directory / rundir.DATA}: is damaged: it doesn't say what its model takes and returns"])
    checked = plan(run["config"], trust)
    inputs = Inputs(data["kind"], tuple(data["shape"]), data.get("vocabulary", 0), data["task"] == "language_modelling")
    outputs = data["vocabulary"] if inputs.causal else len(data["classes"])
    program = Program.of(checked, inputs, outputs, UNMEASURED)
    numbers: dict[str, Any] = {k: np.float32(v) for k, v in checked.numbers.items()}
    graphdef, shapes = jax.eval_shape(partial(step.init, program), np.uint32(0), numbers)
    state = jax.jit(lambda: step.init(program, jnp.uint32(0), numbers)[1])()

    folder = directory / rundir.CHECKPOINTS
    sound = manifest.sound(folder)
    best = (atomic.read_json(directory / rundir.SUMMARY) or {}).get("best/step")
    if not sound:
        raise InvalidConfig([f"{directory}: no saved state: {rundir.CHECKPOINTS} has none that is intact"])
    chosen = best if best in sound else sound[-1]
    try:
        sha256 = files.sha256(folder / str(chosen) / manifest.MANIFEST)
        arrays, _ = checkpoint.read(folder, chosen)
        arrays = {path: a for path, a in arrays.items() if path.startswith("state/")}
        state = with_kept(state, pytree.fit(arrays, {"state": kept(shapes)})["state"])
    except (CheckpointError, OSError) as error:  # a run that still trains may delete the state meanwhile
        raise InvalidConfig([f"{directory}: {error}"]) from None
    params = state.params if state.ema is None else state.ema
    return Trained(program, graphdef, params, state.variables, data, chosen, sha256)


def _tells_shapes(data: dict[str, Any]) -> bool:
    """Whether a data.json has what the shapes of a model follow from, in the form in which it is written."""
    wholes = [*(shape if isinstance(shape := data.get("shape"), list) else [None]), data.get("vocabulary", 0)]
    sound = all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**31 for n in wholes)
    sound &= all(isinstance(data.get(key), str) for key in ("kind", "task"))
    sound &= data.get("task") != "language_modelling" or "vocabulary" in data
    return sound and isinstance(data.get("classes"), list)
