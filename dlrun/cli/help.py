"""The texts of ``dlrun --help`` and ``dlrun show``: what can be set, from conf/; types and ranges, from signatures."""

import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlrun.config import catalogue
from dlrun.config.catalogue import Entry
from dlrun.config.schema import Key, keys
from dlrun.errors import InvalidConfig, nearest
from dlrun.errors import show as shown

USAGE = {
    "dlrun [group=option ...] [key=value ...]": "train; the last line on stdout is the run directory",
    "dlrun -m key=a,b key=range(0,5) ...": "sweep: a run for every combination",
    "dlrun -m hydra/sweeper=optuna key=interval(0,1) ...": "search for good values, with Optuna",
    "dlrun resume DIR [key=value ...]": "go on with a run or a sweep where it stopped, or for longer",
    "dlrun compare [DIR ...] [--group-by KEY,...]": "runs side by side, groups with error bars, real differences",
    "dlrun diff A B": "how two runs differ: configuration, results, code, machine",
    "dlrun show-run DIR": "a run at a glance",
    "dlrun ls [DIR ...] [--watch]": "runs, newest first",
    "dlrun prune [DIR ...]": "delete checkpoints by rule; without --delete, only say what would be deleted",
    "dlrun show [GROUP | GROUP=OPTION | KEY]": "options of a group; keys of an option with type, range and default",
    "dlrun show act=A | schedule=S [key=value ...]": "also draws it; with --save FILE, also to a file",
    "dlrun show model=M data=D [key=value ...]": "layers of the model on the data: shapes, parameters, operations",
}


def overview(config_dirs: list[Path]) -> str:
    """Usage, groups with their options, fixed keys with their meanings, flags."""
    from dlrun.cli.flags import parser

    dirs = folders(config_dirs)
    config = catalogue.config(dirs)
    chosen = catalogue.defaults(config)
    choices = {
        g: "  ".join(n + "*" * (chosen.get(g) == n) for n in catalogue.options(g, dirs)) for g in catalogue.groups(dirs)
    }
    fixed = {f"{e.key}={e.value}": e.comment for e in _leaves(catalogue.entries(config))}
    flags = {
        ", ".join(a.option_strings) + (f" {a.metavar or '|'.join(a.choices or ())}" if a.nargs != 0 else ""): a.help
        or ""
        for a in parser()._actions
        if a.option_strings
    }
    return "\n".join([
        "dlrun: from one shell line to a trustworthy deep-learning result",
        "",
        *_table(USAGE),
        "",
        "Choices (* is the default):",
        *_table(choices),
        "",
        "Keys with their defaults (for those of a choice: dlrun show GROUP=OPTION):",
        *_table(fixed),
        "",
        "Flags, anywhere among the words:",
        *_table(flags),
        "",
        "compare, diff, show-run, ls and prune have their own flags: dlrun compare --help",
        "Exit codes: 0 done; 1 the run failed; 2 wrong input, nothing was written;",
        "129, 130, 143 stopped by a signal, with the state saved",
    ])  # fmt: skip


def show(words: list[str], config_dirs: list[Path], trust: tuple[str, ...] = ()) -> str:
    """Describes what each word names: a group's options; the keys of an option or a section with type, range, default.

    Args:
      words: ``model``, ``model=resnet``, ``optim.lr``, ``eval``, ``batch_size``; none for all groups.
      trust: packages of the user's own parts that may be imported, to tell the types of their keys.

    Raises:
      InvalidConfig: with all the words that name nothing.
    """
    dirs, found, unknown = folders(config_dirs), [], []
    for word in words or catalogue.groups(dirs):
        try:
            found.append(_named(word, dirs, trust))
        except InvalidConfig as error:
            unknown += error.problems
    if unknown:
        raise InvalidConfig(unknown)
    return "\n\n".join(found)


def _named(word: str, dirs: list[Path], trust: tuple[str, ...]) -> str:
    name, _, option = word.partition("=")
    group, _, key = name.partition(".")
    if group not in catalogue.groups(dirs):
        return _fixed(name, dirs)
    if key:
        return _of_options(group, key, dirs, trust)
    known = catalogue.options(group, dirs)
    if not option:
        return "\n".join(_table({f"{group}={o}": catalogue.headline(file) for o, file in known.items()}, indent=0))
    if option not in known:
        raise InvalidConfig([f"{word}: unknown option{nearest(option, known)}; known: {', '.join(known)}"])
    return _option(group, option, known[option], trust)


def _option(group: str, option: str, file: Path, trust: tuple[str, ...]) -> str:
    lines = [f"{group}={option}", *textwrap.wrap(catalogue.headline(file), _columns())]
    if catalogue.conf() not in file.parents:
        lines.append(f"your own: {file}")
    if group == catalogue.EXPERIMENT:
        return "\n".join([*lines, "", file.read_text(encoding="utf-8").rstrip()])
    if brings := catalogue.brings(file):
        lines += ["", "Unless you choose otherwise, it brings: " + " ".join(f"{g}={o}" for g, o in brings.items())]
    described, note = _described(group, file, trust)
    lines += ["", *(_keys(described) or ["no keys"]), *note]
    return "\n".join(lines)


