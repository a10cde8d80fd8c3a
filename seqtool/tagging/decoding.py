"""From emission scores to tags: the best paths, exact confidences, alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seqtool.nn.crf import k_best, marginals, segment_probability, viterbi
from seqtool.nn.forward_backward import Chain
from seqtool.tagging.vocabulary import entity_begins, output_tags
from seqtool.text import tag_scheme
from seqtool.text.tag_scheme import Scheme, Span


@dataclass(frozen=True)
class Prediction:
    """The tags of one sentence; its confidences are None unless they were asked for."""

    tags: list[str]  # one per token, in the scheme of the training files
    spans: list[Span]  # empty for a tagger without spans
    span_confidence: list[float] | None = None  # posterior probability of each span, in [0, 1]
    token_confidence: list[float] | None = None  # marginal probability of each token's tag, in [0, 1]
    alternatives: list[tuple[list[str], float]] | None = None  # k best paths: tags, posterior of the path


class TagDecoder:
    """Finds tags from emission scores.

    Args:
        tags: The K tag names of the model in the order of their ids.
        model_scheme: Their scheme; None without spans.
        scheme: Scheme of the tags that are returned, that of the training files.
        device: Device of the scores.
    """

    def __init__(
        self, tags: Sequence[str], model_scheme: Scheme | None, scheme: Scheme | None, device: torch.device
    ) -> None:
        self._tags, self._model_scheme, self._scheme = tuple(tags), model_scheme, scheme
        self._output_tags = output_tags(self._tags, model_scheme, scheme)
        # The entity types, and 1 at the tags (columns) that can begin each type (row), [types, K].
        self.types, begins = entity_begins(self._tags, model_scheme)
        self.begins = begins.to(device)

    @torch.inference_mode()
    def decoded(
        self,
        scores: Tensor,
        biased: Tensor,
        chain: Chain,
        mask: Tensor,
        confidence: bool,
        least: float,
        kbest: int,
    ) -> list[Prediction]:
        """Predictions for B sentences.

        Args:
            scores: Emission scores, nats, [B, T, K].
            biased: The same with entity biases, by which paths are ranked.
            chain: Transition, start and end scores of the CRF.
            mask: True at real tokens, [B, T].
            confidence: Whether to compute the exact confidences of spans and tokens.
            least: Least confidence of a span, in [0, 1]; those below it are removed.
            kbest: Number of alternative tag paths; 0 = none.
        """
        # [B, T]
        paths, _ = viterbi(biased, chain, mask)
        lengths = mask.sum(1).tolist()
        rows = [row[:length] for row, length in zip(paths.tolist(), lengths, strict=True)]
        predictions = [self._named(row) for row in rows]
        if confidence or least > 0:
            predictions = self._with_confidence(scores, chain, mask, paths, predictions, least)
        if kbest:
            ranked = self._ranked(scores, biased, chain, mask, lengths, kbest)
            predictions = [replace(p, alternatives=r) for p, r in zip(predictions, ranked, strict=True)]
        return predictions

    def _named(self, ids: Sequence[int]) -> Prediction:
        """The tags of a path in the scheme of the training files, and its spans."""
        names = self._tags
        model_scheme = self._model_scheme
        if model_scheme is None or self._scheme is None:
            return Prediction([names[i] for i in ids], [])
        own = [names[i] for i in ids]
        found = tag_scheme.spans(own, model_scheme)
        if self._output_tags is None:
            return Prediction(tag_scheme.convert(own, model_scheme, self._scheme), found)
        return Prediction([self._output_tags[i] for i in ids], found)

    def _with_confidence(
        self,
        scores: Tensor,
        chain: Chain,
        mask: Tensor,
        paths: Tensor,
        predictions: list[Prediction],
        least: float,
    ) -> list[Prediction]:
        """The predictions with their confidences, without the spans whose confidence is below `least`.

        Args:
            scores: Emission scores of B sentences, nats, [B, T, K].
            chain: Transition, start and end scores of the CRF.
            mask: True at real tokens, [B, T].
            paths: Tag ids of the best paths, [B, T].
            predictions: The tags and spans of these paths.
            least: Least confidence of a span, in [0, 1].
        """
        posterior = marginals(scores, chain, mask)
        tags = self._tags
        # The marginal of O, [B, T]: the confidence of tokens whose span is removed. Not read without spans.
        outside = posterior.unary[:, :, tags.index("O") if "O" in tags else 0].tolist()
        # The marginal of the tag on the best path, [B, T].
        tokens = posterior.unary.gather(2, paths[:, :, None])[:, :, 0].tolist()
        segments = [(b, s.start, s.end) for b, p in enumerate(predictions) for s in p.spans]
        values: list[float] = []
        if segments:
            # [spans, 3]: sentence, first token, token after the last
            where = torch.tensor(segments, device=scores.device)
            # In the model's scheme the last tag of a span says that it ends, so any tag may follow: [K, K].
            stop = torch.ones_like(chain.transitions, dtype=torch.bool)
            values = segment_probability(scores, chain, mask, posterior, paths, where, stop).tolist()
        result, used = [], 0
        for prediction, row, taken_back in zip(predictions, tokens, outside, strict=True):
            of_spans = values[used : (used := used + len(prediction.spans))]
            sure = Prediction(prediction.tags, prediction.spans, of_spans, row[: len(prediction.tags)])
            result.append(self._without_doubtful(sure, least, taken_back))
        return result

    def _ranked(
        self, scores: Tensor, biased: Tensor, chain: Chain, mask: Tensor, lengths: list[int], k: int
    ) -> list[list[tuple[list[str], float]]]:
        """The tags of the k best paths, ranked with the entity biases, and their posteriors without them."""
        # paths [B, k, T], their scores [B, k]
        paths, ranks = k_best(biased, chain, mask, k)
        # [B, k, T], the bias of each tag on a path
        gained = (biased - scores).double()[:, None].expand(-1, k, -1, -1).gather(3, paths[..., None])[..., 0]
        # [B, k]
        log_p = ranks - gained.masked_fill(~mask[:, None], 0.0).sum(2)
        log_p -= marginals(scores, chain, mask).log_partition[:, None]
        weights = log_p.exp().clamp(max=1.0).tolist()
        return [
            [
                (self._named(row[:length]).tags, p)
                for row, p in zip(*found, strict=True)
                if p or row is found[0][0]
            ]
            for length, *found in zip(lengths, paths.tolist(), weights, strict=True)
        ]

    def _without_doubtful(self, prediction: Prediction, least: float, outside: Sequence[float]) -> Prediction:
        """The prediction without spans of a confidence below `least`; `outside` is that of O, per token."""
        assert prediction.span_confidence is not None and prediction.token_confidence is not None
        pairs = zip(prediction.spans, prediction.span_confidence, strict=True)
        kept = [(span, value) for span, value in pairs if value >= least]
        if self._scheme is None or len(kept) == len(prediction.spans):
            return prediction
        spans, values = [span for span, _ in kept], [value for _, value in kept]
        tags = tag_scheme.from_spans(spans, len(prediction.tags), self._scheme)
        by_token = zip(tags, prediction.token_confidence, outside, strict=False)
        tokens = [of_outside if tag == "O" else value for tag, value, of_outside in by_token]
        return Prediction(tags, spans, values, tokens)
