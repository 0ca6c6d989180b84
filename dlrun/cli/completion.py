"""Tab completion: the candidates for a word of a command line, and the scripts by which shells ask for them.

A script calls ``dlrun --complete SHELL ...`` and shows what it prints: a candidate a line, then a tab and its meaning.
A candidate that ends in ``=`` is not finished. The line ``/`` stands for directories, which a shell lists best itself.
Imports neither Hydra nor JAX, so that it answers at once.
"""

import argparse
import importlib
import os
import re
import shlex
import typing
from pathlib import Path
from typing import Any

from dlrun.config import catalogue

Candidates = dict[str, str]
"""Whole words by which the current one may be replaced, with their meanings."""

DIRECTORIES: Candidates = {"/": "directories"}


def candidates(words: list[str], current: str) -> Candidates:
    """The words that may stand in place of ``current``.

    Args:
      words: the words before it, without the program's name.
      current: the word as far as it is typed; may be empty.
    """
    from dlrun.cli.flags import SUBCOMMANDS, TOOLS, config_dirs, parser

    tool = words[0] if words and words[0] in TOOLS else None
    arguments = importlib.import_module(TOOLS[tool]).parser() if tool else parser()
    flags = {flag: action for action in arguments._actions for flag in action.option_strings}
    plain, folders, awaited = [], [], None
    for word in words:
        flag, _, value = word.partition("=")
        if awaited or (flag in flags and value):
            if (awaited or flags[flag]).dest == "config_dir":
                folders.append(Path(os.path.expanduser(value if not awaited else word)))
            awaited = None
        elif word in flags:
            awaited = flags[word] if flags[word].nargs != 0 else None
        elif not word.startswith("-"):
            plain.append(word)
    dirs = [*(f for f in config_dirs(folders) if f.is_dir()), catalogue.conf()]

    if awaited:
        return _starting(current, _flag_values(awaited))
    if current.startswith("-"):
        flag, sign, _ = current.partition("=")
        if sign:
            found = _flag_values(flags[flag]) if flag in flags else {}
            return found if found is DIRECTORIES else _starting(current, {f"{flag}={v}": m for v, m in found.items()})
        return _starting(current, {flag: _meaning(action) for flag, action in flags.items()})
    command = plain[0] if plain and plain[0] in SUBCOMMANDS else None
    if tool or (command == "resume" and len(plain) == 1):
        return DIRECTORIES
    if command == "show" and not any("=" in word for word in plain):  # else the words describe a run, as for training
        return _starting(current, _shown(current, dirs))
    if command == "resume":
        return _overrides(
            current, _fixed(catalogue.entries(Path(os.path.expanduser(plain[1])) / ".hydra" / "config.yaml")), {}
        )
    subcommands: Candidates = {} if plain else dict.fromkeys(map(str, SUBCOMMANDS), "subcommand")
    groups = {g: catalogue.options(g, dirs) for g in catalogue.groups(dirs)}
    config = catalogue.config(dirs)
    known = _fixed(catalogue.entries(config)) | _of_choices(plain, groups, catalogue.defaults(config))
    return _starting(current, subcommands) | _overrides(current, known, groups)


def chosen(words: list[str], groups: dict[str, dict[str, Path]], defaults: dict[str, str]) -> dict[str, list[str]]:
    """The options of each group that a command line chooses: several in a sweep.

    A choice on the line wins over what another choice brings along (a Transformer brings its layer norm), and that wins
    over a default.
    """
    said = {g: options.split(",") for g, sign, options in (w.partition("=") for w in words) if sign and g in groups}
    found = {g: [o] for g, o in defaults.items()}
    for group, options in ({**found, **said}).items():
        for option in options:
            if option in groups.get(group, {}):
                found |= {g: [o] for g, o in catalogue.brings(groups[group][option]).items()}
    return found | said


def _of_choices(
    words: list[str], groups: dict[str, dict[str, Path]], defaults: dict[str, str]
) -> dict[str, catalogue.Entry]:
    """The keys of the options that a command line chooses, by path."""
    return {
        f"{group}.{entry.key}": entry
        for group, options in chosen(words, groups, defaults).items()
        for option in options
        if group != catalogue.EXPERIMENT and option in groups.get(group, {})
        for entry in catalogue.entries(groups[group][option])
    }


def _fixed(entries: list[catalogue.Entry]) -> dict[str, catalogue.Entry]:
    """Entries by key, without those of sections."""
    sections = {e.key.rpartition(".")[0] for e in entries}
    return {e.key: e for e in entries if e.key not in sections}


def _overrides(current: str, known: dict[str, catalogue.Entry], groups: dict[str, dict[str, Path]]) -> Candidates:
    """Names with their ``=``; after it, options or the values that a type enumerates, also in a list with commas."""
    name, sign, typed = current.partition("=")
    if not sign:
        keys = {f"{g}=": "choice: " + ", ".join(options) for g, options in groups.items()}
        return _starting(current, keys | {f"{key}=": entry.comment for key, entry in known.items()})
    if name in groups:
        values = {option: catalogue.headline(file) for option, file in groups[name].items()}
    else:
        values = dict.fromkeys(_values(name, known[name]), "") if name in known else {}
    listed = name in known and known[name].value.startswith("[")
    head = typed[: max(typed.rfind(","), typed.rfind("[")) + 1] or "[" * listed
    used = re.split(r"[\[,]", head)
    return _starting(current, {f"{name}={head}{v}{']' * listed}": m for v, m in values.items() if v not in used})


