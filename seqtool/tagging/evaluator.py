"""The scores of a tagger on the development part, with the entity biases that suit it best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from seqtool.errors import SettingsError, nearest
from seqtool.nn.crf import negative_log_likelihood, viterbi
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.scores import accuracy, span_scores
from seqtool.text.columns import TaggedSentence

BIASES = tuple(step / 2 for step in range(11))  # nats; entity_bias = "auto" tries these for all types at once
MOVES = (-1.5, -1.0, -0.5, 0.5, 1.0, 1.5)  # nats; then it tries to change the bias of each type by these
BIAS = "entity_bias."  # prefix of the metrics that record the biases


class Evaluator:
    """Scores the network on the development part, for the training loop.

    With `entity_bias = "auto"` the same emission scores are decoded under several biases, first one
    bias for all types, then changes of each type's own, and the best F1 is reported. Maximising F1
    needs a decision threshold of half the F1 that is reached, not one half (Lipton, Elkan and
    Naryanaswamy 2014, section 4), so where F1 is low the most probable path contains too few
    entities; and where types are more or less frequent than in training, the prior of each needs a
    correction of its own (Saerens, Latinne and Decaestecker 2002).

    Args:
        model: The model whose network is being trained.
        sentences: The development part, with tags in the scheme of the model.
        bias: Entity bias, nats: one number, one per type, or "auto".
        partial_gold: Whether `?` and `|` in gold tags mark partial annotation.

    Raises:
        SettingsError: a bias for a type that the model does not have.
    """

    def __init__(
        self,
        model: TaggerModel,
        sentences: Sequence[TaggedSentence],
        bias: float | Mapping[str, float] | Literal["auto"],
        *,
        partial_gold: bool = True,
    ) -> None:
        self._model = model
        self._partial_gold = partial_gold
        self._sentences = list(sentences)
        self._gold = [list(sentence.tags or ()) for sentence in sentences]
        known = {tag: number for number, tag in enumerate(model.vocabularies.tags.symbols)}
        self._ids = [[known.get(tag, -1) for tag in tags] for tags in self._gold]
        self._fixed = None if bias == "auto" else _by_type(bias, model.types)
        self._readings = model.readings(self._sentences, keep=True)

    def __call__(self) -> dict[str, float]:
        """Loss (nats per token), precision, recall, F1 of spans, accuracy, and the entity biases used."""
        self._model.forget()
        batches = list(self._model.score_batches(self._sentences, readings=self._readings))
        return {**self._loss(batches), **self._decoded(batches)}

    def _loss(self, batches: Sequence[Any]) -> dict[str, float]:
        """Nats per token, without biases; sentences with a tag that the model cannot predict are left out."""
        total, tokens, chain = 0.0, 0, self._model.chain
        for part, scores, mask in batches:
            # [B, T]
            gold = torch.full(mask.shape, -1)
            for row, position in enumerate(part):
                gold[row, : len(self._ids[position])] = torch.tensor(self._ids[position])
            gold = gold.to(mask.device)
            # [B], True at sentences whose tags are all in the model's inventory
            known = ((gold >= 0) | ~mask).all(1)
            # [B], nats
            losses = negative_log_likelihood(scores, chain, gold.clamp(min=0), mask)
            known &= losses.isfinite()
            total += float(losses[known].sum().detach())
            tokens += int(mask[known].sum())
        return {"loss": total / tokens} if tokens else {}

    def _decoded(self, batches: Sequence[Any]) -> dict[str, float]:
        """Metrics of the decoded tags under the fixed biases, or under the best ones found."""
        if self._fixed is not None:
            return self._metrics(batches, self._fixed)
        types = self._model.types
        best = self._best(batches, [dict.fromkeys(types, bias) for bias in BIASES[: None if types else 1]])
        for kind in types if len(types) > 1 else ():
            present = biases_of(best)
            best = self._best(batches, [{**present, kind: present[kind] + move} for move in MOVES], best)
        return best

    def _best(
        self,
        batches: Sequence[Any],
        candidates: Sequence[dict[str, float]],
        best: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """The best metrics under any of the candidate biases, or `best` if none is better."""
        metric = "f1" if self._model.scheme else "accuracy"
        for biases in candidates:
            found = self._metrics(batches, biases)
            if best is None or found[metric] > best[metric]:
                best = found
        assert best is not None
        return best

    def _metrics(self, batches: Sequence[Any], biases: Mapping[str, float]) -> dict[str, float]:
        """Metrics of the tags decoded under the given biases, with the biases themselves."""
        names = self._model.vocabularies.tags.symbols
        chain = self._model.chain
        predicted: list[list[str]] = [[]] * len(self._sentences)
        for part, scores, mask in batches:
            paths = viterbi(self._model.biased(scores, biases), chain, mask)[0].tolist()
            for position, path in zip(part, paths, strict=True):
                predicted[position] = [names[i] for i in path[: len(self._gold[position])]]
        correct = accuracy(self._gold, predicted, partial_gold=self._partial_gold).value
        scheme = self._model.description.model_scheme
        if scheme is None:
            return {"accuracy": correct}
        scores_by_name = span_scores(self._gold, predicted, scheme)
        metrics = {name: score.value for name, score in scores_by_name.items()}
        details = {BIAS + kind: bias for kind, bias in biases.items()}
        return {**metrics, "accuracy": correct, **details}


def biases_of(metrics: Mapping[str, float]) -> dict[str, float]:
    """The entity bias of each type, nats, under which these metrics were reached."""
    return {name.removeprefix(BIAS): value for name, value in metrics.items() if name.startswith(BIAS)}


def _by_type(bias: float | Mapping[str, float], types: Sequence[str]) -> dict[str, float]:
    """The entity bias of each type, nats."""
    if not isinstance(bias, Mapping):
        return dict.fromkeys(types, float(bias))
    for kind in bias:
        if kind not in types:
            raise SettingsError(
                f"decoding.entity_bias.{kind}: no such entity type; there are {', '.join(types)}"
                f"{nearest(kind, types)}"
            )
    return {kind: bias.get(kind, 0.0) for kind in types}
