"""The network of a tagger: word form vectors, a bidirectional recurrent encoder, tag scores, a CRF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.crf import (
    LinearChainCRF,
    marginals,
    negative_log_likelihood,
    partial_negative_log_likelihood,
    uniform_cross_entropy,
    viterbi,
    weighted_negative_log_likelihood,
)
from seqtool.nn.distillation import path_cross_entropy
from seqtool.nn.divergence import symmetric_divergence, symmetric_path_divergence
from seqtool.nn.embeddings import uniform_embedding
from seqtool.nn.forms import FormEncoder, FormOptions, Forms
from seqtool.nn.forward_backward import Chain
from seqtool.nn.hierarchy import DocumentState, sentence_vectors
from seqtool.nn.lexical import LexicalScores
from seqtool.nn.losses import LossSum
from seqtool.nn.recurrence import BidirectionalStack
from seqtool.nn.regularization import InputNoise, SequenceDropout
from seqtool.nn.word_prediction import WordPrediction
from seqtool.tagging.batches import Batch
from seqtool.tagging.readings import ReadingInput
from seqtool.tagging.settings import ModelSettings
from seqtool.tagging.vocabulary import Vocabularies
from seqtool.text.tag_scheme import Scheme, allowed_transitions

if TYPE_CHECKING:
    from seqtool.lm.reading import SentenceReader

# Indices of B sentences, their emission scores [B, T, K], and the mask [B, T].
BatchOutput = tuple[list[int], Tensor, Tensor]


class VocabularySizes(NamedTuple):
    """Number of symbols in each vocabulary of the network."""

    words: int
    characters: int
    shapes: int
    features: tuple[int, ...]
    tags: int
    lexicon: tuple[int, int]  # lexical features for the own tag and for those around; 0 = the model has none

    @classmethod
    def of(cls, vocabularies: Vocabularies) -> VocabularySizes:
        """The sizes of the given vocabularies."""
        lexicon = vocabularies.lexicon
        return cls(
            len(vocabularies.words),
            len(vocabularies.characters),
            len(vocabularies.shapes),
            tuple(map(len, vocabularies.features)),
            len(vocabularies.tags),
            (0, 0) if lexicon is None else (len(lexicon.own), len(lexicon.around)),
        )


class Encoded(NamedTuple):
    """The encoder's output and the emission scores of a batch."""

    states: Tensor  # encoder states before dropout, [B, T, 2H]
    dropped: Tensor  # encoder states after dropout, [B, T, 2H]
    scores: Tensor  # emission scores, nats, [B, T, K]


class BatchStates(NamedTuple):
    """What the encoder finds for B of the sentences to be tagged."""

    part: list[int]  # their indices
    states: Tensor  # encoder states, [B, T, 2H]
    lexical: Tensor | None  # scores by lexical features, nats, [B, T, K]
    mask: Tensor  # True at real tokens, [B, T]


