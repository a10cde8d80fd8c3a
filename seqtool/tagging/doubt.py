"""How much a tagger doubts its own tags: exact quantities of its distribution over tag paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from seqtool.nn.crf import log_partition, marginals, partial_negative_log_likelihood, viterbi
from seqtool.tagging.batches import encode
from seqtool.tagging.decoding import Prediction
from seqtool.tagging.prediction import TaggerModel
from seqtool.text.columns import TaggedSentence

Strategy = Literal["path", "entropy", "spans", "random"]
DOUBTED = 0.7  # a token whose tag is less probable than this is doubted


class Doubt(NamedTuple):
    """How much the tagger doubts its tags of one sentence.

    Attributes:
        path: 1 - p(best path)^(1 / T), the probability of an error per token if errors were independent.
        entropy: Entropy of a token's tag, nats, mean over tokens (Settles and Craven 2008, section 3.1).
        spans: Expected number of wrong spans, found or missed; of wrong tags for tags without spans.
    """

    path: float
    entropy: float
    spans: float


class DoubtedToken(NamedTuple):
    """A token whose tag is doubted."""

    token: int  # its number in the sentence, from 0
    tag: str  # the tag that it has, in the scheme of the training files
    probability: float  # marginal probability of that tag, in [0, 1]
    instead: str  # the most probable other tag, in the scheme of the model
    instead_probability: float


class Judgement(NamedTuple):
    """What a tagger finds in a sentence, and how much it doubts it."""

    prediction: Prediction
    doubt: Doubt
    tokens: list[DoubtedToken]


@torch.inference_mode()
def judged(model: TaggerModel, sentences: Sequence[TaggedSentence]) -> list[Judgement]:
    """Tag sentences, and say how much of it is doubted.

    Args:
        model: The tagger.
        sentences: Sentences with at least one token each.
    """
    result: list[Judgement | None] = [None] * len(sentences)
    begins = model.decoder.begins.sum(0)  # 1 at the tags that begin a span, [K]
    for part, scores, mask in model.score_batches(sentences):
        chain = model.chain
        posterior = marginals(scores, chain, mask)
        lengths = mask.sum(1)
        # [B], log p of the best path without entity biases
        best = viterbi(scores, chain, mask)[1].double() - posterior.log_partition
        unary = posterior.unary  # [B, T, K], 0 at padding
        entropy = -torch.special.xlogy(unary, unary).sum((1, 2)) / lengths
        # [B], expected number of spans
        expected = (unary * begins).sum((1, 2)) if model.scheme is not None else lengths
        predictions = model.decoded(scores, mask, confidence=True)
        for row, number in enumerate(part):
            prediction = predictions[row]
            sure = prediction.span_confidence if model.scheme is not None else prediction.token_confidence
            found = sum(sure or ())
            # A span that was found is wrong with probability 1 - p; one that was missed would be there.
            wrong = (len(sure or ()) - found) + (float(expected[row]) - found)
            wrong = wrong if model.scheme is not None else wrong / 2
            path = 1.0 - float((best[row] / lengths[row]).exp())
            doubt = Doubt(max(path, 0.0), float(entropy[row]), max(wrong, 0.0))
            tokens = _doubted(model, prediction, unary[row, : int(lengths[row])])
            result[number] = Judgement(prediction, doubt, tokens)
    return [each for each in result if each is not None]


def _doubted(model: TaggerModel, prediction: Prediction, unary: Tensor) -> list[DoubtedToken]:
    """The tokens of a sentence whose tags are doubted; `unary` has the marginals of their tags, [T, K]."""
    names = model.vocabularies.tags.symbols
    found = []
    for number, probability in enumerate(prediction.token_confidence or ()):
        if probability >= DOUBTED:
            continue
        values, ids = unary[number].topk(min(2, len(names)))
        other = next(
            (i for i in range(len(ids)) if abs(float(values[i]) - probability) > 1e-12), len(ids) - 1
        )
        found.append(
            DoubtedToken(
                number, prediction.tags[number], probability, names[int(ids[other])], float(values[other])
            )
        )
    return found


class Suspicion(NamedTuple):
    """How far the annotation of a sentence is from what a tagger thinks.

    Attributes:
        gold: Log probability of the annotated path, nats; -inf if it has a tag that the model does not have.
        best: Log probability of the best path, nats.
        prediction: What the tagger finds instead.
    """

    gold: float
    best: float
    prediction: Prediction

    @property
    def odds(self) -> float:
        """Log of how many times more probable the best path is, nats, at least 0."""
        return max(self.best - self.gold, 0.0)


@torch.inference_mode()
def suspicions(
    model: TaggerModel, sentences: Sequence[TaggedSentence], *, partial: bool = True
) -> list[Suspicion]:
    """Compare the annotation of sentences with what a tagger thinks.

    Args:
        model: The tagger.
        sentences: Annotated sentences, with tags in the scheme of the model, at least one token each.
        partial: Whether `?` and `|` in tags mark partial annotation, of which the probabilities of all
            paths that it allows are added.
    """
    table = model.vocabularies.form_table(model.description.vocabulary)
    corpus = encode(sentences, model.vocabularies, table, with_tags=True, partial_tags=partial)
    assert corpus.tags is not None
    result: list[Suspicion | None] = [None] * len(sentences)
    for part, scores, mask in model.score_batches(sentences):
        chain = model.chain
        possible = torch.zeros(scores.shape, dtype=torch.bool)
        for row, number in enumerate(part):
            tags = torch.from_numpy(corpus.tags[number])  # -1 where the model does not have the tag
            annotated = corpus.partial.get(number)
            exact = tags[:, None] == torch.arange(scores.shape[2])  # [T, K]
            possible[row, : len(tags)] = exact if annotated is None else torch.from_numpy(annotated)
        gold = -partial_negative_log_likelihood(scores, chain, possible.to(scores.device), mask)
        path, score = viterbi(scores, chain, mask)
        best = score.double() - log_partition(scores, chain, mask)
        # Where the annotation is the best path, both are the same, and not just up to rounding.
        allowed = possible.to(path.device).gather(2, path[:, :, None])[:, :, 0] | ~mask
        best = torch.where(allowed.all(1), torch.minimum(best, gold), best)
        # Without entity biases, as the best path is the one that the annotation is compared with.
        found = model.decoder.decoded(scores, scores, model.chain, mask, True, 0.0, 0)
        for row, prediction in enumerate(found):
            result[part[row]] = Suspicion(float(gold[row]), min(float(best[row]), 0.0), prediction)
    return [each for each in result if each is not None]
