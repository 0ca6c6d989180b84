"""What a user can say, read from the files in conf/: groups, options, keys and the comments beside them.

``dirs`` are folders laid out like conf/, the user's before the packaged one: an earlier file wins. Reads lines with
regular expressions, since comments matter as much as values. Imports neither Hydra nor JAX: help and completion answer
in a blink.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

EXPERIMENT = "experiment"
GROUPS = ("model", "act", "norm", "init", "optim", "schedule", "data", "augment", "loss", "launcher", EXPERIMENT)
NOT_OF_A_RUN = {"launcher": "local"}
"""Groups that say how runs are made, not what they are: no part of a run's values. With their usual options."""


def conf() -> Path:
    """The folder of packaged configs: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    # The copy that an editable install leaves in site-packages is not inside the checkout's package: it is never read.
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


@dataclass(frozen=True)
class Entry:
    """A key of a YAML file: its dotted path, its value as written, and its comment."""

    key: str
    value: str
    comment: str


def groups(dirs: list[Path]) -> list[str]:
    """Names of the groups that have options in any of ``dirs``: ours in their order, then the user's."""
    found = {file.parent.name for d in dirs for file in d.glob("*/*.yaml")} - {"hydra"}
    return [g for g in GROUPS if g in found] + sorted(found - set(GROUPS))


def options(group: str, dirs: list[Path]) -> dict[str, Path]:
    """The options of a group and their files; a file in an earlier folder wins."""
    found: dict[str, Path] = {}
    for folder in dirs:
        for file in sorted((folder / group).glob("*.yaml")):
            found.setdefault(file.stem, file)
    return dict(sorted(found.items()))


def holds(folder: Path) -> bool:
    """Whether a folder has a config.yaml or any option, as nested as may be."""
    return (folder / "config.yaml").is_file() or any(folder.glob("*/**/*.yaml"))


def misnamed(folder: Path) -> list[Path]:
    """Files in the folders of groups that are not read, since their names end in ``.yml``."""
    return sorted(file for group in GROUPS for file in (folder / group).glob("*.yml"))


def config(dirs: list[Path]) -> Path:
    """The config.yaml that counts."""
    return next((file for d in dirs if (file := d / "config.yaml").is_file()), conf() / "config.yaml")


def headline(file: Path) -> str:
    """The comment at the head of a YAML file, on one line."""
    lines = []
    for line in _text(file).splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# ").strip())
    return " ".join(lines)


def component(file: Path) -> str | None:
    """The ``name`` in an option's file: the component that its keys are of."""
    found = re.search(r"^name: *([\"']?)([^\s\"'#]+)\1", _text(file), re.MULTILINE)
    return found[2] if found else None


_LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_]\w*):(?:\s+(?P<value>[^\s#].*?))??(?:\s+#\s*(?P<comment>.*))?\s*$")


def entries(file: Path) -> list[Entry]:
    """The keys of a YAML file, nested ones as dotted paths; ``defaults``, ``hydra`` and ``name`` are left out.

    An indented comment on a line of its own goes on with the one beside the key above.
    """
    found: list[Entry] = []
    stack: list[tuple[int, str]] = []
    for line in _text(file).splitlines():
        if found and found[-1].comment and (more := re.match(r"^ +#\s*(.+?)\s*$", line)):
            found[-1] = replace(found[-1], comment=f"{found[-1].comment} {more[1]}")
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


def defaults(file: Path) -> dict[str, str]:
    """The choices in the defaults list of config.yaml: option by group."""
    listed = re.findall(r"^ *- (\w+): (\w+)", _text(file), re.MULTILINE)
    return {group: option for group, option in listed if option != "null"}


def brings(file: Path) -> dict[str, str]:
    """The choices that an option makes in other groups unless the user makes them: option by group."""
    return dict(re.findall(r"^ *- override /(\w+)(?:@[\w.]+)?: (\w+)", _text(file), re.MULTILINE))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:  # unreadable: nothing can be told about it
        return ""
