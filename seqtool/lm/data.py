"""Reading text files: the parts of a data set, what is held out as dev and test, and documents."""

from __future__ import annotations

import hashlib
import itertools
import platform
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqtool.errors import DataError, UsageError, counted
from seqtool.lm.settings import DataSettings, LanguageModelSettings
from seqtool.text import data_files, hub
from seqtool.text.data_files import PARTS, PartName
from seqtool.text.lines import text_of

# Text that ends a document, by the setting data.documents.
DOCUMENT_ENDS = {"line": ["\n"], "paragraph": ["\n\n"]}
SPLIT_SHARES = {"90-10": (0.1, 0.1), "80-10-10": (0.1, 0.1)}  # shares of dev and test
SHOWN_PATHS = 3  # paths of a part up to which all are named in messages
_BLANK_LINES = re.compile(r"(?:\A|\n)(?:[^\S\n]*\n)+")  # blank lines, with the line end before them


@dataclass(frozen=True)
class Part:
    """One part of a text; its documents, joined, are the whole text."""

    name: str  # train, dev or test
    documents: tuple[str, ...]
    source: str
    protocol: str  # how it was split off its files; part of the fingerprint of a score

    @property
    def size(self) -> int:
        """Number of characters."""
        return sum(map(len, self.documents))

    @property
    def digest(self) -> str:
        """SHA-256 of the text in UTF-8."""
        whole = hashlib.sha256()
        for document in self.documents:
            whole.update(document.encode())
        return whole.hexdigest()

    def describe(self) -> str:
        """Sizes and source of the part, in one line."""
        documents = f" in {counted(len(self.documents), 'document')}" if len(self.documents) > 1 else ""
        distinct = len(set().union(*map(set, self.documents)))
        return (
            f"{self.name}: {counted(self.size, 'character')}{documents}, {distinct} distinct, {self.source}"
            f" ({self.protocol})"
        )


@dataclass(frozen=True)
class TextData(data_files.DataSet[Part]):
    """The parts of a text."""

    @property
    def train(self) -> Part:
        """The training part."""
        return self.parts["train"]

    @property
    def dev(self) -> Part:
        """The development part."""
        return self.parts["dev"]


def load_training_data(settings: LanguageModelSettings) -> TextData:
    """Read the training and the development part; without development files a share of train is held out.

    Args:
        settings: The run's settings.

    Raises:
        UsageError: a file is missing, or the recipe's data is not available on this machine.
        DataError: a file is not UTF-8 text, or too short to hold anything out.
    """
    parts = _load(settings.data, ("train", "dev"))
    warnings = [*data_files.same_content(parts["train"], parts["dev"])]
    if _is_held_out_twice(settings.data):
        warnings.append("data.split = '90-10': dev and test are the same text, so test scores are too good")
    return TextData(parts, tuple(warnings))


def load_part(settings: LanguageModelSettings, name: PartName) -> TextData:
    """Read one part of the recipe's data, such as test (errors of `load_training_data`)."""
    return TextData(_load(settings.data, (name,)))


def _load(data: DataSettings, names: Sequence[PartName]) -> dict[str, Part]:
    """The named parts; the text that several of them are held out of is read once."""
    whole_train = all(_is_named(data, name) for name in ("dev", "test"))
    named: list[PartName] = [
        name for name in names if _is_named(data, name) and (name != "train" or whole_train)
    ]
    parts: dict[str, Part] = {name: _named_part(data, name) for name in named}
    if len(named) < len(names):
        parts = _cut(_named_part(data, "train"), data) | parts
    for name in names:
        if name not in parts and name == "test":
            raise data_files.missing_part(data, name)
        if name not in parts:
            raise UsageError(
                f"the recipe names no {name} data and holds none out (data.{name}_share = 0); name a file, "
                "or another part with --part"
            )
    return {name: parts[name] for name in names}


def first_document(text: str, kind: str) -> str:
    """The first document of a text, without the text that ends it.

    Args:
        text: The text.
        kind: What a document is: stream, file, paragraph or line.
    """
    for end in DOCUMENT_ENDS.get(kind, ()):
        text = text.partition(end)[0]
    return text


