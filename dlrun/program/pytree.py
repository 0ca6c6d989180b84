"""Turns pytrees of arrays into flat dictionaries of arrays by path, as checkpoints hold them, and back."""

from typing import Any

import jax
import numpy as np

from dlrun.runs.checkpoint import CheckpointError

Tree = Any


def fit(saved: dict[str, Any], like: Tree) -> Tree:
    """Saved arrays by path as a pytree with the structure of ``like``, after checking that they fit it.

    Args:
      like: a pytree of arrays, or of shapes with dtypes.

    Raises:
      CheckpointError: where paths, shapes or dtypes are not those of ``like``.
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
    stored = [arrays[path] for path in _paths(like)]
    keyed = [jax.random.wrap_key_data(a) if _is_key(leaf) else a for a, leaf in zip(stored, leaves, strict=True)]
    return jax.tree.unflatten(structure, keyed)


def copied(tree: Tree) -> dict[str, np.ndarray]:
    """Leaves by path, copied into this process's memory: on CPU the next step reuses the buffers of donated arrays."""
    return {path: np.array(leaf) for path, leaf in flat(tree).items()}


def flat(tree: Tree) -> dict[str, Any]:
    """Leaves by path, such as ``params/hidden/0/linear/kernel``; random keys as arrays of their bits."""
    leaves = [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in jax.tree.leaves(tree)]
    return dict(zip(_paths(tree), leaves, strict=True))


def _paths(tree: Tree) -> list[str]:
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    return [jax.tree_util.keystr(p, simple=True, separator="/").removesuffix("/value") for p in paths]


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
