"""The `[data]` table of a translator's recipe: files of sentence pairs, further corpora, and their tags."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from seqtool.settings import MOST_COUNT, MOST_FACTOR, MOST_VALUES, Settings
from seqtool.text.data_files import PARTS, LocalFolder
from seqtool.text.hub import PairHubSettings
from seqtool.text.pair_files import NAMED_SIDES, kind_of

Column = Literal["source", "target", "features", "-"]
Files = str | Annotated[list[str], Field(min_length=2)]  # one file of pairs, or a source and its targets
Tag = Annotated[str, Field(pattern=r"^[^\s<>]+$", max_length=100)]
CONTROLS = ("pad", "unk", "s", "/s")  # which stand for something else in angle brackets


class LocalSettings(LocalFolder):
    """The files of each part, in a folder below $SEQTOOL_DATA."""

    train: Files = Field(description="Training file or files in that folder.")
    dev: Files = Field(description="Development file or files in that folder.")
    test: Files | None = Field(None, description="Test file or files in that folder.")


class CorpusSettings(Settings):
    """Further training pairs, and how often they are drawn."""

    train: Files = Field(description="Training pairs, as in data.train.")
    weight: float = Field(
        1.0,
        gt=0,
        le=MOST_FACTOR,
        description="How often its pairs are drawn, compared with a weight of 1, which data.train has.",
    )
    tag: Tag | None = Field(None, description="Symbol that is put before its sources.")


class DataSettings(Settings):
    """Where the sentence pairs are and which of them are used."""

    train: Files | None = Field(
        None,
        description="Training pairs: the files [source, target], or one TSV, CSV, JSONL or TMX file; also "
        ".gz. Further files are further references: [source, target, target2].",
    )
    dev: Files | None = Field(None, description="Development pairs; by default the last 10 % of train.")
    test: Files | None = Field(None, description="Test pairs; training never reads them.")
    corpora: list[CorpusSettings] = Field(
        [],
        max_length=MOST_VALUES,
        description="Further training pairs, beside train or instead of it, each with train, weight and tag: "
        "weight says how often a pair is drawn, compared with 1 (data.train); tag is put before the sources.",
    )
    tag: Tag | None = Field(
        None,
        description="Symbol that is put before the sources of train, dev and test, as a feature is; it names "
        "their language or task where one model learns several (Johnson 2017).",
    )
    source_text: list[str] = Field(
        [],
        max_length=MOST_VALUES,
        description="Raw text in the source language (files and folders, a text on each line): the encoder "
        "learns from it first, as language models of both directions (Ramachandran 2017).",
    )
    target_text: list[str] = Field(
        [],
        max_length=MOST_VALUES,
        description="Raw text in the target language: the decoder learns from it first, as a language model.",
    )
    local: LocalSettings | None = Field(None, description="Files below $SEQTOOL_DATA.")
    hub: PairHubSettings | None = Field(None, description="A data set of the Hugging Face hub.")
    columns: list[Column] = Field(
        ["source", "target"],
        description="Columns of TSV files, and of CSV files without a header: source; target (more than one: "
        "several references); features (symbols that are read before the source); - (not read).",
    )
    target_symbols: Literal["text", "spaces"] = Field(
        "text",
        description="How targets are written: as text, or as symbols of one or more characters between "
        "spaces, such as the sounds of a word, which are kept whole (spaces).",
    )
    feature_separator: str = Field(
        ";", min_length=1, description="Separator between two features of a source."
    )
    languages: Annotated[list[str], Field(min_length=2, max_length=2)] | None = Field(
        None,
        description="Names of source and target: keys of JSONL, also below `translation`, as in "
        '{"translation": {"en": ..., "de": ...}}; column names of CSV; languages of TMX. By default '
        "source and target.",
    )
    max_length: int = Field(
        100,
        ge=1,
        le=MOST_COUNT,
        description="Leave out training pairs with more symbols than this on a side, features not "
        "counted; a warning counts them.",
    )
    max_ratio: float = Field(
        0.0,
        ge=0,
        le=MOST_FACTOR,
        description="Leave out training pairs with more than this many times as many symbols on one side as "
        "on the other, features not counted; 0 = off.",
    )
    empty: Literal["error", "drop"] = Field(
        "error",
        description="What to do with pairs that have an empty side: error = refuse the file, drop = leave "
        "them out. In evaluation error keeps them, since the translation of an empty line is empty.",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> DataSettings:
        if self.dev is not None and self.train is None and not self.corpora:
            raise ValueError("dev needs train: name the training pairs as well")
        if self.columns.count("source") != 1:
            raise ValueError(f"columns: expected 'source' once, found {self.columns}")
        if "target" not in self.columns:
            raise ValueError(f"columns: expected 'target' at least once, found {self.columns}")
        if self.columns.count("features") > 1:
            raise ValueError(f"columns: expected 'features' at most once, found {self.columns}")
        if self.languages is not None:
            self._check_languages(self.languages)
        return self

    @model_validator(mode="after")
    def _corpora_make_sense(self) -> DataSettings:
        known = self.tags
        for tag in known:
            if tag in CONTROLS or self.feature_separator in tag:
                raise ValueError(f"tag: {tag!r} stands for something else; choose another name")
        if self.has_own_part or not self.corpora:
            return self
        if len(self.corpora) == 1 and self.corpora[0].weight != 1.0:
            raise ValueError("corpora: the weight of a single corpus has no effect; leave it out")
        others = [corpus.tag for corpus in self.corpora]
        if self.tag is not None and self.tag not in others:
            listed = ", ".join(tag for tag in others if tag) or "none"
            raise ValueError(
                f"tag: {self.tag!r} is no tag of data.corpora, from which alone it would learn "
                f"({listed}); name one of theirs, or leave it out"
            )
        return self

    @property
    def has_own_part(self) -> bool:
        """Whether there is a training part beside `corpora`."""
        return any(part is not None for part in (self.train, self.local, self.hub))

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of all training pairs, each once, in the order of the recipe."""
        named = [self.tag, *(corpus.tag for corpus in self.corpora)]
        return tuple(dict.fromkeys(tag for tag in named if tag is not None))

    def training_files(self) -> Iterator[Files]:
        """The training files of all corpora, those of `train` first."""
        yield from ([] if self.train is None else [self.train])
        yield from (corpus.train for corpus in self.corpora)

    def _check_languages(self, languages: list[str]) -> None:
        if languages[0] == languages[1]:
            raise ValueError(f"languages: expected two names, found {languages[0]!r} twice")
        files = [getattr(part, name) for part in (self, self.local) if part for name in PARTS]
        named = [file for file in (*files, *self.training_files()) if file is not None]
        alone = [file for file in named if isinstance(file, str)]
        if (named or self.hub) and not any(kind_of(file) in NAMED_SIDES for file in alone):
            raise ValueError("languages has an effect on JSONL, CSV and TMX files only; leave it out")
