"""Reading through the `datasets` library: data sets on the Hugging Face hub, local Parquet and JSON files.

The library is imported on first use, and the network is used only if `id` names a data set on the hub. Such
a data set needs a pinned revision, so that a recipe always reads the same data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from seqtool.errors import DataError, SettingsError, StorageError, UsageError, counted, nearest
from seqtool.settings import Settings
from seqtool.text.parallel import SentencePair, check_features, check_text

if TYPE_CHECKING:  # not at run time: translators import this module too, and have no use for columns
    from seqtool.text.columns import TaggedSentence

Split = Literal["train", "dev", "test"]

FILE_BUILDERS = ("parquet", "json")  # values of `id` for local files, which `files` names

# A commit, or the hub's own Parquet conversion of a data set that is a loading script (which `datasets`
# no longer runs): only the hub writes that branch, and only when the data set changes.
_PINNED = re.compile(r"[0-9a-f]{40}|refs/convert/parquet")
_NETWORK = ("httpx", "huggingface_hub", "requests", "aiohttp", "fsspec")


class HubSource(Settings):
    """Where a data set is; the classes below add the names of its columns."""

    id: str = Field(
        description="Data set on the Hugging Face hub (owner/name), a folder, or parquet or json with files."
    )
    revision: str | None = Field(
        default=None, description="Commit of the data set, 40 hexadecimal digits, or refs/convert/parquet."
    )
    config: str | None = Field(default=None, description="Configuration of the data set, if it has several.")
    files: dict[str, str] = Field(
        default_factory=dict, description="File of each split; required where id is parquet or json."
    )
    train: str = Field(default="train", description="Name of the training split.")
    streaming: bool = Field(default=False, description="Read row by row instead of downloading a copy first.")

    @property
    def is_remote(self) -> bool:
        """True if reading uses the network."""
        return self.id not in FILE_BUILDERS and not Path(self.id).is_dir()

    @model_validator(mode="after")
    def _check(self) -> HubSource:
        if self.id in FILE_BUILDERS and not self.files:
            raise ValueError(f"{self.id} needs files = {{ train = ..., ... }}")
        if any("://" in file for file in self.files.values()):
            raise ValueError("files are local paths; for a data set on the hub, set id and revision instead")
        if self.id.startswith((".", "/", "~")) and self.is_remote:
            raise ValueError(f"{self.id} is not a folder")
        if self.is_remote and not _PINNED.fullmatch(self.revision or ""):
            raise ValueError("a data set on the hub needs revision = its commit, 40 hexadecimal digits")
        if not self.is_remote and self.revision is not None:
            raise ValueError("revision is for data sets on the hub; leave it out for local files")
        return self


class SplitHubSource(HubSource):
    """A data set with its own development and test splits."""

    dev: str = Field(default="validation", description="Name of the development split.")
    test: str = Field(default="test", description="Name of the test split.")


class HubSettings(SplitHubSource):
    """A data set of tagged sentences, with the names of its columns."""

    tokens: str = Field(default="tokens", description="Column of the tokens.")
    tags: str = Field(default="ner_tags", description="Column of the tags.")


class PairHubSettings(SplitHubSource):
    """A data set of sentence pairs, with the names of its columns."""

    source: str = Field(
        default="source", description="Column of the source text, or its language in the translation column."
    )
    target: str = Field(
        default="target", description="Column of the target text, or its language in the translation column."
    )
    translation: str | None = Field(
        default=None, description="Column that holds both sides by language, as { en = ..., de = ... }."
    )
    features: str | None = Field(
        default=None, description="Column with a list of features of the source sentence."
    )

    @model_validator(mode="after")
    def _check_sides(self) -> PairHubSettings:
        if self.source == self.target:
            raise ValueError(f"source and target are both {self.source!r}; expected two names")
        return self


class TextHubSettings(HubSource):
    """A data set of plain text, with the name of its column."""

    dev: str | None = Field(
        default=None, description="Name of the development split; without one, a share of train is held out."
    )
    test: str | None = Field(
        default=None, description="Name of the test split; without one, a share of train is held out."
    )
    text: str = Field(default="text", description="Column of the text.")


def read_hub(settings: HubSettings, split: Split) -> Iterator[TaggedSentence]:
    """The sentences of a split; class labels that are numbers are replaced by their names.

    Args:
        settings: The data set and its columns.
        split: The split to read.

    Raises:
        UsageError: the data set or its files do not exist.
        SettingsError: the split, configuration or column does not exist.
        StorageError: the hub cannot be reached, the disk is full, ...
        DataError: a row does not consist of tokens with one tag each.
    """
    name, rows = _open(settings, split, (settings.tokens, settings.tags))
    names = _class_names(rows.features, settings.tags)
    for number, row in _numbered(rows, name):
        yield _sentence(row, settings, names, name, number)


def read_pair_hub(settings: PairHubSettings, split: Split) -> Iterator[SentencePair]:
    """The sentence pairs of a split; a side may be empty, as in files.

    Args:
        settings: The data set and its columns.
        split: The split to read.

    Raises:
        UsageError, SettingsError, StorageError: as `read_hub`, and if a language does not exist.
        DataError: a row does not have one line of text on each side.
    """
    sides = (settings.source, settings.target)
    extra = () if settings.features is None else (settings.features,)
    name, rows = _open(settings, split, (*(sides if settings.translation is None else ()), *extra))
    if settings.translation is not None and rows.features is not None:
        _require(sides, _languages(rows.features, settings.translation, name), "language", name)
    for number, row in _numbered(rows, name):
        yield _pair(row, settings, name, number)


def read_text_hub(settings: TextHubSettings, split: Split) -> Iterator[str]:
    """The texts of a split, one per row; a text may be empty.

    Args:
        settings: The data set and its column.
        split: The split to read.

    Raises:
        UsageError, SettingsError, StorageError: as `read_hub`.
        DataError: a row has no text.
    """
    name, rows = _open(settings, split, (settings.text,))
    for number, row in _numbered(rows, name):
        text = row.get(settings.text)
        if not isinstance(text, str):
            raise DataError(f"{name}:{number}: {settings.text!r} is {text!r}; expected text")
        yield text


def _open(settings: HubSource, split: Split, columns: tuple[str, ...]) -> tuple[str, Any]:
    """The name of a split for messages, and its rows, after checking that they have these columns."""
    name = f"{settings.id}:{getattr(settings, split)}"
    rows = _load(settings, getattr(settings, split), name)
    if rows.features is not None:  # unknown for some data sets that are streamed
        _require(columns, rows.features, "column", name)
    return name, rows


def _numbered(rows: Any, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with their numbers, from 1; errors of the library are translated into ours."""
    iterator = iter(rows)
    number = 0
    while True:
        number += 1
        try:
            row = next(iterator)
        except StopIteration:
            return
        except Exception as error:
            raise _translated(error, name) from error
        yield number, row


