"""Text files to parts, with every fact worth reporting."""

from __future__ import annotations

import hashlib
import itertools
import platform
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqtool.errors import DataError, UsageError
from seqtool.files import storage_errors
from seqtool.lm.settings import DataSettings, LanguageModelSettings
from seqtool.text import data_files, hub
from seqtool.text.data_files import PARTS, PartName
from seqtool.text.lines import text_of

# Where a document ends by itself, by what a document is.
DOCUMENT_ENDS = {"line": ["\n"], "paragraph": ["\n\n"]}
SPLIT_SHARES = {"90-10": (0.1, 0.1), "80-10-10": (0.1, 0.1)}  # of dev and test
SHOWN_PATHS = 3  # of what a part was read from
_BLANK_LINES = re.compile(r"(?:\A|\n)(?:[^\S\n]*\n)+")  # with the end of the line before


@dataclass(frozen=True)
class Part:
    """One part of a text; its documents one after the other are the text as it stands."""

    name: str  # train, dev or test
    documents: tuple[str, ...]
    source: str
    protocol: str  # how it was cut out of its files, in words that two programs can compare

    @property
    def size(self) -> int:
        """Number of characters."""
        return sum(map(len, self.documents))

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        whole = hashlib.sha256()
        for document in self.documents:
            whole.update(document.encode())
        return whole.hexdigest()

    def describe(self) -> str:
        """One line for people."""
        documents = f" in {len(self.documents):,} documents" if len(self.documents) > 1 else ""
        distinct = len(set().union(*map(set, self.documents)))
        return (
            f"{self.name}: {self.size:,} characters{documents}, {distinct} distinct, {self.source}"
            f" ({self.protocol})"
        )


@dataclass(frozen=True)
class TextData(data_files.DataSet[Part]):
    """The parts of a data set."""

    @property
    def train(self) -> Part:
        """What is learned from."""
        return self.parts["train"]

    @property
    def dev(self) -> Part:
        """What picks the best weights."""
        return self.parts["dev"]


def load_training_data(settings: LanguageModelSettings) -> TextData:
    """Train and dev, which is a share of train where no file is named for it.

    Raises:
        UsageError: a file is missing, or the recipe's data cannot be had here.
        DataError: a file is not UTF-8 text, or has too little of it.
    """
    parts = _load(settings.data, ("train", "dev"))
    warnings = []
    if _is_held_out_twice(settings.data):
        warnings.append(
            "split 90-10: dev and test are the same text, so what chooses weights also scores them"
        )
    return TextData(parts, tuple(warnings))


def load_part(settings: LanguageModelSettings, name: PartName) -> TextData:
    """One part (test, say) of the recipe's data; errors as `load_training_data`."""
    return TextData(_load(settings.data, (name,)))


def _load(data: DataSettings, names: Sequence[PartName]) -> dict[str, Part]:
    """Some parts; what they are cut out of is read once."""
    whole_train = all(_is_named(data, name) for name in ("dev", "test"))
    named: list[PartName] = [
        name for name in names if _is_named(data, name) and (name != "train" or whole_train)
    ]
    parts: dict[str, Part] = {name: _named_part(data, name) for name in named}
    if len(named) < len(names):
        parts = _cut(_named_part(data, "train"), data) | parts
    for name in names:
        if name not in parts:
            raise UsageError(
                f"the recipe names no {name} data and holds none out (data.{name}_share); name a file, "
                "or another part with --part"
            )
    return {name: parts[name] for name in names}


def first_document(text: str, kind: str) -> str:
    """A text up to where a document of that kind ends by itself, without the end."""
    for end in DOCUMENT_ENDS.get(kind, ()):
        text = text.partition(end)[0]
    return text


def read_files(paths: Sequence[Path], data: DataSettings, name: str = "test") -> Part:
    """The text of some files as a part, in documents as the settings say; no line end is added to a file.

    Args:
        paths: Files (also .gz), folders (all files below, in the order of their names), or `-`.
        data: What a document is and how text is normalised.
        name: Of the part.

    Raises:
        UsageError: a file is missing, or a folder is empty.
        DataError: not UTF-8 text, or nothing in it.
    """
    files = [file for path in paths for file in _files_of(path)]
    few = len(paths) <= SHOWN_PATHS
    source = " and ".join(map(str, paths)) if few else f"{paths[0]} and {len(paths) - 1} more"
    return _part(name, map(text_of, files), data, source, "whole")


def documents_of(texts: Iterable[str], kind: str) -> tuple[str, ...]:
    """Texts cut into documents, with not a character lost.

    Args:
        texts: One a file.
        kind: stream, file, paragraph or line.
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
    """Each with the blank lines after it."""
    edges = [0, *(match.end() for match in _BLANK_LINES.finditer(text)), len(text)]
    return (text[start:stop] for start, stop in itertools.pairwise(edges) if start < stop)


def _is_named(data: DataSettings, name: str) -> bool:
    """Whether a part has files or a split of its own."""
    if getattr(data, name) is not None:
        return True
    return data.train is None and data.hub is not None and getattr(data.hub, name) is not None


def _is_held_out_twice(data: DataSettings) -> bool:
    """Whether dev and test are the same text."""
    return data.split == "90-10" and not (_is_named(data, "dev") or _is_named(data, "test"))


def _named_part(data: DataSettings, name: PartName) -> Part:
    """A part as it stands in its files or on the hub."""
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
    """The language reference as `help()` shows it, one topic after the other.

    Raises:
        UsageError: this installation of Python has none.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UsageError("this Python has no help topics (pydoc_data); name a text with --train") from None
    for name in sorted(topics):
        yield f"{topics[name].strip()}\n\n"


def _part(name: str, texts: Iterable[str], data: DataSettings, source: str, protocol: str) -> Part:
    documents = documents_of((normalised(text, data) for text in texts), data.documents)
    if not any(document.strip() for document in documents):
        raise DataError(f"{source}: no text in it")
    return Part(name, documents, source, protocol)


def normalised(text: str, data: DataSettings) -> str:
    """A text as the model reads it; as it stands, unless the recipe asked for something else."""
    if data.normalization != "none":
        text = unicodedata.normalize(data.normalization, text)
    return text.lower() if data.lowercase else text


def _files_of(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    with storage_errors(path):
        names = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())
    found = [path / name for name in names if not any(part.startswith(".") for part in name.parts)]
    if not found:
        raise UsageError(f"{path}: no files in this folder")
    yield from found


def _cut(whole: Part, data: DataSettings) -> dict[str, Part]:
    """The parts that have no files of their own, cut out of the training text."""
    dev, test = SPLIT_SHARES.get(data.split, (data.dev_share, data.test_share))
    both = _is_held_out_twice(data)
    if both:  # cut out once
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
            raise DataError(f"{whole.source}: too little text to hold out {name}; name a file for it")
    return {
        name: Part(name, documents, whole.source, protocol)
        for name, documents in texts.items()
        if documents and name in PARTS
    }


def _contiguous(documents: Sequence[str], dev: float, test: float) -> dict[str, tuple[str, ...]]:
    """The last shares of the characters; between documents, where there are several."""
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
    """Test is the last share, dev stands in the middle of the rest: what precedes test is learned from."""
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
    """The end of each of some equal rows; what is left over stays in the last row's training part."""
    width = len(text) // rows
    if not width:
        raise DataError(f"{len(text)} characters do not fill {rows} rows")
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
