"""What run directories say about each other: tables, differences with error bars, verdicts. Imports no jax."""

from dlrun.compare.loading import load

__all__ = ["load"]
