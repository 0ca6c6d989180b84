"""What the user asked of a sweep."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Asked:
    """What a sweep was asked for.

    Args:
      cfg: the composed configuration of the command.
      overrides, config_dirs: of the command.
      trust: packages that the user allowed on this command to be imported from.
    """

    cfg: Any
    overrides: list[str]
    config_dirs: list[Path]
    trust: tuple[str, ...]
