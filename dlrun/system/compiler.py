"""Which versions of JAX and Flax compute wrong numbers, or crash, and which flag of the compiler prevents it.

Each entry was seen to be so, or is confirmed by JAX's developers; ``tests/probes.py`` looks for more.
"""

import importlib.metadata
import os
import re

from dlrun.errors import InvalidConfig

BROKEN = {
    "0.10.0": "crashes on gradients of attention (jax#39264)",
    "0.10.1": "crashes on gradients of attention (jax#39264)",
    "0.11.0": "computes wrong numbers on some GPUs (jax#40633) and crashes on sums of many axes (jax#39257)",
    "0.11.1": "computes wrong numbers on some GPUs (jax#40633) and copies what a loop updates in place (jax#40101)",
}
"""Versions of jaxlib that are refused."""

FLAGS = {"0.10.2": "--xla_cpu_experimental_ynn_fusion_type=-reduce"}
"""By version of jaxlib, a flag that it needs. Without this one, sums of products on CPU include rows of other arrays
(jax#39103), and sums over many axes crash (jax#40412). Other versions may refuse the flag."""

FLAX_FOR_JAX_0_11 = (0, 12, 10)  # earlier ones fail at import


def check() -> None:
    """Refuses versions that don't work, and sets the flag that this version needs.

    Call it before Flax is imported, and before JAX opens a device, which is when it reads ``XLA_FLAGS``.
    """
    jaxlib, flax = (importlib.metadata.version(package) for package in ("jaxlib", "flax"))
    if why := BROKEN.get(jaxlib):
        raise InvalidConfig([f"jaxlib {jaxlib}: not usable: it {why}; {_remedy()}"])
    if _release(jaxlib) >= (0, 11) and _release(flax) < FLAX_FOR_JAX_0_11:
        wanted = ".".join(map(str, FLAX_FOR_JAX_0_11))
        raise InvalidConfig(
            [f"flax {flax}: not usable with jaxlib {jaxlib}, which needs {wanted} or later; {_remedy()}"]
        )
    flag, given = FLAGS.get(jaxlib), os.environ.get("XLA_FLAGS", "")
    if flag and flag.partition("=")[0] not in given:  # a user who sets it has the last word
        os.environ["XLA_FLAGS"] = f"{given} {flag}".strip()


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def _remedy() -> str:
    return "pip install -c constraints.txt . installs versions that the tests pass with"