def _of_options(group: str, key: str, dirs: list[Path], trust: tuple[str, ...]) -> str:
    """A key such as ``optim.lr`` in each option that has it."""
    blocks, known = [], []
    for option, file in catalogue.options(group, dirs).items():
        described, _ = _described(group, file, trust)
        known += [entry.key for entry, _ in described]
        if chosen := [(e, k) for e, k in described if e.key == f"{group}.{key}" or e.key.startswith(f"{group}.{key}.")]:
            blocks.append("\n".join([f"{group}={option}", *_keys(chosen)]))
    if not blocks:
        name = f"{group}.{key}"
        raise InvalidConfig(
            [f"{name}: unknown key{nearest(name, known)}; known: {', '.join(dict.fromkeys(known)) or 'none'}"]
        )
    return "\n\n".join(blocks)


def _fixed(name: str, dirs: list[Path]) -> str:
    """A fixed key, or the keys of a section."""
    from dlrun.config import components
    from dlrun.config.settings import Settings

    entries = catalogue.entries(catalogue.config(dirs))
    chosen = [e for e in _leaves(entries) if e.key == name or e.key.startswith(f"{name}.")]
    if not chosen:
        known = [*catalogue.groups(dirs), *(e.key for e in entries)]
        files = [(g, file) for g in components.HOMES for file in catalogue.options(g, dirs).values()]
        of_options = dict.fromkeys(f"{g}.{e.key}" for g, file in files for e in catalogue.entries(file))
        section = name.rpartition(".")[0]
        near = [k for k in known if k.rpartition(".")[0] == section] or [k for k in known if "." not in k]
        raise InvalidConfig(
            [f"{name}: unknown group or key{nearest(name, [*known, *of_options])}; known: {', '.join(near)}"]
        )
    return "\n".join(_keys([(e, _key(Settings, e.key.split("."))) for e in chosen]))


def _described(group: str, file: Path, trust: tuple[str, ...]) -> tuple[list[tuple[Entry, Key | None]], list[str]]:
    """The keys of an option, those of its signature that its file leaves out included, and what to know about them."""
    from dlrun.config import components

    entries = _leaves(catalogue.entries(file))
    note, signature = [], {}
    if group in components.HOMES:
        try:
            signature = keys(components.resolve(group, catalogue.component(file) or file.stem, trust))
        except InvalidConfig as error:  # code of the user's own that this command may not import, or that fails
            note = ["", "The types of these keys are not known:", *(f"  {problem}" for problem in error.problems)]
    given = {e.key.split(".")[0] for e in entries}
    left = [
        Entry(k.name, "" if k.required else shown(k.default), "") for k in signature.values() if k.name not in given
    ]
    full = [
        (Entry(f"{group}.{e.key}", e.value, e.comment), signature.get(e.key.split(".")[0])) for e in [*entries, *left]
    ]
    return full, note


def _key(component: Callable[..., Any], path: list[str]) -> Key | None:
    """The key at a path through sections; None for one that is not in the schema."""
    key = keys(component).get(path[0])
    return key if key is None or len(path) == 1 else _key(key.annotation, path[1:])


def _keys(described: list[tuple[Entry, Key | None]]) -> list[str]:
    """Lines for keys: name and default; meaning; what is allowed."""
    lines = []
    for entry, key in described:
        lines += [
            f"{entry.key}={entry.value}",
            *textwrap.wrap(entry.comment, _columns() - 4, initial_indent="    ", subsequent_indent="    "),
        ]
        if key is not None:
            lines.append(f"    allowed: {key.allowed}")
    return lines


def _leaves(entries: list[Entry]) -> list[Entry]:
    """The entries that are no sections."""
    sections = {e.key.rpartition(".")[0] for e in entries}
    return [e for e in entries if e.key not in sections]


def folders(config_dirs: list[Path]) -> list[Path]:
    """The user's folders of options, then ours. Raises :class:`InvalidConfig` for those that are not there."""
    if missing := [f"--config-dir {d}: no such folder" for d in config_dirs if not d.is_dir()]:
        raise InvalidConfig(missing)
    return [*config_dirs, catalogue.conf()]


def _table(rows: dict[str, str], indent: int = 2) -> list[str]:
    """Two columns, the second one wrapped."""
    width = max(map(len, rows), default=0) + 2 + indent
    lines = []
    for name, text in rows.items():
        head = f"{' ' * indent}{name}".ljust(width)
        lines += textwrap.wrap(
            text, max(_columns(), width + 20), initial_indent=head, subsequent_indent=" " * width
        ) or [head.rstrip()]
    return lines


def _columns() -> int:
    return min(max(shutil.get_terminal_size((110, 24)).columns, 20), 130)
