"""Word vectors: learned ones, and pretrained ones read from the common file formats."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy
import torch
from torch import Tensor, nn

from seqtool.errors import DataError, UsageError
from seqtool.files import storage_errors
from seqtool.nn.meta_device import only_shapes

Row = tuple[str, numpy.ndarray]
WIDEST = 100_000  # numbers of a vector; published ones have at most some thousands
HEADER = re.compile(rb"\s*([0-9]{1,18})\s+([0-9]{1,18})\s*")  # `COUNT WIDTH`
HEADER_LIMIT = 100  # bytes of the header line of a binary file, which may have no line end at all


def uniform_embedding(rows: int, width: int, padding: int | None = None) -> nn.Embedding:
    """An embedding, uniform in +-sqrt(3 / width): each component has variance 1 / width.

    Args:
        rows: Number of symbols.
        width: Width of a vector.
        padding: Id of the symbol whose vector is and stays 0; None = no such symbol.
    """
    bound = (3 / width) ** 0.5
    embedding = empty_embedding(rows, width, padding)
    nn.init.uniform_(embedding.weight, -bound, bound)
    if padding is not None:
        nn.init.zeros_(embedding.weight[padding])
    return embedding


def empty_embedding(rows: int, width: int, padding: int | None = None) -> nn.Embedding:
    """An embedding that its caller initialises; arguments as in `uniform_embedding`."""
    if only_shapes():
        made: nn.Embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
            torch.empty(rows, width), freeze=False, padding_idx=padding
        )
        return made
    return nn.Embedding(rows, width, padding_idx=padding)


def pretrained_rows(path: Path, wanted: Mapping[str, int]) -> tuple[Tensor, Tensor]:
    """Read the vectors of the wanted words; the file is read once and only their rows are kept.

    Args:
        path: GloVe or fastText text, word2vec text (with a header line) or word2vec binary
            (`.bin`), each also as `.gz`.
        wanted: Row number of each wanted word. A word that the file lacks takes the vector of its
            lower-cased form.

    Returns:
        The vectors, [len(wanted), D], 0 where none was found, and whether each row was found,
        [len(wanted)], bool.

    Raises:
        UsageError: there is no such file.
        DataError: a line has another width or something that is not a number; the message names the
            line. Or the gzip data are damaged.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file of word vectors")
    lowered: dict[str, list[int]] = {}
    for word, row in wanted.items():
        lowered.setdefault(word.lower(), []).append(row)
    exact: dict[int, numpy.ndarray] = {}
    fallback: dict[int, numpy.ndarray] = {}
    width = 0
    with storage_errors(path), _gzip_errors(path), _open(path) as file:
        for word, vector in _rows(file, path):
            width = len(vector)
            if word in wanted:
                exact.setdefault(wanted[word], vector)
            for row in lowered.get(word, ()):
                fallback.setdefault(row, vector)
    if not width:
        raise DataError(f"{path}: no word vectors in it")
    found = fallback | exact
    vectors = torch.zeros(len(wanted), width)
    for row, vector in found.items():
        vectors[row] = torch.from_numpy(numpy.array(vector, dtype=numpy.float32))
    return vectors, torch.tensor([row in found for row in range(len(wanted))], dtype=torch.bool)


@contextmanager
def _gzip_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip data: {error}") from error


def _open(path: Path) -> BinaryIO:
    # gzip.open's declared type is wider than what mode "rb" gives.
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _rows(file: BinaryIO, path: Path) -> Iterator[Row]:
    if not path.name.removesuffix(".gz").endswith(".bin"):
        return _text_rows(file, path, file.readline())
    header = HEADER.fullmatch(file.readline(HEADER_LIMIT))
    if header is None:
        raise DataError(f"{path}:1: expected word2vec's header `COUNT WIDTH`")
    count, width = map(int, header.groups())
    if not 1 <= width <= WIDEST:
        raise DataError(f"{path}:1: the header claims vectors of width {width}, expected 1 to {WIDEST}")
    return _binary_rows(file, path, count, width)


def _text_rows(file: BinaryIO, path: Path, first: bytes) -> Iterator[Row]:
    header = HEADER.fullmatch(first)
    width = int(header[2]) if header else 0
    lines = file if header else _chain(first, file)
    for number, line in enumerate(lines, 2 if header else 1):
        parts = line.rstrip().split(b" ")
        width = width or len(parts) - 1
        # A few words of published GloVe files contain spaces: the vector is the last `width` fields.
        word = b" ".join(parts[:-width]).decode("utf-8", "replace") if width else ""
        try:
            with numpy.errstate(over="ignore"):  # infinity is refused below
                vector = numpy.array(parts[-width:], dtype=numpy.float32)
        except ValueError:
            vector = numpy.empty(0, dtype=numpy.float32)
        if len(vector) != width or not word or not numpy.isfinite(vector).all():
            raise DataError(f"{path}:{number}: expected a word and {width or 'its'} numbers")
        yield word, vector


def _chain(first: bytes, file: BinaryIO) -> Iterator[bytes]:
    if first:
        yield first
    yield from file


def _binary_rows(file: BinaryIO, path: Path, count: int, width: int) -> Iterator[Row]:
    for number in range(count):
        word = bytearray()
        while (byte := file.read(1)) not in (b" ", b""):
            if byte != b"\n":  # some writers end each row with a line feed
                word += byte
            if len(word) > 10_000:
                raise DataError(f"{path}: word {number + 1} has no end; not word2vec's binary format")
        raw = file.read(4 * width)
        if len(raw) != 4 * width:
            raise DataError(f"{path}: ends in the middle of word {number + 1} of {count}")
        vector = numpy.frombuffer(raw, dtype="<f4")
        if not numpy.isfinite(vector).all():
            raise DataError(f"{path}: word {number + 1} has a number that is not finite")
        yield word.decode("utf-8", "replace"), vector
    file.read(2)  # at most a line feed remains; at the end of the file gzip compares its checksum
