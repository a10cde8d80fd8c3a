"""A vector for each distinct word form of a batch: from its word, its characters and its shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.characters import CharacterCNN, CharacterRNN, in_groups
from seqtool.nn.embeddings import uniform_embedding
from seqtool.nn.lexical import LexicalFeatures
from seqtool.nn.regularization import drop_types, drop_words


class Forms(NamedTuple):
    """The distinct forms of a batch, in columns."""

    words: Tensor  # word ids, [W]
    shapes: Tensor  # shape ids, [W]
    characters: Tensor  # character ids, right-padded with 0, [W, L]
    lengths: Tensor  # characters of each form, at least 1, [W]
    lexical: LexicalFeatures  # ids of its lexical features; [W, 0] each if there are none

    def to(self, device: torch.device) -> Forms:
        """The forms on a device."""
        return Forms(
            self.words.to(device),
            self.shapes.to(device),
            self.characters.to(device),
            self.lengths.to(device),
            LexicalFeatures(*(features.to(device) for features in self.lexical)),
        )


@dataclass(frozen=True)
class FormOptions:
    """Widths and dropout of a form encoder.

    Args:
        word_embedding: Width of a word's embedding; 0 = none.
        shape_embedding: Width of a shape's embedding; 0 = none.
        characters: Kind of character encoder.
        character_embedding: Width of a character's embedding.
        character_hidden: Width of each direction of the character rnn.
        character_filters: Filters of each width of the character cnn.
        character_widths: How many characters the filters of the cnn see.
        type_dropout: Probability of dropping a word everywhere in a batch.
        layer: Cell of the character rnn.
    """

    word_embedding: int
    shape_embedding: int
    characters: Literal["cnn", "rnn", "none"]
    character_embedding: int
    character_hidden: int
    character_filters: int
    character_widths: Sequence[int]
    type_dropout: float
    layer: LayerOptions


class FormEncoder(nn.Module):
    """A vector for each distinct form.

    In training the word is now and then replaced by the unknown word (`set_word_dropout`): that
    trains the vector which unseen words will get.

    Args:
        words: Size of the word vocabulary; id 0 is the unknown word.
        characters: Size of the character vocabulary; id 0 is padding.
        shapes: Size of the shape vocabulary.
        options: Widths and dropout.
    """

    drop: Tensor

    def __init__(self, words: int, characters: int, shapes: int, options: FormOptions) -> None:
        super().__init__()
        self.words = _embedding(words, options.word_embedding)
        self.shapes = _embedding(shapes, options.shape_embedding)
        self.characters = _character_encoder(characters, options)
        self.type_dropout = options.type_dropout
        # Probability of dropping each word; only training reads it, so no model folder holds it, and it
        # has values even where everything else is on the meta device (see `materialise`).
        self.register_buffer("drop", torch.zeros(words, device="cpu"), persistent=False)
        of_characters = 0 if self.characters is None else self.characters.outputs
        self.outputs = options.word_embedding + options.shape_embedding + of_characters

    def forward(self, forms: Forms) -> Tensor:
        """Vectors of the forms of a batch, [W, outputs]."""
        parts = []
        if self.words is not None:
            words = forms.words
            if self.training:
                words = drop_words(words, self.drop[words], unknown=0)
            vectors = self.words(words)
            if self.training and self.type_dropout:
                vectors = drop_types(vectors, words, self.words.num_embeddings, self.type_dropout)
            parts.append(vectors)
        if self.characters is not None:
            parts.append(in_groups(self.characters, forms.characters, forms.lengths))
        if self.shapes is not None:
            parts.append(self.shapes(forms.shapes))
        # Autocast leaves some parts in half precision; a float64 network stays one.
        kind = torch.promote_types(parts[0].dtype, torch.float32)
        return torch.cat([part.to(kind) for part in parts], 1)

    def set_word_dropout(self, counts: Sequence[int], *, singletons: float, others: float) -> None:
        """Set the probability that each word is replaced by the unknown word in training.

        Args:
            counts: How often each word stands in the training part, in the order of the ids.
            singletons: Probability for words that were seen once, in [0, 1].
            others: Probability for all other words, in [0, 1].
        """
        for number, count in enumerate(counts):
            self.drop[number] = singletons if count == 1 else others


def _embedding(rows: int, width: int) -> nn.Embedding | None:
    return uniform_embedding(rows, width) if width else None


def _character_encoder(characters: int, options: FormOptions) -> CharacterCNN | CharacterRNN | None:
    if options.characters == "none":
        return None
    if options.characters == "rnn":
        return CharacterRNN(options.layer, characters, options.character_embedding, options.character_hidden)
    widths = tuple(options.character_widths)
    return CharacterCNN(characters, options.character_embedding, options.character_filters, widths)
