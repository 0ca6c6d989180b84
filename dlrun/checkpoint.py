"""States on disk: ``checkpoints/<step>/`` as Orbax writes it, and a manifest of SHA-256 sums once it is complete.

A step without a manifest that matches its files to the letter does not exist. Steps that are no longer needed are
deleted only after the manifest of the next one is on disk.
"""

import contextlib
import errno
import hashlib
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

MANIFEST = "manifest.sha256"
OVERHEAD = 2**18  # bytes that a step takes beside its arrays: metadata, the manifest, metric rows until the next one
Tree = Any


class CheckpointError(Exception):
    """A state could not be written or read; the message says what is still there."""


class Checkpoints:
    """The states of a run. Saving returns once the state is copied; writing goes on beside the training.

    Args:
      directory: where the steps lie; made by the first save.
      keep: so many of the latest steps are kept, beside the best.
    """

    def __init__(self, directory: Path, *, keep: int = 1):
        self.directory, self.keep = directory, keep
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self.pending: Future | None = None
        self.manager: Any = None
        self.worker.submit(__import__, "orbax.checkpoint")  # takes a while; meanwhile the step compiles

    def save(self, step: int, arrays: dict[str, np.ndarray], loop: dict[str, Any], best: int | None) -> None:
        """Starts to write a state. Waits for the save before; raises :class:`CheckpointError` if that one failed.

        Args:
          step: number of the step, one that was not saved before.
          arrays: by path, as :func:`copied` gives them.
          loop: plain values that go with it.
          best: the step to keep whatever its age; may be ``step`` itself.
        """
        self.wait()
        ocp = self._orbax()
        # Asked before rather than learnt from half-written files; what fills up meanwhile still fails in _commit.
        if shutil.disk_usage(self.directory).free < 1.1 * sum(a.nbytes for a in arrays.values()) + OVERHEAD:
            raise self._failure(step, OSError(errno.ENOSPC, ""))
        args = ocp.args.Composite(state=ocp.args.StandardSave(arrays), loop=ocp.args.JsonSave(loop))
        try:
            self.manager.save(step, args=args, force=True)
        except Exception as error:  # whatever the storage raises
            raise self._failure(step, error) from error
        self.pending = self.worker.submit(self._commit, step, best)

    def wait(self) -> None:
        """Waits until everything that was saved is on disk, manifest included."""
        if self.pending is not None:
            pending, self.pending = self.pending, None
            pending.result()

    def close(self) -> None:
        """Waits, and lets go of threads; raises :class:`CheckpointError` if the last save failed."""
        try:
            self.wait()
        finally:
            if self.manager is not None:
                with contextlib.suppress(Exception):  # repeats what wait() raised
                    self.manager.close()
            self.worker.shutdown()

    def _orbax(self) -> Any:
        import orbax.checkpoint as ocp

        if self.manager is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            for left in self.directory.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(left, ignore_errors=True)
            self.manager = ocp.CheckpointManager(
                self.directory.resolve(), options=_options(ocp), item_names=("state", "loop")
            )
        return ocp

    def _commit(self, step: int, best: int | None) -> None:
        folder = self.directory / str(step)
        try:
            self.manager.wait_until_finished()
            part = folder / f".{MANIFEST}"
            text = manifest(folder)
            with part.open("w") as f:
                f.write(text)
                f.flush()
                os.fsync(f.fileno())
            os.replace(part, folder / MANIFEST)
        except Exception as error:  # whatever the storage raises
            for half in (folder, *self.directory.glob(f"{step}.orbax-checkpoint-tmp*")):
                shutil.rmtree(half, ignore_errors=True)
            raise self._failure(step, error) from error
        others = sorted(s for s in steps(self.directory) if s != best)
        for old in others[: -self.keep]:
            # The manifest goes first: a step that is half deleted does not exist.
            (self.directory / str(old) / MANIFEST).unlink(missing_ok=True)
            self.manager.delete(old)

    def _failure(self, step: int, error: Exception) -> CheckpointError:
        text = str(error)
        full = "no space left" in text.lower() or getattr(error, "errno", None) == errno.ENOSPC
        reason = "no space left on the disk" if full else next(iter(text.splitlines()), type(error).__name__)
        last = max(sound(self.directory), default=None)
        kept = "no earlier state was saved" if last is None else f"the last good one, of step {last}, is kept"
        return CheckpointError(f"the state of step {step} could not be saved: {reason}; {kept}")