def _values(name: str, entry: catalogue.Entry) -> list[str]:
    """The values that the type of a fixed key enumerates. Those of components are left out: they would import JAX."""
    if entry.value in ("true", "false"):
        return ["true", "false"]
    from dlrun.config.schema import keys, literals
    from dlrun.config.settings import Settings

    annotation: Any = Settings
    for part in name.split("."):
        found = keys(annotation) if hasattr(annotation, "__dataclass_fields__") else {}
        if part not in found:
            return []
        annotation = found[part].annotation
    return literals(typing.get_args(annotation)[0] if typing.get_origin(annotation) is list else annotation)


def _shown(current: str, dirs: list[Path]) -> Candidates:
    """What ``show`` takes: groups, fixed keys and sections, and the options of the group that is typed."""
    entries = {e.key: e.comment for e in catalogue.entries(catalogue.config(dirs))}
    found = dict.fromkeys(catalogue.groups(dirs), "group") | entries
    for group in catalogue.groups(dirs):
        if current.startswith(group):
            found |= {f"{group}={o}": catalogue.headline(file) for o, file in catalogue.options(group, dirs).items()}
    return found


def _flag_values(action: Any) -> Candidates:
    return dict.fromkeys(action.choices or (), "") if action.dest != "config_dir" else DIRECTORIES


def _meaning(action: Any) -> str:
    return action.help if action.help and action.help != argparse.SUPPRESS else ""


def _starting(current: str, found: Candidates) -> Candidates:
    return (
        found
        if found is DIRECTORIES
        else {word: meaning for word, meaning in found.items() if word.startswith(current)}
    )


def split(line: str) -> tuple[list[str], str, bool]:
    """A command line up to the cursor as words, the word at the cursor, and whether a quote is open there."""
    for quote in ("", '"', "'"):
        try:
            *words, current = shlex.split(f"{line}\0{quote}")  # the mark keeps the last word, even if it is empty
        except ValueError:  # the quote is not closed
            continue
        return words, current.removesuffix("\0"), bool(quote)
    return [], "", False


def answer(asked: list[str]) -> int:
    """Prints the candidates for a shell: ``bash LINE WORDBREAKS``; ``zsh`` or ``fish``, then the words."""
    shell, *words = asked or [""]
    if shell != "bash":
        found = candidates(words[:-1], words[-1] if words else "")
        lines = [f"{word}\t{' '.join(meaning.split())}" for word, meaning in found.items()]
    else:
        (_, *before), current, quoted = split(words[0]) if words[0].strip() else ([""], "", False)
        found = candidates(before, current)
        # Bash takes words apart at = and :, unless quoted, and replaces the last part alone.
        breaks = "" if quoted else words[1] if len(words) > 1 else ""
        cut = max((current.rfind(c) + 1 for c in breaks), default=0)
        lines = list(found) if found is DIRECTORIES else [w[cut:] + " " * (not quoted and w[-1] != "=") for w in found]
    print("\n".join(["/"] if found is DIRECTORIES else lines))
    return 0


# Each candidate for bash brings its own space, as some must have none; bash 3.2 (macOS) has no compopt and no mapfile.
BASH = r"""_dlrun() {
    local reply
    COMPREPLY=()
    while IFS= read -r reply; do
        [[ -n $reply ]] && COMPREPLY+=("$reply")
    done < <("$1" --complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
    if [[ ${COMPREPLY[0]} == / ]]; then
        COMPREPLY=()
        compopt -o dirnames 2>/dev/null
    fi
}
complete -o nospace -F _dlrun dlrun
"""

ZSH = r"""#compdef dlrun
_dlrun() {
    local line value
    local -a asked lines finished open
    asked=("${(@Q)words[1,CURRENT-1]}")
    lines=("${(@f)$("$asked[1]" --complete zsh "${(@)asked[2,-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    if [[ ${lines[1]%%$'\t'*} == / ]]; then
        compset -P '--*='
        _files -/
        return
    fi
    for line in $lines; do
        value=${line%%$'\t'*}
        if [[ $value == *= ]]; then
            open+=("${value//:/\\:}:${line#*$'\t'}")
        else
            finished+=("${value//:/\\:}:${line#*$'\t'}")
        fi
    done
    _describe word finished -- open -S ''
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
if [[ $funcstack[1] == _dlrun ]]; then _dlrun "$@"; else compdef _dlrun dlrun; fi
"""

FISH = r"""function __dlrun_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    set -e words[1]
    set -l current (commandline -ct)
    set -l lines ($program --complete fish $words "$current" 2>/dev/null)
    if test "$lines" = /
        __fish_complete_directories "$current"
    else
        printf '%s\n' $lines
    end
end
complete -c dlrun -f -a '(__dlrun_complete)'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
