"""What a result depends on beside its configuration: code, versions, machine."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("dlrun", "jax", "jaxlib", "flax", "optax", "hydra-core", "numpy", "pillow")


def facts() -> dict[str, Any]:
    """Versions, git state of the working folder's and the package's code, host, device and thread count."""
    device = jax.devices()[0]
    return {
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
        "git": git(Path.cwd()),
        "host": platform.node(),
        "platform": platform.platform(),
        "device": f"{device.platform}: {device.device_kind}",
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "threads": threads(),
    }


def threads() -> int:
    """Cores that XLA's CPU backend computes with: a result's last bits depend on it."""
    limit = os.environ.get("NPROC", "")
    return int(limit) if limit.isdecimal() and int(limit) else _cores()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def git(folder: Path) -> dict[str, Any] | None:
    """Commit and whether the work tree differs from it; None outside a git work tree."""
    try:
        status = subprocess.run(
            ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"],
            cwd=folder, capture_output=True, text=True, timeout=5, check=True,
        ).stdout.splitlines()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    commit = next((line.split()[-1] for line in status if line.startswith("# branch.oid")), None)
    return {"commit": commit, "dirty": any(not line.startswith("#") for line in status)}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