def _load(settings: HubSource, split: str, name: str) -> Any:
    import datasets

    # Only the command line writes to standard error: no progress bars, and our own error messages.
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        return datasets.load_dataset(
            settings.id,
            settings.config,
            data_files=settings.files or None,
            split=split,
            revision=settings.revision,
            streaming=settings.streaming,
        )
    except Exception as error:
        raise _translated(error, name) from error


def _translated(error: Exception, name: str) -> Exception:
    """Our error for one of the library's; an unknown error is returned as it is."""
    from datasets import exceptions
    from pyarrow.lib import ArrowException  # type: ignore[import-untyped]  # ArrowInvalid is a ValueError too

    reason = " ".join(str(error).split())
    if isinstance(error, exceptions.DatasetGenerationError):
        return DataError(f"{name}: cannot be read: {' '.join(str(error.__cause__ or reason).split())}")
    if isinstance(error, ArrowException):
        return DataError(f"{name}: cannot be read: {reason}")
    if isinstance(error, FileNotFoundError):  # DatasetNotFoundError, DataFilesNotFoundError too
        return UsageError(f"{name}: {reason}")
    if isinstance(error, OSError):  # ConnectionError too
        return StorageError(f"{name}: {reason}")
    if isinstance(error, ValueError):  # an unknown split or configuration
        return SettingsError(f"{name}: {reason}")
    if type(error).__module__.split(".")[0] in _NETWORK:
        return StorageError(f"{name}: the hub cannot be reached, or refused the request: {reason}")
    return error


def _require(names: tuple[str, ...], known: Any, what: str, place: str) -> None:
    for name in names:
        if name not in known:
            has = ", ".join(sorted(known))
            raise SettingsError(f"{place}: no {what} {name!r}; it has {has}{nearest(name, known)}")


def _class_names(features: Any, tags: str) -> list[str] | None:
    """Names of the class labels in the tag column; None if it holds text, or if they are unknown."""
    if features is None:
        return None
    inner = getattr(features[tags], "feature", None)
    names = getattr(inner, "names", None)
    return list(names) if names else None


def _languages(features: Any, column: str, name: str) -> list[str]:
    """The languages of a column of translations, which the library describes in two ways."""
    _require((column,), features, "column", name)
    languages = getattr(features[column], "languages", features[column])
    if not isinstance(languages, list | dict):
        raise SettingsError(
            f"{name}: column {column!r} does not hold texts by language; leave translation out"
        )
    return list(languages)


def _sentence(
    row: dict[str, Any], settings: HubSettings, names: list[str] | None, name: str, number: int
) -> TaggedSentence:
    from seqtool.text.columns import TaggedSentence

    place = f"{name}:{number}"
    tokens: Any = row.get(settings.tokens)
    tags: Any = row.get(settings.tags)
    if not _is_list_of(tokens, str) or not tokens or not all(token.strip(" ") for token in tokens):
        raise DataError(f"{place}: {settings.tokens!r} is {tokens!r}; expected a list of non-empty texts")
    if names is not None and _is_list_of(tags, int) and all(0 <= tag < len(names) for tag in tags):
        tags = [names[tag] for tag in tags]
    if not _is_list_of(tags, str):
        raise DataError(
            f"{place}: {settings.tags!r} is {tags!r}; expected a list of tags, by name or class label"
        )
    if len(tags) != len(tokens):
        raise DataError(
            f"{place}: {counted(len(tags), 'tag')} for {counted(len(tokens), 'token')}; "
            "expected one per token"
        )
    return TaggedSentence(tuple(tokens), tuple(tags), source=name, line=number)


def _pair(row: dict[str, Any], settings: PairHubSettings, name: str, number: int) -> SentencePair:
    place = f"{name}:{number}"
    texts: Any = row if settings.translation is None else row.get(settings.translation)
    if not isinstance(texts, dict):
        raise DataError(f"{place}: {settings.translation!r} is {texts!r}; expected texts by language")
    features: Any = None if settings.features is None else row.get(settings.features)
    return SentencePair(
        check_text(texts.get(settings.source), settings.source, place),
        check_text(texts.get(settings.target), settings.target, place),
        () if features is None else check_features(features, str(settings.features), place),
        file=name,
        line=number,
    )


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)
