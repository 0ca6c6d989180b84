"""What the user asked for with ``dlrun -m``."""

from dataclasses import dataclass
from pathlib import Path

from dlrun.config.hydra_adapter import Config


@dataclass(frozen=True)
class SweepRequest:
    """The command of a sweep, as the user typed it and as Hydra composed it.

    Args:
      cfg: the composed configuration of the command.
      overrides, config_dirs: as they were typed.
      trust: packages that the user allowed on this command to be imported from.
    """

    cfg: Config
    overrides: list[str]
    config_dirs: list[Path]
    trust: tuple[str, ...]