def read_files(paths: Sequence[Path], data: DataSettings, name: str = "test") -> Part:
    """Read the text of some files as the part `name`, split into documents; no line end is added.

    Args:
        paths: Files (also .gz), folders (all files below them, sorted by name), or `-` for standard input.
        data: The `[data]` table of the run: what a document is, and how text is normalised.
        name: Name of the part.

    Raises:
        UsageError: a file is missing, or a folder is empty.
        DataError: a file is not UTF-8 text, or there is no text.
    """
    files = [file for path in paths for file in data_files.files_below(path)]
    few = len(paths) <= SHOWN_PATHS
    source = " and ".join(map(str, paths)) if few else f"{paths[0]} and {len(paths) - 1} more"
    return _part(name, map(text_of, files), data, source, "whole")


def documents_of(texts: Iterable[str], kind: str) -> tuple[str, ...]:
    """Split texts into documents; joined, they are the texts.

    Args:
        texts: The text of each file.
        kind: What a document is: stream, file, paragraph or line.
    """
    if kind == "stream":
        whole = "".join(texts)
        return (whole,) if whole else ()
    if kind == "file":
        return tuple(text for text in texts if text)
    if kind == "paragraph":
        return tuple(paragraph for text in texts for paragraph in _paragraphs(text))
    return tuple(line for text in texts for line in re.findall(r"[^\n]*\n|[^\n]+", text))


def _paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a text, each with the blank lines that follow it."""
    edges = [0, *(match.end() for match in _BLANK_LINES.finditer(text)), len(text)]
    return (text[start:stop] for start, stop in itertools.pairwise(edges) if start < stop)


def _is_named(data: DataSettings, name: str) -> bool:
    """Whether the settings name files or a split of the hub for a part."""
    if getattr(data, name) is not None:
        return True
    return data.train is None and data.hub is not None and getattr(data.hub, name) is not None


def _is_held_out_twice(data: DataSettings) -> bool:
    """Whether dev and test are the same held-out text."""
    return data.split == "90-10" and not (_is_named(data, "dev") or _is_named(data, "test"))


def _named_part(data: DataSettings, name: PartName) -> Part:
    """Read a part from its files, from the Python installation or from the hub."""
    files = getattr(data, name)
    if files is not None:
        return read_files([Path(file) for file in ([files] if isinstance(files, str) else files)], data, name)
    if data.installed is not None and name == "train":
        return _part(
            name, _python_topics(), data, f"help topics of Python {platform.python_version()}", "whole"
        )
    if data.hub is not None and data.train is None:
        texts = (f"{text}\n" for text in hub.read_text_hub(data.hub, name))
        return _part(name, texts, data, f"hub {data.hub.id}, revision {data.hub.revision}", "whole")
    raise data_files.missing_part(data, name)


def _python_topics() -> Iterator[str]:
    """The topics of Python's `help()`, in the order of their names.

    Raises:
        UsageError: this installation of Python has no help topics.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UsageError("this Python has no help topics (pydoc_data); name a text with --train") from None
    for name in sorted(topics):
        yield f"{topics[name].strip()}\n\n"


def _part(name: str, texts: Iterable[str], data: DataSettings, source: str, protocol: str) -> Part:
    if data.direction == "backward":
        texts = reversed(list(texts))
    documents = documents_of((normalised(text, data) for text in texts), data.documents)
    if not any(document.strip() for document in documents):
        raise DataError(f"{source}: contains no text")
    return Part(name, documents, source, protocol)


def normalised(text: str, data: DataSettings) -> str:
    """A text after the Unicode normalization and lower-casing that the settings ask for, and turned round
    for a model that reads from the end."""
    if data.normalization != "none":
        text = unicodedata.normalize(data.normalization, text)
    text = text.lower() if data.lowercase else text
    return reversed_lines(text) if data.direction == "backward" else text


def reversed_lines(text: str) -> str:
    """A text from its end to its beginning, character by character; each line keeps its end behind it.

    It is its own inverse.

    >>> reversed_lines("ab\\ncd\\n")
    'dc\\nba\\n'
    """
    end = "\n" if text.endswith("\n") else ""
    return text[: len(text) - len(end)][::-1] + end


