"""All commands together, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import io
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TextIO

import typer
from pydantic import ValidationError

from seqtool.cli import (
    console,
    data,
    doctor,
    embed,
    evaluate,
    inspect,
    lm,
    model,
    recipes,
    tag,
    train,
    translate,
    vocab,
)
from seqtool.cli.help import CommandGroup, Group
from seqtool.cli.usage import explain
from seqtool.errors import InterruptedRunError, MemoryExhaustedError, SeqtoolError, StorageError, UsageError
from seqtool.settings import plain_message
from seqtool.text.streaming import READER
from seqtool.version import __version__

INTERRUPTED = 130
TRAINING = ("seqtool train ", "seqtool recipes run")
# Every error of the parser is one of these; typer has no public name for their common base.
ParserError: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)

# In the order of use.
COMMANDS = (
    *("train", "evaluate", "tag", "translate", "lm", "embed", "inspect"),
    *("data", "vocab", "recipes", "model", "doctor"),
)


class _Program(Group):
    """The commands in the order of use; Typer would put the groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands as the help shows them."""
        return sorted(self.commands, key=COMMANDS.index)


app = CommandGroup(
    """Train, evaluate and run recurrent sequence models: taggers, translators and language models.

    Examples:
      seqtool train ner ner-tiny
      echo 'Mr Brovell works for Tranex in Lake Othwick.' | seqtool tag
    """,
    name="seqtool",
    cls=_Program,
)
for name, group in (
    ("train", train.app),
    ("lm", lm.app),
    ("inspect", inspect.app),
    ("data", data.app),
    ("vocab", vocab.app),
    ("recipes", recipes.app),
    ("model", model.app),
):
    app.add_typer(group, name=name)
app.command("evaluate")(evaluate.evaluate)
app.command("tag")(tag.tag)
app.command("translate")(translate.translate)
app.command("embed")(embed.embed)
app.command("doctor")(doctor.doctor)


_output_is_broken = False  # True = standard output must not be flushed again
_was_interrupted = False


def _print_version(wanted: bool) -> None:
    if wanted:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        python = ".".join(map(str, sys.version_info[:3]))
        print(f"seqtool {__version__}, Python {python}, torch {torch.__version__}, {device}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the versions of seqtool, Python and torch, and exit.",
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print only results and errors; may stand anywhere.")
    ] = False,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="Print without colours; may stand anywhere.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")
    ] = False,
) -> None:
    # `main` removes these switches from the command line before it is parsed, so that they may stand
    # anywhere; they are declared here for the help.
    del version, quiet, no_color, debug


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its exit code.

    Args:
        arguments: Words after `seqtool`; None = those of this process.
    """
    global _output_is_broken, _was_interrupted
    _output_is_broken = _was_interrupted = False
    _prepare_streams()
    _wait_briefly()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    switches = {"--quiet": False, "--no-color": False, "--debug": False}
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for switch in switches:
        switches[switch] = switch in arguments[:end]
    arguments = [word for i, word in enumerate(arguments) if i >= end or word not in switches]
    console.configure(quiet=switches["--quiet"], colour=not switches["--no-color"])
    command = typer.main.get_command(app)
    console.name_command(_typed_command(command, arguments))
    code = run(lambda: _run_command(command, arguments), debug=switches["--debug"], arguments=arguments)
    results_are_out, messages_are_out = _flushed(sys.stdout), _flushed(sys.stderr)
    if code == 0 and not (results_are_out or _output_is_broken):
        code = StorageError.exit_code
    # The interpreter's own shutdown would try to flush a broken stream again and exit with another code,
    # and would wait for the lock of an input stream that a thread is reading. After a Ctrl-C inside an
    # `exec` (any dataclass that is being imported), it would send itself the signal again.
    broken = _output_is_broken or _was_interrupted or _a_thread_reads()
    clean = results_are_out and messages_are_out and not broken
    sys.exit(code) if clean else os._exit(code)


