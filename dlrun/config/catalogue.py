"""What a user can choose and set, read from the files in conf/: groups, options, keys and the comments beside them.

``dirs`` are folders laid out like conf/, the user's before the packaged one: of files with the same name the first one
counts. Lines are read with regular expressions, since the comments are needed as much as the values. Neither Hydra nor
JAX is imported: help and completion answer at once.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

EXPERIMENT = "experiment"
GROUPS = ("model", "act", "norm", "init", "optim", "schedule", "data", "augment", "loss", "launcher", EXPERIMENT)
NOT_OF_A_RUN = {"launcher": "local"}
"""Groups that say how runs are launched, and so are no part of a run's own values, with their default options."""


def conf() -> Path:
    """The folder of packaged configs: inside an installed package, beside it in a checkout.

    An editable install leaves a copy in site-packages, which is never read: it is not inside the checkout's package.
    """
    package = Path(__file__).resolve().parents[1]
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
    names = {file.parent.name for d in dirs for file in d.glob("*/*.yaml")} - {"hydra"}
    return [g for g in GROUPS if g in names] + sorted(names - set(GROUPS))


def options(group: str, dirs: list[Path]) -> dict[str, Path]:
    """The options of a group and their files."""
    files: dict[str, Path] = {}
    for folder in dirs:
        for file in sorted((folder / group).glob("*.yaml")):
            files.setdefault(file.stem, file)
    return dict(sorted(files.items()))


def has_options(folder: Path) -> bool:
    """Whether a folder has a config.yaml or any option, at any depth."""
    return (folder / "config.yaml").is_file() or any(folder.glob("*/**/*.yaml"))


def misnamed(folder: Path) -> list[Path]:
    """Files in the folders of groups that nothing reads, since their names end in ``.yml``."""
    return sorted(file for group in GROUPS for file in (folder / group).glob("*.yml"))


def config(dirs: list[Path]) -> Path:
    """The first config.yaml."""
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
    """The component that an option's file names, whose keyword arguments are the file's keys; None without one."""
    match = re.search(r"^name: *([\"']?)([^\s\"'#]+)\1", _text(file), re.MULTILINE)
    return match[2] if match else None


_LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_]\w*):(?:\s+(?P<value>[^\s#].*?))??(?:\s+#\s*(?P<comment>.*))?\s*$")


def entries(file: Path) -> list[Entry]:
    """The keys of a YAML file, nested ones as dotted paths; ``defaults``, ``hydra`` and ``name`` are left out.

    An indented comment on a line of its own continues the one beside the key above.
    """
    listed: list[Entry] = []
    stack: list[tuple[int, str]] = []
    for line in _text(file).splitlines():
        if listed and listed[-1].comment and (more := re.match(r"^ +#\s*(.+?)\s*$", line)):
            listed[-1] = replace(listed[-1], comment=f"{listed[-1].comment} {more[1]}")
        match = _LINE.match(line)
        if not match:
            continue
        indent = len(match["indent"])
        while stack and stack[-1][0] >= indent:
            stack.pop()
        path = [key for _, key in stack] + [match["key"]]
        stack.append((indent, match["key"]))
        if path[0] not in ("defaults", "hydra", "name"):
            listed.append(Entry(".".join(path), (match["value"] or "").strip(), match["comment"] or ""))
    return listed


def defaults(file: Path) -> dict[str, str]:
    """The choices in the defaults list of config.yaml: option by group."""
    listed = re.findall(r"^ *- (\w+): (\w+)", _text(file), re.MULTILINE)
    return {group: option for group, option in listed if option != "null"}


def brings(file: Path) -> dict[str, str]:
    """The options of other groups that an option brings along, unless the user chooses others: option by group."""
    return dict(re.findall(r"^ *- override /(\w+)(?:@[\w.]+)?: (\w+)", _text(file), re.MULTILINE))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:  # help goes on without a file that can't be read
        return ""
