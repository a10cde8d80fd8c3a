"""Explains mistyped commands and options: what to type instead."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from seqtool.errors import FEW

NO_COMMAND = re.compile(r"No such command '(.*?)'\.")
DATA_OPTIONS = ("--train", "--dev", "--test", "--train-file", "--dev-file", "--test-file")
ENDINGS = {".conll": "ner", ".conllu": "pos", ".tsv": "translate", ".csv": "translate", ".tmx": "translate"}


def explain(error: Any, arguments: Sequence[str]) -> str:
    """The message about a usage error of the parser, without a full stop.

    Args:
        error: An exception of the parser.
        arguments: Words after `seqtool`.
    """
    context = getattr(error, "ctx", None)
    if context is not None and type(error).__name__ == "NoSuchOption":
        return _unknown_option(str(error.option_name), context, arguments)
    if context is not None and (found := NO_COMMAND.match(error.message)):
        return _unknown_command(found[1], context)
    return str(error.format_message()).rstrip(".")


def _unknown_option(option: str, context: Any, arguments: Sequence[str]) -> str:
    message = f"no such option: {option}"
    words = context.command_path.split()[1:]
    if words == ["train"] and option in DATA_OPTIONS:
        return f"the task is missing, as in: {_with_task(option, arguments)}"
    settings = _settings(option, words[1]) if words[:1] == ["train"] and len(words) == 2 else []
    if settings:
        value = _value(option, arguments)
        return f"{message}; did you mean {' or '.join(f'--set {key}={value}' for key in settings)}?"
    known = [name for parameter in context.command.params for name in (*parameter.opts, "--help")]
    close = get_close_matches(option, [name for name in known if name.startswith("--")], n=1)
    return f"{message}; did you mean {close[0]}?" if close else message


def _settings(option: str, task: str) -> list[str]:
    """The settings of a task that are called like an option, at most `FEW`."""
    from seqtool.settings_keys import default_values
    from seqtool.tasks import TASKS

    name = option.lstrip("-").replace("-", "_")
    keys = default_values(TASKS[task]().settings)
    return [key for key in keys if key.rpartition(".")[2] == name][:FEW]


def _value(option: str, arguments: Sequence[str]) -> str:
    """The value that was typed for an option, quoted for a shell; VALUE if there is none."""
    for word, following in zip(arguments, [*arguments[1:], "VALUE"], strict=True):
        if word.startswith(f"{option}="):
            return shlex.quote(word.partition("=")[2])
        if word == option:
            return "VALUE" if following.startswith("--") else shlex.quote(following)
    return "VALUE"


def _with_task(option: str, arguments: Sequence[str]) -> str:
    """The command `seqtool train`, as it was typed, with a task that suits its data."""
    place = arguments.index("train") + 1
    words = list(arguments[arguments.index(option) + 1 :][:2]) if option in arguments else []
    pair = option.endswith("-file") or (len(words) == 2 and not words[1].startswith("-"))
    name = words[0].lower().removesuffix(".gz") if words else ""
    task = "translate" if pair else ENDINGS.get(Path(name).suffix, "lm")
    return shlex.join(["seqtool", *arguments[:place], task, *arguments[place:]])


def _unknown_command(name: str, context: Any) -> str:
    message = f"no such command: {name}"
    close = get_close_matches(name, context.command.commands, n=1)
    if close:
        return f"{message}; did you mean `{context.command_path} {close[0]}`?"
    paths = [path for path in _commands(context.find_root().command, ("seqtool",)) if len(path) > 2]
    close = get_close_matches(name, [path[-1] for path in paths], n=1)
    found = [f"`{' '.join(path)}`" for path in paths if path[-1] in close][:FEW]
    return f"{message}; did you mean {' or '.join(found)}?" if found else message


def _commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The words of every command of a group and of its groups."""
    for name, command in getattr(group, "commands", {}).items():
        yield (*path, name)
        yield from _commands(command, (*path, name))
