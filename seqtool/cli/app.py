"""Assembly of the commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import io
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Annotated, Any, TextIO

import typer
from pydantic import ValidationError

from seqtool.cli import (
    console,
    data,
    doctor,
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
from seqtool.errors import InterruptedRunError, MemoryExhaustedError, SeqtoolError, StorageError, UsageError
from seqtool.settings import plain_message
from seqtool.text.streaming import READER
from seqtool.version import __version__

INTERRUPTED = 130
TRAINING = ("seqtool train ", "seqtool recipes run")
HELP = {"help_option_names": ["-h", "--help"]}
# Every error of the parser is one of these; typer has no public name for their common base.
ParserError: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)

app = typer.Typer(
    name="seqtool",
    help="Train, evaluate and run recurrent sequence models.",
    context_settings=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for name, group in (
    ("train", train.app),
    ("lm", lm.app),
    ("data", data.app),
    ("vocab", vocab.app),
    ("recipes", recipes.app),
    ("model", model.app),
    ("inspect", inspect.app),
):
    app.add_typer(group, name=name)
app.command("tag")(tag.tag)
app.command("translate")(translate.translate)
app.command("evaluate")(evaluate.evaluate)
app.command("doctor")(doctor.doctor)


_output_is_broken = False  # whether standard output must not be flushed again
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
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Name all versions.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Results and errors only; works anywhere.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colour; works anywhere.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks; works anywhere.")] = False,
) -> None:
    # The three switches are taken out of the line before it is parsed (see `main`): these
    # declarations put them into the help.
    del version, quiet, no_color, debug


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
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
    code = run(lambda: _run_command(command, arguments), debug=switches["--debug"])
    results_are_out, messages_are_out = _flushed(sys.stdout), _flushed(sys.stderr)
    if code == 0 and not (results_are_out or _output_is_broken):
        code = StorageError.exit_code
    # The interpreter's own shutdown would flush what cannot be flushed once more, with an exit
    # code of its own, and wait for the lock of an input stream that a thread is reading. Where Ctrl-C
    # came inside an `exec`, as of any dataclass that is imported, it would send itself the signal again.
    broken = _output_is_broken or _was_interrupted or _a_thread_reads()
    clean = results_are_out and messages_are_out and not broken
    sys.exit(code) if clean else os._exit(code)


def run(command: Callable[[], int], *, debug: bool = False) -> int:
    """Carry out a command and give its exit code; whatever goes wrong becomes one line on stderr."""
    global _output_is_broken
    try:
        return command()
    except BrokenPipeError:  # the reader went away: `seqtool ... | head -1`
        _output_is_broken = True
        return 0
    except SystemExit as leaving:
        # Typer and Rich make an exit with 1 of a broken pipe.
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
        return _explain_usage(error, debug)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _output_is_broken = error.filename is None
        return _complain(f"{where}{error.strerror or error}", StorageError.exit_code, debug)
    except Exception as error:
        if _is_out_of_memory(error):
            message = "out of memory; lower --batch-tokens, or shorten the longest sentences"
            return _complain(message, MemoryExhaustedError.exit_code, debug)
        return _complain(
            f"a bug of seqtool's: {type(error).__name__}: {error}; --debug shows where", 1, debug
        )


def _prepare_streams() -> None:
    """Results are UTF-8 whatever the locale; a closed standard stream is closed for everything.

    Without the second, a file opened later would become descriptor 1 or 2, where any library may write.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor: this one
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name may hold bytes that are not UTF-8: they leave as they came.
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")


def _wait_briefly() -> None:
    """Threads that wait for each other go to sleep after a moment; read when torch is imported (libgomp).

    They would wait actively for minutes: beside one other busy program a tagger then made 20 updates on two
    cores in the time of 150 with this, which takes 4 % of the speed where nothing else runs.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "100000")


def _typed_command(command: Any, arguments: list[str]) -> str:
    """The name of the command that the arguments begin with, as in `train ner`."""
    names = []
    for word in arguments:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        names.append(word)
    return " ".join(names)


def _run_command(command: Any, arguments: list[str]) -> int:
    console.output()  # closed from the start: better said now than after hours of training
    result = command(arguments, standalone_mode=False, prog_name="seqtool")
    if result == INTERRUPTED:  # what typer makes of Ctrl-C; no command of ours returns a number
        raise KeyboardInterrupt
    sys.stdout.flush()
    return result if isinstance(result, int) else 0


def _leave_interrupted() -> int:
    """Who trains is told whether anything is left of it; of any other command its output tells."""
    global _was_interrupted
    _was_interrupted = True
    if console.command().startswith(TRAINING):
        saved = "interrupted; the last checkpoint is saved; continue with the same command and --resume"
        nothing = "interrupted before the first update; nothing was saved"
        console.interrupted(saved if console.training_has_begun() else nothing)
    return INTERRUPTED


def _explain_usage(error: Any, debug: bool) -> int:
    """One line about what was mistyped; the help where nothing was typed after a group of commands."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return UsageError.exit_code
    if isinstance(error.__cause__, ValidationError):  # the parser hands on what pydantic said
        error.message = plain_message(error.__cause__)
    message = f"{error.format_message().rstrip('.')}; see `{console.command()} -h`"
    return _complain(message, UsageError.exit_code, debug)


def _is_out_of_memory(error: Exception) -> bool:
    """Python's own kind, and those of torch: for a GPU, for the processor's allocator."""
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
