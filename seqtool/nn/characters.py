"""A vector for a word from its characters, for each distinct word of a batch once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.embeddings import uniform_embedding
from seqtool.nn.recurrence import Bidirectional

# Words of up to so many characters are encoded together: most words are short, a few (addresses)
# are very long, and padding all to the longest would cost several times the work.
GROUPS = (4, 7, 11, 17)


def in_groups(encoder: Callable[[Tensor, Tensor], Tensor], characters: Tensor, lengths: Tensor) -> Tensor:
    """Encode words in groups of similar length; the result is that of one call, up to rounding.

    Args:
        encoder: Character ids [W, L] and lengths [W] to vectors [W, D].
        characters: Character ids, right-padded with 0, [W, L].
        lengths: Characters of each word, at least 1, [W].

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
    """Convolutions of several widths over the characters, largest response of each filter.

    Args:
        characters: Size of the character inventory; 0 is padding.
        embedding: Width of a character embedding.
        filters: Filters a width.
        widths: How many characters a filter sees.

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
        embedded = self.embedding(characters).transpose(1, 2)
        padding = torch.arange(characters.shape[1], device=lengths.device) >= lengths[:, None]
        pooled = []
        for convolution in self.convolutions:
            response = convolution(embedded)[:, :, : characters.shape[1]]
            pooled.append(response.masked_fill(padding[:, None, :], float("-inf")).amax(2))
        return torch.relu(torch.cat(pooled, 1))


class CharacterRNN(nn.Module):
    """The last states of a bidirectional recurrent network over the characters.

    Args:
        options: What its layer is made of.
        characters: Size of the character inventory; 0 is padding.
        embedding: Width of a character embedding.
        hidden: Width of each direction.

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
