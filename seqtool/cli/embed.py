"""`seqtool embed`: vectors of words or lines, by any model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import typer

from seqtool.cli import console, options, streams
from seqtool.cli.help import DECODING, OUTPUT
from seqtool.cli.option_groups import with_options
from seqtool.cli.options import FloatHardwareOptions, find_model
from seqtool.cli.streams import OutputOptions
from seqtool.errors import UsageError, counted

if TYPE_CHECKING:
    from seqtool.models.embedded import Embedded

TASKS = ("ner", "pos", "translate", "lm")
DIGITS = 6  # significant digits of a number as text
BATCH_CHARACTERS = 20_000
HEADER = 128  # bytes of the header of a .npy file, which is written again when the number of rows is known

Unit = Literal["line", "word"]
Row = tuple[int, int, str, Any]  # line from 1, word from 1 (0 = the whole line), text, vector


@with_options
def embed(
    sources: streams.InputsArgument = None,
    model: options.ModelOption = None,
    unit: Annotated[
        Unit,
        typer.Option(
            "--of",
            help="What gets a vector: each line, or each word in its context (of a translator: each symbol "
            "that it reads).",
            rich_help_panel=DECODING,
        ),
    ] = "line",
    form: Annotated[
        Literal["jsonl", "tsv", "npy"] | None,
        typer.Option(
            "--format",
            help="Output format: JSON objects, tab-separated lines (number of the line, of the word if "
            "--of word, text, values), or a NumPy array (with -o). Default: by the ending of -o, otherwise "
            "jsonl.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    *,
    output: OutputOptions,
    hardware: FloatHardwareOptions,
) -> None:
    """Write vectors of lines or words: the states of a trained model.

    A tagger and a translator give the states of their encoder (of a line: the mean), a language model its
    state after the word or the line.

    Examples:
      echo 'Ada lives in London.' | seqtool embed -m runs/ner/ner-tiny --of word
      seqtool embed text.txt -m runs/lm/mine -o vectors.npy
    """
    where = find_model(model, TASKS)
    files = streams.inputs_of(sources)
    ending = "" if output.output is None else output.output.suffix.removeprefix(".")
    chosen = form or (ending if ending in ("jsonl", "tsv", "npy") else "jsonl")
    if chosen == "npy" and output.output is None:
        raise UsageError("--format npy is no text: give -o FILE.npy")
    output.check()
    from seqtool import api
    from seqtool.devices import configure
    from seqtool.tasks import EMBEDDINGS

    configure(hardware.threads)
    found = api.load_single(where, device=hardware.device, precision=hardware.precision)
    of_lines = EMBEDDINGS[api.task_of(where)]()
    count = 0
    with _opened(output, chosen) as put:
        number = 0
        for group in streams.groups_from(files, _lines, size=_size, budget=BATCH_CHARACTERS):
            for each in of_lines(found, group):
                number += 1
                rows = list(_rows(each, number, unit))
                put(rows)
                count += len(rows)
    console.say(counted(count, "vector"))


def _lines(stream: BinaryIO, name: str) -> Iterator[str]:
    from seqtool.text.lines import read_lines

    return iter(read_lines(stream, name))


def _size(line: str) -> int:
    return len(line) + 1


def _rows(found: Embedded, line: int, unit: Unit) -> Iterator[Row]:
    if unit == "line":
        yield line, 0, " ".join(found.words), found.line.numpy()
        return
    for number, (word, vector) in enumerate(zip(found.words, found.vectors.numpy(), strict=True), 1):
        yield line, number, word, vector


@contextmanager
def _opened(output: OutputOptions, form: str) -> Iterator[Callable[[list[Row]], None]]:
    """A function that writes rows in a format."""
    if form == "npy":
        assert output.output is not None
        with _array(output.output) as put:
            yield put
        return
    write = _json if form == "jsonl" else _tabs
    with output.opened() as put_text:
        yield lambda rows: put_text("".join(map(write, rows)))


@contextmanager
def _array(path: Path) -> Iterator[Callable[[list[Row]], None]]:
    """A function that appends the vectors of rows to a NumPy file, in constant memory."""
    import io

    import numpy as np

    from seqtool.text.output import open_durably

    shape = [0, 0]

    def header() -> bytes:
        written = io.BytesIO()
        values = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(written, values)
        return written.getvalue()

    with open_durably(path) as file:
        # The header has room for the number of rows, which is known at the end.
        file.write(b"\0" * HEADER)

        def put(rows: list[Row]) -> None:
            for *_, vector in rows:
                file.write(np.asarray(vector, "<f4").tobytes())
                shape[:] = shape[0] + 1, len(vector)

        yield put
        written = header()
        assert len(written) == HEADER, "the header of a small array has this size"
        file.seek(0)
        file.write(written)


def _json(row: Row) -> str:
    line, word, text, vector = row
    place = {"line": line} if not word else {"line": line, "word": word}
    values = [float(f"{value:.{DIGITS}g}") for value in vector.tolist()]
    return json.dumps({**place, "text": text, "vector": values}, ensure_ascii=False) + "\n"


def _tabs(row: Row) -> str:
    line, word, text, vector = row
    place = [str(line)] if not word else [str(line), str(word)]
    values = [f"{value:.{DIGITS}g}" for value in vector.tolist()]
    return "\t".join([*place, text.replace("\t", " "), *values]) + "\n"
