"""Training on what the translator's own outputs are worth, rather than on each next symbol of a reference.

Outputs of each source are drawn from the model as it is (without dropout), their texts are rewarded
against the reference, and the model then reads all of them in one pass (with dropout, as in any
training), so that probability moves from the bad ones to the good ones. No gradient goes
through the draws. An output that was cut at the largest length counts as what it is, a sequence
without an end: so the probabilities of all outputs sum to 1 (but for padding and start, which are
never drawn and which the softmax leaves a little).

A draw depends on the seed, the update, the pair and the number of the sample, not on the batch:
a resumed run draws what the uninterrupted one would have drawn.

References: Shen et al. 2016, "Minimum risk training for neural machine translation", section 3;
Rennie et al. 2017, "Self-critical sequence training for image captioning", section 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from seqtool.decoding.greedy import greedy_search
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.sampling import SamplingOptions, sample
from seqtool.evaluation.text_scores import sentence_bleu, sentence_chrf
from seqtool.nn.losses import LossSum
from seqtool.translation.batches import Batch, EncodedPair, target_tensors
from seqtool.translation.model import Source, Translator
from seqtool.translation.search import Tables, TranslatorStep, longest_output
from seqtool.translation.settings import TranslatorTraining
from seqtool.translation.vocabulary import END, START, Vocabularies

Output = tuple[int, ...]  # extended ids; END is the last of them unless it was cut at the largest length

REWARDS: dict[str, Callable[[str, str], float]] = {"bleu": sentence_bleu, "chrf": sentence_chrf}
UPDATE = 2**32  # more pairs than anybody has, so that each pair of each update has a number of its own


class OwnOutputs(NamedTuple):
    """What a model says of the sources of a batch, by itself."""

    drawn: list[list[Output]]  # [B][M], in the order drawn
    greedy: list[Output]  # [B]; none unless asked for


class SequenceLoss:
    """The expected risk of a batch, 1 - reward, by the objective that the settings name.

    Args:
        network: Being trained.
        vocabularies: Of the network: a reward is that of a text, not of its pieces.
        settings: With an objective other than mle.
        seed: Of the draws.
        plain: The loss of mle, that `mle_weight` mixes in.
    """

    def __init__(
        self,
        network: Translator,
        vocabularies: Vocabularies,
        settings: TranslatorTraining,
        *,
        seed: int,
        plain: Callable[[Batch], LossSum],
    ) -> None:
        assert settings.objective != "mle", settings.objective
        self._network, self._vocabularies = network, vocabularies
        self._settings, self._seed, self._plain = settings, seed, plain

    def __call__(self, batch: Batch) -> LossSum:
        """Summed over the sentences.

        Args:
            batch: Made of pairs that know their texts.

        Returns:
            The sum of 1 - reward, expected of each sentence, in [0, B]: over the candidates as MRT
            weighs them, or the mean of the samples; plus `mle_weight` times nats.
        """
        wants_greedy = self._settings.objective == "self_critical"
        own = own_outputs(
            self._network,
            batch,
            samples=self._settings.samples,
            max_length=self._settings.sample_length,
            seed=self._seed,
            greedy=wants_greedy,
        )
        total = self._self_critical(batch, own) if wants_greedy else self._minimum_risk(batch, own)
        if self._settings.mle_weight:
            total = total + self._settings.mle_weight * self._plain(batch).total
        return LossSum(total, len(batch.pairs), "sentence")

    def _minimum_risk(self, batch: Batch, own: OwnOutputs) -> Tensor:
        """The candidates are the reference and the samples, each once (Shen et al. 2016, algorithm 1)."""
        candidates = [
            list(dict.fromkeys([tuple(pair.target), *drawn]))
            for pair, drawn in zip(batch.pairs, own.drawn, strict=True)
        ]
        log_p, owners = self._read(batch, candidates)
        rewards = log_p.new_tensor(self._rewards(batch.pairs, candidates))
        return minimum_risk(log_p, rewards, owners, self._settings.sharpness)

    def _self_critical(self, batch: Batch, own: OwnOutputs) -> Tensor:
        counts = [Counter(drawn) for drawn in own.drawn]
        candidates = [list(each) for each in counts]
        log_p, owners = self._read(batch, candidates)
        rewards = log_p.new_tensor(self._rewards(batch.pairs, candidates))
        baselines = log_p.new_tensor(self._rewards(batch.pairs, [[output] for output in own.greedy]))
        shares = log_p.new_tensor([each[output] for each in counts for output in each])
        return self_critical(log_p, rewards, baselines[owners], shares / self._settings.samples)

    def _read(self, batch: Batch, candidates: Sequence[Sequence[Output]]) -> tuple[Tensor, Tensor]:
        """Log probabilities of the candidates [N], and the sentence that each belongs to [N]."""
        source = self._network.encode(batch.source, batch.symbols)
        owners = torch.tensor([row for row, each in enumerate(candidates) for _ in each])
        owners = owners.to(batch.source.device)
        outputs = [output for each in candidates for output in each]
        return sequence_log_probabilities(self._network, source.kept(owners), outputs), owners

    def _rewards(self, pairs: Sequence[EncodedPair], candidates: Sequence[Sequence[Output]]) -> list[float]:
        """In [0, 1], one after the other; equal texts are scored once."""
        score, result = REWARDS[self._settings.reward], []
        for pair, outputs in zip(pairs, candidates, strict=True):
            known: dict[str, float] = {}
            for output in outputs:
                text = self._vocabularies.text(_without_end(output), pair.source.extra)
                if text not in known:
                    known[text] = min(score(text, pair.text) / 100.0, 1.0)  # rounding may pass 100
                result.append(known[text])
        return result


def minimum_risk(log_p: Tensor, rewards: Tensor, owners: Tensor, sharpness: float) -> Tensor:
    """sum_x sum_{y in S(x)} Q(y | x) (1 - r(y)), Q(y | x) = P(y | x)^a / sum_{y' in S(x)} P(y' | x)^a.

    Args:
        log_p: log P of the candidates of all sentences, nats, [N].
        rewards: r, in [0, 1], [N].
        owners: The sentence of each, rising from 0, none left out, [N].
        sharpness: a, above 0.

    Returns:
        Scalar. Its gradient goes through Q, and is the smaller the smaller a is.

    Reference: Shen et al. 2016, equations 11 and 12.
    """
    counts = torch.bincount(owners)
    places = torch.arange(len(owners), device=owners.device) - (counts.cumsum(0) - counts)[owners]
    table = log_p.new_full((len(counts), int(counts.max())), -torch.inf)
    table = table.index_put((owners, places), sharpness * log_p)
    return (table.softmax(1)[owners, places] * (1.0 - rewards)).sum()


def self_critical(log_p: Tensor, rewards: Tensor, baselines: Tensor, shares: Tensor) -> Tensor:
    """Expected risk by samples, with the gradient of -sum (r(y) - r(greedy)) log P(y | x).

    Samples that are better than greedy search become likelier, the others less likely. That sum says
    nothing by itself, so the value is the samples' mean of 1 - r; the gradient alone is the sum's.

    Args:
        log_p: Of the samples of all sentences, nats, [N].
        rewards: Of the samples, in [0, 1], [N].
        baselines: Of the greedy outputs of their sentences, in [0, 1], [N].
        shares: Of a sample among those of its sentence, which sum to 1, [N].

    Returns:
        Scalar.

    Reference: Rennie et al. 2017, equation 9.
    """
    surrogate = -(shares * (rewards - baselines) * log_p).sum()
    return (shares * (1.0 - rewards)).sum() + (surrogate - surrogate.detach())


def sequence_log_probabilities(network: Translator, source: Source, outputs: Sequence[Output]) -> Tensor:
    """Log probability of an output of each source, in one pass that can be differentiated.

    Args:
        network: In training mode or not.
        source: Encoded, N rows.
        outputs: N.

    Returns:
        Nats, of the end too where an output has one, [N].
    """
    inputs, target, real = (each.to(source.symbols.device) for each in target_tensors(outputs))
    readout = network.read(source, inputs)
    return network.log_probabilities_of(readout, source, target, real).sum(1)


@torch.no_grad()
def own_outputs(
    network: Translator, batch: Batch, *, samples: int, max_length: int, seed: int, greedy: bool
) -> OwnOutputs:
    """Outputs drawn from the network, without dropout.

    Args:
        network: Left in the mode that it was in.
        batch: Sources; references are not looked at.
        samples: M, at least 1.
        max_length: Symbols of an output, its end included; 0 = as of a search.
        seed: Of the draws.
        greedy: Whether to search greedily too.
    """
    device = batch.source.device
    limits = torch.tensor([max_length or longest_output(pair.source) for pair in batch.pairs], device=device)
    numbers = torch.tensor([batch.step * UPDATE + pair.number for pair in batch.pairs], device=device)
    extra = max(len(pair.source.extra) for pair in batch.pairs)
    with _without_dropout(network):
        source, tables = network.encode(batch.source, batch.symbols), Tables.of(network)
        step = TranslatorStep(network, tables, source, extra)
        drawn = sample(
            step,
            step.initial(),
            start=START,
            end=END,
            max_lengths=limits,
            sentence_ids=numbers,
            samples_each=samples,
            options=SamplingOptions(seed=seed),
        )
        best: list[Hypothesis] = []
        if greedy:
            step = TranslatorStep(network, tables, source, extra)
            best = greedy_search(step, step.initial(), start=START, end=END, max_lengths=limits)
    return OwnOutputs([[_output(each) for each in row] for row in drawn], [_output(each) for each in best])


@contextmanager
def _without_dropout(network: Translator) -> Iterator[None]:
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
        # Autocast keeps converted weights; in torch 2.10, one converted without gradients never has any.
        torch.clear_autocast_cache()


def _output(found: Hypothesis) -> Output:
    return (*found.tokens, END) if found.finished else tuple(found.tokens)


def _without_end(output: Output) -> Output:
    return output[:-1] if output[-1:] == (END,) else output
