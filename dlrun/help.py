"""``dlrun --help`` and ``dlrun show``: what can be said, read from conf/; types and ranges from the signatures."""

import shutil
import textwrap
from pathlib import Path
from typing import Any

from dlrun import catalogue
from dlrun.schema import InvalidConfig, nearest


def overview(config_dirs: list[Path]) -> str:
    """Usage, groups with their options, fixed keys with their meanings, flags."""
    from dlrun.cli import parser

    dirs = [*config_dirs, catalogue.conf()]
    chosen = catalogue.defaults(catalogue.conf() / "config.yaml")
    lines = [
        "dlrun: from one shell line to a trustworthy deep-learning result",
        "",
        "  dlrun [group=option ...] [key=value ...]   train; the last line on stdout is the run directory",
        "  dlrun -m key=a,b key=range(0,5) ...        sweep: a run for every combination",
        "  dlrun resume DIR [key=value ...]           go on with a run where it stopped, or for longer",
        "  dlrun ls [DIR ...]                         runs, newest first",
        "  dlrun show [GROUP | GROUP=OPTION | KEY]    options of a group; keys of an option",
        "",
        "Choices (the default is marked *):",
    ]
    for group in catalogue.groups(dirs):
        names = [n + "*" * (chosen.get(group) == n) for n in catalogue.options(group, dirs)]
        lines += _wrapped(f"  {group:<10} ", "  ".join(names))
    lines += ["", "Keys (dlrun show GROUP=OPTION tells those of a choice, such as optim.lr):"]
    for entry in catalogue.entries(catalogue.conf() / "config.yaml"):
        if entry.value or not entry.comment:
            key = f"{entry.key}={entry.value}" if entry.value else entry.key
            lines += _wrapped(f"  {key:<26} ", entry.comment)
    lines += ["", "Flags, anywhere among the words:"]
    for action in parser()._actions:
        if action.option_strings:
            flag = ", ".join(action.option_strings) + (f" {action.metavar}" if action.metavar else "")
            if action.choices:
                flag += " " + "|".join(map(str, action.choices))
            lines += _wrapped(f"  {flag:<26} ", action.help or "show the version")
    lines += ["", 'Tab completion: eval "$(dlrun --completion bash)" (or zsh, fish)']
    return "\n".join(lines)


def show(words: list[str], config_dirs: list[Path]) -> str:
    """The groups; the options of a group; the keys of an option with type, range, default and meaning; a key."""
    dirs = [*config_dirs, catalogue.conf()]
    groups = catalogue.groups(dirs)
    if not words:
        return "\n\n".join(_group(g, dirs) for g in groups)
    return "\n\n".join(_one(word, groups, dirs) for word in words)


def _one(word: str, groups: list[str], dirs: list[Path]) -> str:
    group, _, option = word.partition("=")
    if group not in groups:
        return _fixed(group, groups)
    if not option:
        return _group(group, dirs)
    known = catalogue.options(group, dirs)
    if option not in known:
        raise InvalidConfig([f"{word}: unknown option{nearest(option, known)}; known: {', '.join(known)}"])
    return _option(group, option, known[option])


def _group(group: str, dirs: list[Path]) -> str:
    options = catalogue.options(group, dirs)
    width = max(map(len, options)) + len(group) + 2
    lines = [line for name, file in options.items() for line in _wrapped(f"{group + '=' + name:<{width}} ", catalogue.headline(file))]
    return "\n".join(lines)


def _option(group: str, option: str, file: Path) -> str:
    lines = [f"{group}={option}", *textwrap.wrap(catalogue.headline(file), _columns())]
    entries = catalogue.entries(file)
    if group == "experiment":
        return "\n".join([*lines, "", file.read_text(encoding="utf-8").rstrip()])
    types = _types(group, option)
    for entry in entries:
        key = types.get(entry.key.split(".")[0])
        head = f"  {group}.{entry.key}={entry.value}"
        lines += ["", head, *_wrapped("      ", entry.comment)]
        if key is not None:
            lines += _wrapped("      ", f"allowed: {key.allowed}")
    return "\n".join(lines if entries else [*lines, "", "  no keys"])


def _types(group: str, option: str) -> dict[str, Any]:
    from dlrun import plan
    from dlrun.schema import keys

    try:
        return keys(plan.resolve(group, option, ()))
    except InvalidConfig:  # the user's own: its code is not imported to show its file
        return {}


def _fixed(key: str, groups: list[str]) -> str:
    from dlrun.schema import keys
    from dlrun.settings import Settings

    entries = {e.key: e for e in catalogue.entries(catalogue.conf() / "config.yaml")}
    chosen = [e for name, e in entries.items() if name == key or name.startswith(key + ".")]
    if not chosen:
        raise InvalidConfig([f"{key}: unknown group or key{nearest(key, [*groups, *entries])}; known groups: {', '.join(groups)}"])
    lines = []
    for entry in chosen:
        component: Any = Settings
        *path, last = entry.key.split(".")
        for part in path:
            component = keys(component)[part].annotation
        lines += [f"{entry.key}={entry.value}" if entry.value else entry.key, *_wrapped("    ", entry.comment)]
        if entry.value:
            lines += _wrapped("    ", f"allowed: {keys(component)[last].allowed}")
    return "\n".join(lines)


def _wrapped(head: str, text: str) -> list[str]:
    width = max(_columns(), len(head) + 20)
    return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head)) or [head.rstrip()]


def _columns() -> int:
    return min(shutil.get_terminal_size((110, 24)).columns, 130)
