"""What a result depends on besides its configuration: code, versions, machine."""

import contextlib
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

GIT_SECONDS = 5  # a repository on a slow network is no reason to wait
PACKAGES = ("dlrun", "jax", "jaxlib", "flax", "optax", "hydra-core", "numpy", "pillow")


def facts() -> dict[str, Any]:
    """Versions, git state of the working folder, host, devices, and counts of processes and threads."""
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


def memory() -> int:
    """Bytes of memory that this process may use: the machine's, or less where its control group has a limit."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # not there, or ``max``
            whole = min(whole, int(Path(limit).read_text()))
    return whole


def git(folder: Path) -> dict[str, Any] | None:
    """The ``commit`` of a git work tree, and whether the tree is ``dirty``: differs from it. None outside of one.

    The commit is null before the first one. Where git fails, ``error`` says why. A repository's settings can have git
    run a program for ``status``; that is switched off.
    """
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch"]
    try:
        status = subprocess.run(
            [*command, "--untracked-files=no"], cwd=folder, capture_output=True, stdin=subprocess.DEVNULL,
            timeout=GIT_SECONDS, check=True,
        ).stdout.splitlines()  # fmt: skip  # bytes: names of files and branches may hold any
    except (OSError, subprocess.SubprocessError) as failed:
        if not any((place / ".git").exists() for place in (folder, *folder.parents)):
            return None
        return {"commit": None, "dirty": None, "error": _why(failed)}
    commit = next((line.split()[-1].decode() for line in status if line.startswith(b"# branch.oid ")), None)
    known = commit != "(initial)"
    return {"commit": commit if known else None, "dirty": any(not line.startswith(b"#") for line in status)}


def _why(failed: Exception) -> str:
    """Why git failed, on one line."""
    said = (getattr(failed, "stderr", None) or b"").decode(errors="replace").splitlines()
    return said[0] if said else "git is not installed" if isinstance(failed, FileNotFoundError) else str(failed)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
