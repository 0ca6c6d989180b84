"""What a user can say, read from the files in conf/: groups, options, keys and the comments beside them.

Imports neither Hydra nor JAX: help and completion answer in a blink.
"""

import re
from dataclasses import dataclass
from pathlib import Path

GROUPS = ("model", "act", "norm", "init", "optim", "schedule", "data", "augment", "experiment")


def conf() -> Path:
    """The folder of packaged configs: the checkout's beside the package if there is one, else the one inside it."""
    package = Path(__file__).resolve().parent
    beside = package.parent / "conf"
    # In an editable install the build leaves a stale copy in site-packages: the checkout's comes first.
    return beside if (beside / "config.yaml").is_file() else package / "conf"


@dataclass(frozen=True)
class Entry:
    """A key of a YAML file: its dotted path, its value as written, and its comment."""

    key: str
    value: str
    comment: str


def groups(dirs: list[Path]) -> list[str]:
    """Names of the groups that have options in any of ``dirs``: ours in their order, then the user's."""
    found = {p.name for d in dirs for p in d.iterdir() if p.is_dir() and any(p.glob("*.yaml"))} - {"hydra"}
    return [g for g in GROUPS if g in found] + sorted(found - set(GROUPS))


def options(group: str, dirs: list[Path]) -> dict[str, Path]:
    """The options of a group and their files; a file in an earlier folder wins."""
    found: dict[str, Path] = {}
    for folder in dirs:
        for file in sorted((folder / group).glob("*.yaml")):
            found.setdefault(file.stem, file)
    return dict(sorted(found.items()))


def headline(file: Path) -> str:
    """The comment at the head of a YAML file, on one line."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# ").strip())
    return " ".join(lines)


_LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_]\w*):(?: +(?P<value>[^#]*?))?(?: *# *(?P<comment>.*))?$")


def entries(file: Path) -> list[Entry]:
    """The keys of a YAML file of ours, nested ones as dotted paths; ``defaults``, ``hydra`` and ``name`` are left out."""
    found: list[Entry] = []
    stack: list[tuple[int, str]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        match = _LINE.match(line)
        if not match:
            continue
        indent = len(match["indent"])
        while stack and stack[-1][0] >= indent:
            stack.pop()
        path = [key for _, key in stack] + [match["key"]]
        stack.append((indent, match["key"]))
        if path[0] not in ("defaults", "hydra", "name"):
            found.append(Entry(".".join(path), (match["value"] or "").strip(), match["comment"] or ""))
    return found


def defaults(config: Path) -> dict[str, str]:
    """The defaults list of config.yaml: option by group."""
    listed = re.findall(r"^  - (\w+): (\w+)", config.read_text(encoding="utf-8"), re.MULTILINE)
    return {group: option for group, option in listed if option != "null"}
