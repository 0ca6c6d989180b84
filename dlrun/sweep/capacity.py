"""Decides how many jobs of a group are trained together, in a stack."""

import os
import resource
import sys
from collections.abc import Iterator, Sequence

from dlrun.program import pytree
from dlrun.program.compiled import CompiledProgram
from dlrun.runs import manifest, rundir
from dlrun.sweep.prepared_job import PreparedJob

MOST = {True: 128, False: 64}
"""The most jobs in a stack, computed all at once (True) or one by one (False): larger stacks train no faster."""
OPEN = 5
"""Files that a job of a stack may have open: lock, log, metrics, and the state that a thread of its own writes."""
RESERVED = 32  # files that the process opens beside them: modules, compiled programs, the sweep's record
OF_MEMORY = 0.25  # the share of the free memory that stacked states and their copies may take


def at_once(compiled: CompiledProgram, vmap: bool | None) -> bool:
    """Whether stacked jobs are computed all at once: as ``launcher.vmap`` says, or else on accelerators only."""
    return _platform(compiled) != "cpu" if vmap is None else vmap


def stacks(compiled: CompiledProgram, jobs: int, *, vmap: bool | None, chunk: int | None) -> list[int]:
    """The sizes of the stacks that train ``jobs`` jobs which stand at the same step; 1 is a job by itself."""
    setup = compiled.setup
    # On CPU, XLA's convolutions are slow in a loop on the device. Streamed rows are read by each run for itself.
    alone = vmap is False or compiled.streams or setup.plan.settings.distributed.processes > 1
    alone |= not setup.program.loop and not vmap
    if alone or jobs == 1:
        return [1] * jobs
    most = min(chunk or MOST[at_once(compiled, vmap)], room(compiled), files_left(setup.plan.settings.log.sinks))
    parts = -(-jobs // most)
    size = -(-jobs // parts)  # nearly equal sizes, so that few programs are compiled
    return [min(size, jobs - i) for i in range(0, jobs, size)]


def chunks(
    compiled: CompiledProgram, jobs: Sequence[PreparedJob], *, vmap: bool | None, chunk: int | None
) -> Iterator[list[PreparedJob]]:
    """Divides jobs into those that are trained together: as many as fit of those that stand at the same step."""
    at: dict[int, list[PreparedJob]] = {}
    for job in jobs:
        at.setdefault(_step(job), []).append(job)
    for some in at.values():
        for size in stacks(compiled, len(some), vmap=vmap, chunk=chunk):
            yield some[:size]
            some = some[size:]


def room(compiled: CompiledProgram) -> int:
    """How many jobs of a stack fit into memory."""
    import jax

    shapes, device = compiled.setup.shapes, compiled.setup.mesh.devices.flat[0]
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(pytree.flat, shapes)))
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * OF_MEMORY
    if device.platform != "cpu":
        limit = (device.memory_stats() or {}).get("bytes_limit")
        used = (device.memory_stats() or {}).get("bytes_in_use", 0)
        if limit:
            each = 3 * state + max(activations(compiled), compiled.eval_bytes(compiled.eval_size(MOST[True])))
            free = min(free * each / state, 0.9 * (limit - used))
            return max(1, int(free / each))
    return max(1, int(free / (3 * state)))


def files_left(sinks: Sequence[str]) -> int:
    """How many jobs of a stack the process may open the files of: each keeps some open while it is trained."""
    most, open_now = resource.getrlimit(resource.RLIMIT_NOFILE)[1], len(os.listdir("/proc/self/fd"))
    if most == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(1, (most - open_now - RESERVED) // (OPEN + len(sinks)))


def activations(compiled: CompiledProgram) -> int:
    """Bytes that a training step of one run takes beside its state and batch, by XLA's own analysis. Compiles it."""
    import jax
    import numpy as np

    setup, size = compiled.setup, compiled.setup.plan.settings.batch_size
    rows = {"x": setup.examples(size), "y": setup.targets(size)}
    order = jax.ShapeDtypeStruct((1, size), np.int32)
    one = jax.ShapeDtypeStruct((), np.int32)
    lowered = compiled.train_steps.lower(
        setup.shapes, compiled.zeros(), {**rows, **compiled.constants}, order, one, one
    )
    found = lowered.compile().memory_analysis()
    return int(getattr(found, "temp_size_in_bytes", 0))


def _step(job: PreparedJob) -> int:
    """The step that a job will go on from."""
    return (manifest.last_sound(job.directory / rundir.CHECKPOINTS) or 0) if job.resume else 0


def _platform(compiled: CompiledProgram) -> str:
    return compiled.setup.mesh.devices.flat[0].platform
