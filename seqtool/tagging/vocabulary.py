"""The vocabularies of a tagger: words, characters, word shapes, feature columns, tags."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqtool.errors import ModelError
from seqtool.tagging.settings import VocabularySettings
from seqtool.text.columns import TaggedSentence
from seqtool.text.forms import FormTable, count_forms, normalise
from seqtool.text.lexical import Lexicon
from seqtool.text.shapes import clipped, shape
from seqtool.text.tag_scheme import Scheme
from seqtool.text.vocabulary import PADDING, UNKNOWN, Vocabulary

LEXICON = ("lexical", "lexical-around")  # names of the vocabularies of a `Lexicon`
RARE_SHAPE = 3  # word shapes seen less often become the unknown shape, so that it is trained as well


@dataclass(frozen=True)
class Vocabularies:
    """All vocabularies of a tagger, built from the training part."""

    words: Vocabulary
    characters: Vocabulary
    shapes: Vocabulary
    features: tuple[Vocabulary, ...]
    tags: Vocabulary
    lexicon: Lexicon | None  # lexical features; None if the model has none
    word_counts: Mapping[str, int]  # training count of each normalised word; empty in a loaded model

    @classmethod
    def build(
        cls,
        sentences: Sequence[TaggedSentence],
        tags: Sequence[str],
        settings: VocabularySettings,
        *,
        lexical: bool = False,
    ) -> Vocabularies:
        """Build the vocabularies by counting symbols in the training part.

        Args:
            sentences: The training part, at least one sentence.
            tags: The tag inventory in the order of the tag ids.
            settings: How words are normalised, and which become vocabulary entries.
            lexical: Whether there are lexical features.
        """
        forms = count_forms(sentence.tokens for sentence in sentences)
        words: Counter[str] = Counter()
        characters: Counter[str] = Counter()
        shapes: Counter[str] = Counter()
        for form, count in forms.items():
            word = normalise(form, lowercase=settings.lowercase, zero_digits=settings.zero_digits)
            words[word] += count
            shapes[shape(form)] += count
            characters.update(clipped(form))
        columns = len(sentences[0].features)
        return cls(
            Vocabulary.build(words, reserved=(UNKNOWN,), min_count=settings.min_count, limit=settings.size),
            Vocabulary.build(characters, reserved=(PADDING, UNKNOWN)),
            Vocabulary.build(shapes, reserved=(UNKNOWN,), min_count=RARE_SHAPE),
            tuple(_feature_vocabulary(sentences, column) for column in range(columns)),
            Vocabulary(tags),
            Lexicon.build(forms) if lexical else None,
            words,
        )

    def form_table(self, settings: VocabularySettings) -> FormTable:
        """An empty table of word forms over these vocabularies."""
        return FormTable(
            self.words,
            self.characters,
            self.shapes,
            self.lexicon,
            lowercase=settings.lowercase,
            zero_digits=settings.zero_digits,
        )

    def to_texts(self) -> dict[str, str]:
        """The contents of the vocabulary files of a model folder, by file name."""
        named = {"words": self.words, "characters": self.characters, "shapes": self.shapes, "tags": self.tags}
        named |= {f"feature-{number}": column for number, column in enumerate(self.features, 1)}
        if self.lexicon is not None:
            named |= dict(zip(LEXICON, self.lexicon, strict=True))
        return {f"{name}.txt": vocabulary.to_text() for name, vocabulary in named.items()}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Vocabularies:
        """Vocabularies from the files of a model folder; the inverse of `to_texts`.

        Raises:
            ModelError: a file is missing or is not a vocabulary, or it lacks the unknown symbol.
        """
        missing = [name for name in ("words", "characters", "shapes", "tags") if f"{name}.txt" not in texts]
        if missing:
            raise ModelError(f"the model folder lacks {missing[0]}.txt")
        read = {
            name: Vocabulary.from_text(text, name) for name, text in texts.items() if name.endswith(".txt")
        }
        columns = sum(name.startswith("feature-") for name in read)
        features = [read.get(f"feature-{number}.txt") for number in range(1, columns + 1)]
        if None in features:
            raise ModelError("the model folder lacks the vocabulary of a feature column")
        for name, vocabulary in read.items():
            if vocabulary.unknown is None and name.removesuffix(".txt") not in ("tags", *LEXICON):
                raise ModelError(f"{name} has no {UNKNOWN} symbol, so the model cannot read new words")
        return cls(
            read["words.txt"],
            read["characters.txt"],
            read["shapes.txt"],
            tuple(column for column in features if column is not None),
            read["tags.txt"],
            _lexicon(read),
            {},
        )


def _lexicon(read: Mapping[str, Vocabulary]) -> Lexicon | None:
    """The lexical features, from the vocabularies of a model folder by file name."""
    found = [read.get(f"{name}.txt") for name in LEXICON]
    if None in found:
        return None
    return Lexicon(*(vocabulary for vocabulary in found if vocabulary is not None))


def _feature_vocabulary(sentences: Sequence[TaggedSentence], column: int) -> Vocabulary:
    counts = Counter(value for sentence in sentences for value in sentence.features[column])
    return Vocabulary.build(counts, reserved=(UNKNOWN,), min_count=1)


def output_tags(tags: Sequence[str], own: Scheme | None, target: Scheme | None) -> list[str] | None:
    """Each tag of a model in another scheme; None where that depends on the tags around it (IOB1, io).

    Args:
        tags: The K tag names of the model in the order of their ids.
        own: Their scheme; None without spans.
        target: The scheme of the output.
    """
    if own != "iobes" or target in (None, "iob1", "io"):
        return None
    letters = {
        "iob2": {"B": "B", "I": "I", "E": "I", "S": "B"},
        "iobes": {"B": "B", "I": "I", "E": "E", "S": "S"},
        "bilou": {"B": "B", "I": "I", "E": "L", "S": "U"},
        "bmes": {"B": "B", "I": "M", "E": "E", "S": "S"},
    }[target]
    return ["O" if tag == "O" else letters[tag[0]] + tag[1:] for tag in tags]


def entity_begins(tags: Sequence[str], scheme: Scheme | None) -> tuple[list[str], Tensor]:
    """The entity types, and 1 at the tags that an entity of each can begin with, [types, K].

    Args:
        tags: The K tag names in the order of their ids.
        scheme: Tag scheme; None without spans, when there are no types.
    """
    types = sorted({tag[2:] for tag in tags if tag != "O"}) if scheme is not None else []
    rows = [[tag[0] in "BS" and tag[2:] == kind for tag in tags] for kind in types]
    return types, torch.tensor(rows, dtype=torch.float32).view(len(types), len(tags))