def _options(ocp: Any) -> Any:
    """Of several processes only the one that saves takes part."""
    if jax.process_count() == 1:
        return ocp.CheckpointManagerOptions()
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix="dlrun"
    )
    return ocp.CheckpointManagerOptions(multiprocessing_options=alone, create=False)


def steps(directory: Path) -> list[int]:
    """Steps that have a folder, in order, sound or not."""
    with contextlib.suppress(OSError):
        return sorted(int(p.name) for p in directory.iterdir() if p.name.isdecimal() and p.is_dir())
    return []


def sound(directory: Path) -> list[int]:
    """Steps whose manifest matches their files, in order."""
    return [step for step in steps(directory) if verify(directory / str(step))]


def verify(folder: Path) -> bool:
    """Whether the files of a step are exactly those of its manifest, bit for bit."""
    try:
        return (folder / MANIFEST).read_bytes() == manifest(folder).encode()
    except OSError:
        return False


def manifest(folder: Path) -> str:
    """SHA-256 sum and name of every file below a folder, sorted, in the format of ``sha256sum``."""
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    sums = ((hashlib.sha256((folder / f).read_bytes()).hexdigest(), f) for f in files if not f.endswith(MANIFEST))
    return "".join(f"{digest}  {f}\n" for digest, f in sums)


def set_aside(directory: Path, above: int) -> list[int]:
    """Moves the steps above ``above`` out of the way, to ``.unsound-<step>``; gives their numbers."""
    moved = [s for s in steps(directory) if s > above]
    for step in moved:
        aside = directory / f".unsound-{step}"
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(directory / str(step), aside)
    return moved


def read(directory: Path, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays by path and the plain values that were saved at a step.

    Raises:
      CheckpointError: when the step is not sound.
    """
    import orbax.checkpoint as ocp

    folder = directory / str(step)
    if not verify(folder):
        raise CheckpointError(f"{folder}: incomplete or damaged; its files do not match {MANIFEST}")
    args = ocp.args.Composite(state=ocp.args.StandardRestore(), loop=ocp.args.JsonRestore())
    with ocp.CheckpointManager(directory.resolve(), options=_options(ocp), item_names=("state", "loop")) as manager:
        found = manager.restore(step, args=args)
    return {path: np.asarray(a) for path, a in found["state"].items()}, found["loop"]


def fit(saved: dict[str, Any], like: Tree) -> Tree:
    """Arrays by path as a pytree with the structure of ``like``, whose leaves have a shape and a dtype.

    Raises:
      CheckpointError: when they do not have the form of ``like``. Orbax would cast another type silently.
    """
    wanted = jax.eval_shape(flat, like)
    for path in sorted(saved.keys() ^ wanted.keys()):
        where = "the checkpoint" if path in saved else "the model"
        raise CheckpointError(f"the saved state does not fit: only {where} has {path}")
    for path, leaf in wanted.items():
        old = saved[path]
        if old.shape != leaf.shape or old.dtype != leaf.dtype:
            forms = f"{old.dtype}{list(old.shape)}, the model's {leaf.dtype}{list(leaf.shape)}"
            raise CheckpointError(f"the saved state does not fit: {path} is {forms}")
    return unflat(saved, like)


def unflat(arrays: dict[str, Any], like: Tree) -> Tree:
    """The inverse of :func:`flat`: arrays by path as a pytree with the structure of ``like``, whatever their shapes."""
    leaves, structure = jax.tree.flatten(like)
    found = [arrays[path] for path in _paths(like)]
    keyed = [jax.random.wrap_key_data(a) if _is_key(leaf) else a for a, leaf in zip(found, leaves, strict=True)]
    return jax.tree.unflatten(structure, keyed)


def copied(tree: Tree) -> dict[str, np.ndarray]:
    """Leaves by path in this process's memory; copies, since on CPU the next step is about to reuse a shared buffer."""
    return {path: np.array(leaf) for path, leaf in flat(tree).items()}


def flat(tree: Tree) -> dict[str, Any]:
    """Leaves by path, such as ``params/hidden/0/linear/kernel``; random keys as their bits."""
    leaves = [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in jax.tree.leaves(tree)]
    return dict(zip(_paths(tree), leaves, strict=True))


def _paths(tree: Tree) -> list[str]:
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    return [jax.tree_util.keystr(p, simple=True, separator="/").removesuffix("/value") for p in paths]


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