def _cut(whole: Part, data: DataSettings) -> dict[str, Part]:
    """Split the training text into train and those of dev and test that have no files of their own."""
    dev, test = SPLIT_SHARES.get(data.split, (data.dev_share, data.test_share))
    both = _is_held_out_twice(data)
    if both:  # held out once, as dev
        test = 0.0
    dev, test = 0.0 if _is_named(data, "dev") else dev, 0.0 if _is_named(data, "test") else test
    if data.split == "interleaved":
        texts, how = _interleaved(whole.documents[0], data.rows, dev, test), f"tails of {data.rows} rows"
    else:
        cut = _middle if data.split == "middle" else _contiguous
        texts = cut(whole.documents, dev, test)
        how = "dev from the middle" if cut is _middle else "contiguous"
    if both:
        texts["test"] = texts["dev"]
    shares = "90/10" if both else f"{1 - dev - test:.4g}/{dev:.4g}/{test:.4g}"
    protocol = f"{how} {shares}" if dev or test else "whole"
    for name, share in (("train", 1.0), ("dev", dev), ("test", test)):
        if share and not any(document.strip() for document in texts[name]):
            raise DataError(
                f"{whole.source}: too little text to hold out {name}; give it a file with --{name} FILE"
            )
    return {
        name: Part(name, documents, whole.source, protocol)
        for name, documents in texts.items()
        if documents and name in PARTS
    }


def _contiguous(documents: Sequence[str], dev: float, test: float) -> dict[str, tuple[str, ...]]:
    """Hold out the last shares of the characters; several documents are split between documents."""
    total = sum(map(len, documents))
    ends = [int(total * (1.0 - dev - test)), int(total * (1.0 - test))]
    if len(documents) == 1:
        (text,) = documents
        pieces = (text[: ends[0]], text[ends[0] : ends[1]], text[ends[1] :])
        return {name: (piece,) if piece else () for name, piece in zip(PARTS, pieces, strict=True)}
    before = [0, *itertools.accumulate(map(len, documents))]
    parts: dict[str, tuple[str, ...]] = {}
    for name, low, high in zip(PARTS, [0, *ends], [*ends, total], strict=True):
        parts[name] = tuple(
            each for each, first in zip(documents, before, strict=False) if low <= first < high
        )
    return parts


def _middle(documents: Sequence[str], dev: float, test: float) -> dict[str, tuple[str, ...]]:
    """Hold out the last share as test and the middle of the rest as dev, so that train extends up to test."""
    parts = _contiguous(documents, 0.0, test)
    rest = parts["train"]
    width = int(sum(map(len, documents)) * dev)
    low = (sum(map(len, rest)) - width) // 2
    if len(documents) == 1:
        text = "".join(rest)
        held_out, kept = text[low : low + width], text[:low] + text[low + width :]
        return {**parts, "train": (kept,) if kept else (), "dev": (held_out,) if held_out else ()}
    before = itertools.accumulate(map(len, rest), initial=0)
    held = [low <= first < low + width for first, _ in zip(before, rest, strict=False)]
    return {
        **parts,
        "train": tuple(each for each, out in zip(rest, held, strict=True) if not out),
        "dev": tuple(each for each, out in zip(rest, held, strict=True) if out),
    }


def _interleaved(text: str, rows: int, dev: float, test: float) -> dict[str, tuple[str, ...]]:
    """Hold out the end of each of some rows of equal length; the remaining characters are added to train."""
    width = len(text) // rows
    if not width:
        raise DataError(f"{len(text)} characters do not fill {rows} rows; reduce data.rows")
    parts: dict[str, list[str]] = {name: [] for name in PARTS}
    for row in range(rows):
        line = text[row * width : (row + 1) * width]
        ends = [int(width * (1.0 - dev - test)), int(width * (1.0 - test))]
        for name, piece in zip(
            PARTS, (line[: ends[0]], line[ends[0] : ends[1]], line[ends[1] :]), strict=True
        ):
            parts[name].append(piece)
    parts["train"].append(text[rows * width :])
    return {name: ("".join(pieces),) if "".join(pieces) else () for name, pieces in parts.items()}
