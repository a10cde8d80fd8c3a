"""The `[vocabulary]` table of a translator's recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from seqtool.settings import MOST_COUNT, Settings
from seqtool.training.network_settings import Probability
from seqtool.training.settings import refuse_ignored

# The kinds of vocabulary that use each of these settings; with another kind the setting is refused.
VOCABULARY_READERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("size", "lowercase", "reserved"), ("word", "character", "sentencepiece")),
    "min_count": ("word", "character"),
    **dict.fromkeys(("model_type", "byte_fallback", "split_digits", "sampling"), ("sentencepiece",)),
}


class VocabularySettings(Settings):
    """How text is split into symbols; built from the training part unless files are named."""

    kind: Literal["word", "character", "byte", "sentencepiece"] = Field(
        "sentencepiece", description="Symbols that text is split into: words, characters, bytes or subwords."
    )
    size: int = Field(
        8000,
        ge=0,
        le=MOST_COUNT,
        description="Number of symbols: of subwords (sentencepiece), the maximum of words or characters; "
        "0 = no limit.",
    )
    shared: bool = Field(True, description="Use one vocabulary for source and target.")
    model_type: Literal["unigram", "bpe"] = Field("unigram", description="Subword model of sentencepiece.")
    byte_fallback: bool = Field(False, description="sentencepiece: spell unknown characters as UTF-8 bytes.")
    split_digits: bool = Field(True, description="sentencepiece: make each digit a symbol of its own.")
    lowercase: bool = Field(False, description="Convert all text to lower case.")
    sampling: Probability = Field(
        0.0,
        description="sentencepiece: sample segmentations in training. Probability that a merge is skipped "
        "(bpe-dropout), or the smoothing parameter alpha (unigram; Kudo 2018); 0 = off.",
    )
    min_count: int = Field(
        1, ge=1, le=MOST_COUNT, description="Minimum count of a word or character; rarer ones are unknown."
    )
    reserved: list[str] = Field(
        [], description="Symbols that are never split, such as the language token <2de>."
    )
    source_file: str | None = Field(
        None,
        description="Source vocabulary, a file that `seqtool vocab build` wrote; with shared = true that of "
        "both sides.",
    )
    target_file: str | None = Field(
        None, description="Target vocabulary, a file that `seqtool vocab build` wrote (shared = false)."
    )

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> VocabularySettings:
        refuse_ignored(self, {name: ("kind", kinds) for name, kinds in VOCABULARY_READERS.items()})
        if self.target_file is not None and (self.shared or self.source_file is None):
            raise ValueError("target_file needs shared = false and source_file")
        if self.source_file is not None and not self.shared and self.target_file is None:
            raise ValueError("source_file with shared = false needs target_file")
        return self
