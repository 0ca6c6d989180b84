"""Passes the command line on to a subcommand or to training. Imports JAX and Hydra only if they are needed."""

import argparse
import gc
import importlib
import io
import os
import sys
import warnings

from dlrun.cli import exit_codes, help
from dlrun.cli.flags import SUBCOMMANDS, TOOLS, config_dirs, parser
from dlrun.display import streams
from dlrun.errors import InvalidConfig, nearest
from dlrun.system import isolation


def main(argv: list[str] | None = None) -> int:
    """Runs a command line; returns the exit code."""
    isolation.isolate_children()
    if argv is None:
        argv = sys.argv[1:]
        streams.go_on_unread()
        gc.set_threshold(50_000, 50, 100)  # imports and tracing make millions of lasting objects: saves 10% of a start
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # libraries' warnings are for developers, not for people who train a model
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="surrogateescape")  # a directory's name may be any bytes
    if argv[:1] == ["--complete"]:  # the completion script asks
        from dlrun.cli import completion

        return completion.answer(argv[1:])
    return exit_codes.guarded(lambda: called(argv), "--debug" in argv)


def called(argv: list[str]) -> int:
    """Calls the tool that the first word names; else reads the flags among overrides."""
    words = [word for word in argv if word != "--debug"]
    try:
        os.getcwd()
    except OSError as error:
        raise InvalidConfig([f"working folder: {error.strerror}; allowed: a folder that exists"]) from None
    if words and words[0] in TOOLS:
        return importlib.import_module(TOOLS[words[0]]).main(words[1:])
    return dispatch(parser().read(argv))


def dispatch(args: argparse.Namespace) -> int:
    """Calls the subcommand, or trains."""
    words = args.words
    command = words[0] if words and "=" not in words[0] and not words[0].startswith("~") else None
    if command is not None and command not in SUBCOMMANDS:
        known = f"known: {', '.join(SUBCOMMANDS)}; to train: group=option key=value"
        raise InvalidConfig([f"{command!r}: unknown subcommand{nearest(command, SUBCOMMANDS)}; {known}"])
    if command in TOOLS:
        raise InvalidConfig([f"{command}: not allowed here; allowed: dlrun {command} ..., as the first word"])
    args.config_dir = config_dirs(args.config_dir)
    if args.help:
        print(help.overview(args.config_dir))
        return 0
    if args.completion:
        from dlrun.cli import completion

        print(completion.SCRIPTS[args.completion], end="")
        return 0
    if args.save and command != "show":
        raise InvalidConfig([f"--save {args.save}: not allowed here; allowed: dlrun show ... --save FILE"])
    if args.accept_data and command != "resume":
        raise InvalidConfig(["--accept-data: not allowed here; allowed: dlrun resume DIR --accept-data"])
    if command == "show":
        from dlrun.cli import show

        return show.show(words[1:], args)
    if command == "resume":
        from dlrun.cli import resume

        return resume.resume(words[1:], args)
    from dlrun.cli import train

    return train.train(words, args)
