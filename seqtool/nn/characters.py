"""Word vectors from characters; each distinct word of a batch is encoded once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.embeddings import uniform_embedding
from seqtool.nn.recurrence import Bidirectional

# Largest lengths, in characters, of the groups of words that are encoded together. Most words are short
# and a few (addresses) very long: padding all to the longest would multiply the work.
GROUPS = (4, 7, 11, 17)


def in_groups(encoder: Callable[[Tensor, Tensor], Tensor], characters: Tensor, lengths: Tensor) -> Tensor:
    """Encode words in groups of similar length; the result equals that of one call, up to rounding.

    Args:
        encoder: Maps character ids [W, L] and lengths [W] to vectors [W, D].
        characters: Character ids, right-padded with 0, [W, L].
        lengths: Number of characters of each word, at least 1, [W].

    Returns:
        Word vectors, [W, D].
    """
    group = torch.bucketize(lengths.contiguous(), torch.tensor(GROUPS, device=lengths.device))
    order = group.argsort(stable=True)
    sizes = torch.bincount(group, minlength=len(GROUPS) + 1).tolist()
    limits = (*GROUPS, characters.shape[1])
    vectors = [
        encoder(characters[rows, :limit], lengths[rows])
        for rows, limit in zip(torch.split(order, sizes), limits, strict=True)
        if len(rows)
    ]
    return torch.cat(vectors)[order.argsort()]


class CharacterCNN(nn.Module):
    """Convolutions of several widths over the characters, each filter's largest response.

    Args:
        characters: Size of the character inventory; id 0 is padding.
        embedding: Width of a character embedding.
        filters: Number of filters per width.
        widths: Widths of the filters, in characters.

    Reference: dos Santos and Zadrozny 2014; Kim et al. 2016, section 2.2 (several widths).
    """

    def __init__(self, characters: int, embedding: int, filters: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.embedding = uniform_embedding(characters, embedding, padding=0)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(embedding, filters, width, padding=width // 2) for width in widths
        )
        self.outputs = filters * len(widths)

    def forward(self, characters: Tensor, lengths: Tensor) -> Tensor:
        """Character ids [W, L], right-padded with 0, and lengths [W] to word vectors [W, outputs]."""
        embedded = self.embedding(characters).transpose(1, 2)  # [W, E, L]
        padding = torch.arange(characters.shape[1], device=lengths.device) >= lengths[:, None]  # [W, L]
        pooled = []
        for convolution in self.convolutions:
            response = convolution(embedded)[:, :, : characters.shape[1]]  # [W, filters, L]
            pooled.append(response.masked_fill(padding[:, None, :], float("-inf")).amax(2))
        return torch.relu(torch.cat(pooled, 1))


class CharacterRNN(nn.Module):
    """The last outputs of a bidirectional recurrent network over the characters.

    Args:
        options: Cell and options of the layer.
        characters: Size of the character inventory; id 0 is padding.
        embedding: Width of a character embedding.
        hidden: Width H of each direction.

    Reference: Lample et al. 2016, "Neural architectures for named entity recognition", section 4.1.
    """

    def __init__(self, options: LayerOptions, characters: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embedding = uniform_embedding(characters, embedding, padding=0)
        self.recurrence = Bidirectional(options, embedding, hidden)
        self.outputs = 2 * hidden

    def forward(self, characters: Tensor, lengths: Tensor) -> Tensor:
        """Character ids [W, L], right-padded with 0, and lengths [W] to word vectors [W, outputs]."""
        return self.recurrence.final(self.embedding(characters), lengths)