def run(command: Callable[[], int], *, debug: bool = False, arguments: Sequence[str] = ()) -> int:
    """Run a command; an error becomes one line on stderr.

    Args:
        command: Runs the command and returns its exit code.
        debug: Whether to print the traceback of an error as well.
        arguments: Words of the command after `seqtool`, for messages about them.

    Returns:
        The exit code.
    """
    global _output_is_broken
    try:
        return command()
    except BrokenPipeError:  # the reader went away: `seqtool ... | head -1`
        _output_is_broken = True
        return 0
    except SystemExit as leaving:
        # Typer and Rich turn a broken pipe into exit code 1.
        if not isinstance(leaving.__context__, BrokenPipeError):
            raise
        _output_is_broken = True
        return 0
    except KeyboardInterrupt:
        return _leave_interrupted()
    except InterruptedRunError as error:
        console.interrupted(str(error))
        return error.exit_code
    except SeqtoolError as error:
        return _complain(str(error), error.exit_code, debug)
    except ParserError as error:
        return _explain_usage(error, arguments, debug)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _output_is_broken = error.filename is None
        return _complain(f"{where}{error.strerror or error}", StorageError.exit_code, debug)
    except Exception as error:
        if _is_out_of_memory(error):
            message = "out of memory; lower --batch-tokens, or shorten the longest sentences"
            return _complain(message, MemoryExhaustedError.exit_code, debug)
        return _complain(
            f"a bug in seqtool: {type(error).__name__}: {error}; the same command with --debug shows the "
            "traceback",
            1,
            debug,
        )


def _prepare_streams() -> None:
    """Write results as UTF-8 in any locale, and put /dev/null in place of a closed standard stream.

    Otherwise the next file to be opened would get descriptor 1 or 2, to which any library may write.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor: this one
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Bytes of a file name that are not UTF-8 are written as they came.
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")


def _wait_briefly() -> None:
    """Let idle OpenMP threads sleep after a moment; libgomp reads this when torch is imported.

    By default they spin for minutes. Beside another busy program on two cores, a tagger then made 20 updates
    in the time of 150 with this setting, which costs 4 % of the speed on an idle machine.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "100000")


def _typed_command(command: Any, arguments: list[str]) -> str:
    """Names of the group and command at the start of the arguments, for instance `train ner`."""
    names = []
    for word in arguments:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        names.append(word)
    return " ".join(names)


def _run_command(command: Any, arguments: list[str]) -> int:
    console.output()  # fails now if closed, rather than after hours of training
    result = command(arguments, standalone_mode=False, prog_name="seqtool")
    if result == INTERRUPTED:  # what Typer returns after Ctrl-C; no command of ours returns a number
        raise KeyboardInterrupt
    sys.stdout.flush()
    return result if isinstance(result, int) else 0


def _leave_interrupted() -> int:
    """Exit after Ctrl-C; a training command says whether a checkpoint was saved."""
    global _was_interrupted
    _was_interrupted = True
    if console.command().startswith(TRAINING):
        saved = "interrupted; the last checkpoint was saved; continue with the same command and --resume"
        nothing = "interrupted before the first update; nothing was saved"
        console.interrupted(saved if console.training_has_begun() else nothing)
    return INTERRUPTED


def _explain_usage(error: Any, arguments: Sequence[str], debug: bool) -> int:
    """Print one line about a usage error, or the help of a group that was typed without a command."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return UsageError.exit_code
    if isinstance(error.__cause__, ValidationError):  # the parser passes on an error of pydantic
        error.message = plain_message(error.__cause__)
    message = explain(error, arguments)
    see = " See" if message.endswith("?") else "; see"
    return _complain(f"{message}{see} `{console.command()} -h`", UsageError.exit_code, debug)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an error is Python's `MemoryError`, or torch's for a GPU or for the CPU allocator."""
    signs = ("out of memory", "can't allocate memory", "not enough memory")
    known = isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in signs)
    return known or isinstance(error, MemoryError)


def _complain(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    console.error(message)
    return code


def _a_thread_reads() -> bool:
    return any(thread.name == READER for thread in threading.enumerate())


def _flushed(stream: TextIO | None) -> bool:
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):
        return False
    return True
