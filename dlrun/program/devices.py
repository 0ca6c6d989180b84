"""Sets up JAX: its devices, other machines, and the cache of compiled programs."""

import functools
import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from dlrun.config.settings import Settings
from dlrun.errors import InvalidConfig, show, tell
from dlrun.system import user_folders


def initialize(settings: Settings) -> None:
    """Tells JAX, before its first use, where to cache compiled programs and which other machines take part."""
    cache, others = settings.compile_cache, settings.distributed
    if cache:
        own = user_folders.cache()
        folder = (own and own / "dlrun" / "xla") if cache == "auto" else user_folders.expanded(cache)
        if folder is not None:
            jax.config.update("jax_compilation_cache_dir", str(folder / _processor()))
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
            jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        elif cache == "auto":
            _told("there is no home folder: compiled programs are not kept; compile_cache=FOLDER keeps them")
        else:
            raise InvalidConfig([f"compile_cache={show(cache)}: there is no such home folder; allowed: another path"])
    if others.processes > 1:
        jax.distributed.initialize(others.coordinator, others.processes, others.process, initialization_timeout=60)


@functools.cache  # tells each notice once, though a sweep initialises for every group
def _told(text: str) -> None:
    tell(f"notice: {text}")


def mesh(devices: Sequence[Any]) -> jax.sharding.Mesh:
    """A mesh of one axis, ``batch``, along which the examples of a batch are divided among devices."""
    return jax.make_mesh((len(devices),), ("batch",), devices=devices, axis_types=(jax.sharding.AxisType.Auto,))


def _processor() -> str:
    """Names the processor's instruction set: machines that differ in it may share the cache, but not its programs."""
    try:
        text = Path("/proc/cpuinfo").read_text()
        flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"