class Tagger(nn.Module):
    """BiLSTM-CRF (Huang et al. 2015; Lample et al. 2016; Ma and Hovy 2016) and its relatives.

    Args:
        sizes: Sizes of the vocabularies.
        settings: The network's settings.
        tags: The K tag names in the order of their ids.
        scheme: Tag scheme; None for tags without spans, where every tag may follow every other.
        readers: Language models whose states are a further input; they stay as they are.
    """

    def __init__(
        self,
        sizes: VocabularySizes,
        settings: ModelSettings,
        tags: tuple[str, ...],
        scheme: Scheme | None,
        readers: Sequence[SentenceReader] = (),
    ) -> None:
        super().__init__()
        self.forms = FormEncoder(sizes.words, sizes.characters, sizes.shapes, _form_options(settings))
        self.features = nn.ModuleList(
            uniform_embedding(size, settings.feature_embedding) for size in sizes.features
        )
        self.input_dropout = SequenceDropout(settings.of_inputs, settings.locked)
        self.dropout = SequenceDropout(settings.of_outputs, settings.locked)
        self.noise = InputNoise(settings.input_noise)
        self.readers = nn.ModuleList(readers)
        self.readings = ReadingInput(settings, readers) if readers else None
        of_readers = 0 if self.readings is None else self.readings.outputs
        self.encoder = BidirectionalStack(
            settings.layer_options,
            inputs=self.forms.outputs + settings.feature_embedding * len(sizes.features) + of_readers,
            hidden=settings.hidden,
            layers=settings.layers,
            dropout=settings.dropout,
        )
        self.document: DocumentState | None = None
        if settings.document_hidden:
            self.document = DocumentState(
                settings.layer_options, self.encoder.outputs, settings.document_hidden
            )
        self.output = nn.Linear(self.encoder.outputs + settings.document_hidden, sizes.tags)
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.crf = LinearChainCRF(*_constraints(tags, scheme), learned=settings.output == "crf")
        self.word_prediction: WordPrediction | None = None  # only while it is trained
        self.is_crf = settings.output == "crf"
        self.lexical: LexicalScores | None = None
        if settings.lexical:
            self.lexical = LexicalScores(
                *sizes.lexicon, sizes.tags, settings.lexical_window, settings.lexical_dropout
            )

    @property
    def form_outputs(self) -> int:
        """Length of what `of_forms` gives for each form."""
        return self.forms.outputs + (0 if self.lexical is None else self.lexical.outputs)

    def of_forms(self, forms: Forms) -> Tensor:
        """All that is computed for a form alone: its vector, D values, and its lexical contributions.

        Returns:
            Both side by side, [W, form_outputs].
        """
        vectors: Tensor = self.forms(forms)
        if self.lexical is None:
            return vectors
        return torch.cat([vectors, self.lexical(forms.lexical).to(vectors.dtype)], 1)

    def scores(self, batch: Batch) -> Tensor:
        """Emission scores of a batch, nats, float32 (float64 for a float64 model), [B, T, K]."""
        return self.encoded(batch).scores

    def encoded(self, batch: Batch) -> Encoded:
        """States and scores of a batch; with a document recurrence, its state starts anew in each passage."""
        # An embedding lookup rather than indexing by `[rows]`, whose gradient sums over threads in any order.
        # [F, form_outputs] to [B, T, form_outputs]
        words = functional.embedding(batch.rows, self.of_forms(batch.forms))
        # both [B, T, 2H]
        states, dropped = self.states(words, batch.features, batch.mask, batch.readings)
        before = None
        if self.document is not None:
            assert batch.passages is not None, "a tagger of documents needs the order of the sentences"
            # [B, H of the document]
            before = self._before(self.document, sentence_vectors(dropped, batch.mask), batch.passages)
        return Encoded(
            states, dropped, self.scores_after(dropped, self.of_lexical(words, batch.mask), before)
        )

    def of_lexical(self, words: Tensor, mask: Tensor) -> Tensor | None:
        """Scores of the tags by lexical features, nats, [B, T, K]; None for a tagger without them.

        Args:
            words: What `of_forms` gives for each token, [B, T, form_outputs].
            mask: True at real tokens, [B, T].
        """
        if self.lexical is None:
            return None
        return self.lexical.scores(words[:, :, self.forms.outputs :], mask)

    def states(
        self,
        vectors: Tensor,
        features: tuple[Tensor, ...],
        mask: Tensor,
        readings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The encoder's states.

        Args:
            vectors: What `of_forms` gives for each token, of which the vectors are read, [B, T, D or more].
            features: For each feature column its ids, [B, T].
            mask: True at real tokens, right-padded, [B, T].
            readings: States of language models at each token, [B, T, C]; None for a tagger without them.

        Returns:
            The states before dropout, and after it in full precision; both [B, T, 2H].
        """
        # each [B, T, feature_embedding]
        vectors = vectors[:, :, : self.forms.outputs]
        columns = [embed(ids) for embed, ids in zip(self.features, features, strict=True)]
        if self.readings is not None:
            assert readings is not None, "a tagger with language models needs what they find"
            columns.append(self.readings(readings).to(vectors.dtype))
        # [B, T, D + columns x feature_embedding + width of the projected readings]
        inputs = torch.cat([vectors, *columns], 2) if columns else vectors
        # [B, T, 2H]
        states = self.encoder(self.noise(self.input_dropout(inputs)), mask)
        return states, self.dropout(states.to(self.output.weight.dtype))

    def scores_after(
        self, dropped: Tensor, lexical: Tensor | None = None, before: Tensor | None = None
    ) -> Tensor:
        """Emission scores, nats, [B, T, K].

        Args:
            dropped: Encoder states after dropout, [B, T, 2H].
            lexical: Scores by lexical features, nats, [B, T, K]; None for a tagger without them.
            before: State of the document's recurrence before each sentence, [B, H of the document];
                None for a tagger without one.
        """
        # The output layer stays in full precision: half precision has three digits, scores need more.
        with torch.autocast(dropped.device.type, enabled=False):
            if before is not None:
                # [B, 1, H of the document]
                seen = self.dropout(before.to(dropped.dtype)[:, None])
                # Every token of a sentence reads the same document state: [B, T, 2H + H of the document]
                dropped = torch.cat([dropped, seen.expand(-1, dropped.shape[1], -1)], 2)
            scores: Tensor = self.output(dropped)
            return scores if lexical is None else scores + lexical

    @staticmethod
    def _before(document: DocumentState, vectors: Tensor, passages: Tensor) -> Tensor:
        """State of the document's recurrence before each sentence, [B, H of the document].

        Args:
            document: The recurrence over sentences, which starts anew in each passage.
            vectors: Vector of each sentence, [B, I].
            passages: Batch rows of the sentences of each passage, [D, S]; -1 at padding.
        """
        # [D, S]
        real = passages >= 0
        # [D, S, I]
        inputs = vectors[passages.clamp(min=0)].masked_fill(~real[:, :, None], 0.0)
        # [D, S, H of the document]
        before: Tensor = document(inputs, document.initial(len(inputs), inputs))[0]
        # [B, H of the document], back in the order of the batch
        return before[real][passages[real].argsort()]

    def loss(
        self, batch: Batch, *, label_smoothing: float = 0.0, class_weights: Tensor | None = None
    ) -> LossSum:
        """Summed negative log-likelihood of a batch, nats, with its number of tokens; see `loss_of`."""
        return self.loss_of(
            self.scores(batch), batch, label_smoothing=label_smoothing, class_weights=class_weights
        )

    def loss_of(
        self,
        scores: Tensor,
        batch: Batch,
        *,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
    ) -> LossSum:
        """Summed negative log-likelihood of given emission scores.

        Args:
            scores: Emission scores of the batch, nats, [B, T, K].
            batch: A batch with tags.
            label_smoothing: Share of the target distributed evenly over all tags, or over all tag
                paths of a CRF, in [0, 1).
            class_weights: Weight of each tag, at least 0, [K]; None = all 1.

        Returns:
            The sum in nats, with the number of tokens that it is over.

        Raises:
            ValueError: class weights with partial annotation, for which no loss is defined.
        """
        assert batch.tags is not None, "a loss needs tags"
        count = int(batch.mask.sum())
        with torch.autocast(scores.device.type, enabled=False):
            if not self.is_crf:
                return LossSum(_softmax_loss(scores, batch, label_smoothing, class_weights), count, "token")
            chain = self.crf.chain()
            # losses: [B], nats, one for each sentence
            if batch.possible is not None:
                if class_weights is not None:
                    raise ValueError("class weights need full annotation, and a sentence is partial")
                losses = partial_negative_log_likelihood(scores, chain, batch.possible, batch.mask)
            elif class_weights is not None:
                losses = weighted_negative_log_likelihood(
                    scores, chain, batch.tags, batch.mask, class_weights
                )
            else:
                losses = negative_log_likelihood(scores, chain, batch.tags, batch.mask)
            total = losses.sum()
            if label_smoothing:
                total = torch.lerp(total, uniform_cross_entropy(scores, chain, batch.mask), label_smoothing)
        return LossSum(total, count, "token")

    def taught_loss(self, scores: Tensor, taught: Tensor, chain: Chain, mask: Tensor) -> Tensor:
        """Summed cross-entropy with the distribution of a teacher, nats.

        Over tag paths for a CRF, else over the tags of each token.

        Args:
            scores: Emission scores of this tagger, nats, [B, T, K].
            taught: Those of the teacher, nats, [B, T, K].
            chain: Transition, start and end scores of the teacher.
            mask: True at real tokens, [B, T].
        """
        chain = Chain(*(part.to(scores.device) for part in chain))
        with torch.autocast(scores.device.type, enabled=False):
            if self.is_crf:
                return path_cross_entropy(scores, self.crf.chain(), taught, chain, mask)
            expected = marginals(taught, chain, mask).unary[mask]
            return -(expected * scores[mask].log_softmax(1)).sum()

    def word_loss(self, dropped: Tensor, batch: Batch) -> Tensor:
        """Summed loss of predicting the words around each token, nats; 0 for a network that does not.

        Args:
            dropped: Encoder states after dropout, [B, T, 2H].
            batch: The batch that they are of.
        """
        if self.word_prediction is None:
            return dropped.new_zeros(())
        with torch.autocast(dropped.device.type, enabled=False):
            loss: Tensor = self.word_prediction(dropped, batch.forms.words[batch.rows], batch.mask)
            return loss

    def divergence(self, first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
        """KL(p || q) + KL(q || p) of the distributions that two passes predict, summed, nats.

        Over tag paths for a CRF, else over the tags of each token.

        Args:
            first: Emission scores of one pass, nats, [B, T, K].
            second: Emission scores of another pass over the same batch, nats, [B, T, K].
            mask: True at real tokens, [B, T].
        """
        with torch.autocast(first.device.type, enabled=False):
            if self.is_crf:
                return symmetric_path_divergence(first, second, self.crf.chain(), mask)
            return symmetric_divergence(first[mask].log_softmax(1), second[mask].log_softmax(1))

    def decode(self, scores: Tensor, mask: Tensor) -> Tensor:
        """The highest-scoring valid tag path, ids, [B, T]; 0 at padding."""
        return viterbi(scores, self.crf.chain(), mask)[0]

    def load_pretrained(self, vectors: Tensor, found: Tensor, *, freeze: bool) -> None:
        """Put pretrained vectors in place of word embeddings, scaled to their initial standard deviation.

        Args:
            vectors: Pretrained vectors in the order of the word vocabulary, [words, word_embedding].
            found: True at the words that have a pretrained vector, [words].
            freeze: Whether training leaves the whole embedding table unchanged.
        """
        assert self.forms.words is not None
        weight = self.forms.words.weight
        with torch.no_grad():
            # [words found, word_embedding]
            taken = vectors[found]
            scale = weight.std() / taken.std().clamp(min=1e-8) if len(taken) else 1.0
            weight[found] = (taken * scale).to(weight)
        weight.requires_grad_(not freeze)


def class_weights(
    weights: Mapping[str, float], tags: tuple[str, ...], scheme: Scheme | None
) -> Tensor | None:
    """Weight of each tag in the loss, [K]; None when no weights are set.

    Args:
        weights: Weight by entity type or by whole tag; a whole tag has precedence, the default is 1.
        tags: The K tag names in the order of their ids.
        scheme: Tag scheme; None for tags without spans.
    """
    if not weights:
        return None
    types = tags if scheme is None else [tag.split("-", 1)[-1] for tag in tags]
    values = [weights.get(tag, weights.get(kind, 1.0)) for tag, kind in zip(tags, types, strict=True)]
    return torch.tensor(values)


def _form_options(settings: ModelSettings) -> FormOptions:
    return FormOptions(
        word_embedding=settings.word_embedding,
        shape_embedding=settings.shape_embedding,
        characters=settings.characters,
        character_embedding=settings.character_embedding,
        character_hidden=settings.character_hidden,
        character_filters=settings.character_filters,
        character_widths=settings.character_widths,
        type_dropout=settings.type_dropout,
        layer=settings.layer_options,
    )


def _constraints(tags: tuple[str, ...], scheme: Scheme | None) -> tuple[Tensor, Tensor, Tensor]:
    """Which tag (column) may follow which (row), [K, K], which may come first, [K], and last, [K]."""
    if scheme is None:
        every = torch.ones(len(tags), dtype=torch.bool)
        return every.expand(len(tags), -1).clone(), every, every
    pairs, start, end = allowed_transitions(tags, scheme)
    return torch.tensor(pairs), torch.tensor(start), torch.tensor(end)


def _softmax_loss(
    scores: Tensor, batch: Batch, label_smoothing: float, class_weights: Tensor | None
) -> Tensor:
    """Summed cross-entropy of tags that are predicted independently, nats."""
    # [N, K], the N real tokens of the batch
    real = scores[batch.mask]
    if batch.possible is not None:  # the probability of a partial tag is that of all tags it allows
        # [N, K]
        possible = batch.possible[batch.mask]
        # [N]
        together = real.masked_fill(~possible, float("-inf")).logsumexp(1)
        total = (real.logsumexp(1) - together).sum()
        return torch.lerp(total, -real.log_softmax(1).mean(1).sum(), label_smoothing)
    assert batch.tags is not None
    weight = None if class_weights is None else class_weights.to(real)
    return functional.cross_entropy(
        real, batch.tags[batch.mask], weight=weight, label_smoothing=label_smoothing, reduction="sum"
    )
