"""What a translator's settings are if they are not given: chosen from the training pairs.

Two kinds of data are told apart. Where sources are single words (inflected forms, spellings, pronunciations),
characters are the symbols, and an output is right or wrong as a whole. Sentences are split into subwords, the
fewer the less text there is (Sennrich and Zhang 2019, section 4.2).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from seqtool.errors import counted
from seqtool.text.parallel import SentencePair
from seqtool.training.defaults import PACE, Choice, Pace, paced, power_of_two
from seqtool.translation.data import SINGLE_WORDS, TranslationData, are_spaced
from seqtool.translation.settings import TranslatorSettings

OF_WORDS: dict[str, Any] = {  # for data whose sources are single words
    "vocabulary.kind": "character",
    "model.decoder": "conditional",
    "model.embedding": 128,
    "model.dropout": 0.4,
    "model.embedding_dropout": 0.2,
    "training.select": "exact_match",
    "decoding.length_penalty": 0.0,
}
OF_EDITS: dict[str, Any] = {**OF_WORDS, "model.decoder": "edit", "model.tied": "all"}  # alike on both sides
# Of pronunciations: as many sounds as letters, in their order, are written by edits although none is copied.
OF_SOUNDS: dict[str, Any] = {
    **OF_WORDS,
    "model.decoder": "edit",
    "data.target_symbols": "spaces",
}
FEATURES = {"model.features": "encoder"}  # of data that has some, with OF_EDITS
OF_SENTENCES: dict[str, Any] = {
    "vocabulary.kind": "sentencepiece",
    "model.decoder": "input_feeding",
    "model.embedding": 256,
    "model.dropout": 0.3,
    "model.embedding_dropout": 0.2,
    "training.select": "bleu",
    "decoding.length_penalty": 1.0,
}
COLUMNS = "data.columns"
AUTOMATIC = (COLUMNS, "data.target_symbols", *OF_EDITS, *FEATURES, "vocabulary.size", *PACE)
WORDS_PER_SUBWORD = 40  # running words of both sides for each subword of the vocabulary
SUBWORDS = (256, 8192)  # least and largest number of subwords
CHARACTERS_PER_SUBWORD = 2.0  # of the words that are not subwords themselves, about
BY_WORDS = Pace(
    batches=60,
    batch_tokens=(64, 1024),
    updates=2800,
    base=14_000,
    growth=0.3,
    epochs=(8, 100),
    step=1.5,
    most=6e6,
)
BY_SENTENCES = replace(BY_WORDS, updates=2300, base=20_000, growth=0.2, most=3e6)
ALIKE = 0.5  # share of the output that stands in the input, in any order, from which it is written by edits
SIZES = {"embedding", "hidden", "dropout", "embedding_dropout", "cell"}  # which go with any decoder


def choose(settings: TranslatorSettings, data: TranslationData) -> Choice:
    """Values for the settings in `AUTOMATIC`."""
    pairs = data.train
    words = sum(len(pair.source.split()) for pair in pairs)
    of_words = words <= SINGLE_WORDS * len(pairs)
    share = _shared(pairs) if of_words else 0.0
    values = dict(OF_WORDS if of_words else OF_SENTENCES)
    spaced = _are_spaced(settings, data)
    if spaced:
        values = dict(OF_SOUNDS)
        if not _may_edit(settings):
            values["model.decoder"] = OF_WORDS["model.decoder"]
    elif share >= ALIKE and _may_edit(settings):
        values = OF_EDITS | (FEATURES if any(pair.features for pair in pairs) else {})
    if data.columns is not None:
        values = {COLUMNS: list(data.columns), **values}
    # What was given may go with some kinds of symbols and some decoders only: these stay as they are then.
    if settings.vocabulary.model_fields_set:
        del values["vocabulary.kind"]
    if settings.model.model_fields_set - SIZES:
        values.pop("model.decoder")
    kind = values.get("vocabulary.kind", settings.vocabulary.kind)
    if kind == "sentencepiece" and settings.vocabulary.source_file is None:
        running = words + sum(len((pair.target or "").split()) for pair in pairs)
        values["vocabulary.size"] = power_of_two(running / WORDS_PER_SUBWORD, *SUBWORDS)
    if settings.training.teachers:  # whose vocabulary it will be
        values = {key: value for key, value in values.items() if not key.startswith("vocabulary.")}
    size = values.get("vocabulary.size", settings.vocabulary.size)
    length = _counter(pairs, kind, size, spaced=spaced)
    symbols = sum(map(length, pairs))
    pace = BY_WORDS if of_words else BY_SENTENCES
    values |= paced(settings.training, pace, symbols, sum(map(length, data.dev)))
    what = "single words" if of_words else "sentences"
    alike = f", {share:.0%} of the output in the input" if of_words else ""
    alike = ", whose outputs are symbols between spaces" if spaced else alike
    return Choice(values, f"{counted(len(pairs), 'pair')} of {what}, about {symbols:,} symbols a side{alike}")


def _are_spaced(settings: TranslatorSettings, data: TranslationData) -> bool:
    """Whether targets are symbols between spaces: as given, or as they look if nothing speaks against it."""
    if "target_symbols" in settings.data.model_fields_set:
        return settings.data.target_symbols == "spaces"
    given = settings.vocabulary.model_fields_set & {"kind", "shared", "source_file", "target_file"}
    whole = settings.model.tied != "all" and not given and not settings.training.teachers
    return whole and are_spaced(data.train)


def _shared(pairs: Sequence[SentencePair]) -> float:
    """The share of the characters of the targets that their sources have too, in any order, in [0, 1]."""
    common = total = 0
    for pair in pairs:
        target = Counter(pair.target or "")
        common += (target & Counter(pair.source)).total()
        total += target.total()
    return common / max(total, 1)


def _may_edit(settings: TranslatorSettings) -> bool:
    """Whether nothing is given that goes with other decoders only."""
    training, vocabulary = settings.training, settings.vocabulary
    elsewhere = {"label_smoothing", "teacher_forcing", "coverage_loss", "teachers"}
    spelled = not vocabulary.model_fields_set - {"shared"} or vocabulary.kind in ("character", "byte")
    given = settings.model.model_fields_set - SIZES or training.model_fields_set & elsewhere
    alike = vocabulary.shared or settings.data.target_symbols == "spaces"
    return spelled and alike and not given


def _counter(
    pairs: Sequence[SentencePair], kind: str, size: int, *, spaced: bool = False
) -> Callable[[SentencePair], int]:
    """A function that says about how many symbols the longer side of a pair has, its size in a batch.

    Subwords are estimated: a quarter of them are the most frequent words, and others are split.

    Args:
        pairs: The training pairs.
        kind: What their symbols are.
        size: Number of subwords, where these are the symbols.
        spaced: Whether targets are symbols between spaces.
    """
    if spaced:
        return lambda pair: _longer(pair, len(pair.source), len((pair.target or "").split()))
    if kind in ("character", "byte"):
        return lambda pair: _longer(pair, len(pair.source), len(pair.target or ""))
    if kind == "word":
        return lambda pair: _longer(pair, len(pair.source.split()), len((pair.target or "").split()))
    counts = Counter(word for pair in pairs for word in f"{pair.source} {pair.target or ''}".split())
    whole = {word for word, _ in counts.most_common(size // 4)}

    def subwords(text: str) -> int:
        split = (max(len(word) / CHARACTERS_PER_SUBWORD, 1.0) for word in text.split() if word not in whole)
        return round(sum(split)) + sum(word in whole for word in text.split())

    return lambda pair: _longer(pair, subwords(pair.source), subwords(pair.target or ""))


def _longer(pair: SentencePair, source: int, target: int) -> int:
    """Symbols of the longer side, its end included; features stand before the source."""
    return max(source + len(pair.features), target) + 1
