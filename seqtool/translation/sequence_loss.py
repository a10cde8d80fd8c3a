"""Sequence-level training: a translator learns from rewards of its own outputs, not from reference symbols.

Outputs of each source are sampled from the model (without dropout), their texts are scored against
the reference, and a second pass over all of them (with dropout, as in any training) computes a loss
that moves probability from outputs of low reward to those of high reward. No gradient flows through
the samples. An output that reached the largest length is a sequence without an end of sentence, so
the probabilities of all outputs sum to 1 (apart from padding and start, which are never sampled but
to which the softmax gives a little).

A sample depends on the seed, the update, the pair and its own number, not on the batch, so a resumed
run samples what the uninterrupted one would have sampled.

References: Shen et al. 2016, "Minimum risk training for neural machine translation", section 3;
Rennie et al. 2017, "Self-critical sequence training for image captioning", section 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqtool.decoding.greedy import greedy_search
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.sampling import SamplingOptions, sample
from seqtool.evaluation.text_scores import sentence_bleu, sentence_chrf
from seqtool.nn.losses import LossSum
from seqtool.translation.batches import Batch, EncodedPair, target_tensors
from seqtool.translation.network import Network
from seqtool.translation.search import longest_output
from seqtool.translation.steps import stepper
from seqtool.translation.training_settings import TranslatorTraining
from seqtool.translation.vocabulary import END, START, Vocabularies

Output = tuple[int, ...]  # extended ids; the last is END unless the largest length was reached

REWARDS: dict[str, Callable[[str, str], float]] = {"bleu": sentence_bleu, "chrf": sentence_chrf}
UPDATE = 2**32  # more than the pairs of any data set, so that each pair of each update has its own number


class OwnOutputs(NamedTuple):
    """A model's own outputs for the B sources of a batch."""

    drawn: list[list[Output]]  # M samples of each source, in the order drawn
    greedy: list[Output]  # output of greedy search for each source; empty unless asked for


class SequenceLoss:
    """The expected risk of a batch, where the risk of an output is 1 - reward.

    Args:
        network: The network that is being trained.
        vocabularies: Its vocabularies, which decode outputs: texts are rewarded, not ids.
        settings: Training settings with an objective other than mle.
        seed: Random seed of the samples.
        plain: The loss of the objective mle, which is added with the weight `mle_weight`.
    """

    def __init__(
        self,
        network: Network[Any, Any],
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
        """The loss of a batch, summed over its B sentences.

        Args:
            batch: A batch whose `pairs` have their target texts.

        Returns:
            The sum of each sentence's expected risk, in [0, B], plus `mle_weight` times the
            cross-entropy in nats. The expectation is over the weighted candidates of minimum risk
            training, or the mean over samples.
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
        """Minimum risk over the reference and the distinct samples (Shen et al. 2016, algorithm 1)."""
        candidates = [
            list(dict.fromkeys([tuple(pair.target), *drawn]))
            for pair, drawn in zip(batch.pairs, own.drawn, strict=True)
        ]
        log_p, owners = self._read(batch, candidates)
        rewards = log_p.new_tensor(self._rewards(batch.pairs, candidates))
        return minimum_risk(log_p, rewards, owners, self._settings.sharpness)

    def _self_critical(self, batch: Batch, own: OwnOutputs) -> Tensor:
        """Self-critical training; a sample drawn n times is read once, with n times the weight."""
        counts = [Counter(drawn) for drawn in own.drawn]
        candidates = [list(each) for each in counts]
        log_p, owners = self._read(batch, candidates)
        rewards = log_p.new_tensor(self._rewards(batch.pairs, candidates))
        baselines = log_p.new_tensor(self._rewards(batch.pairs, [[output] for output in own.greedy]))
        shares = log_p.new_tensor([each[output] for each in counts for output in each])
        return self_critical(log_p, rewards, baselines[owners], shares / self._settings.samples)

    def _read(self, batch: Batch, candidates: Sequence[Sequence[Output]]) -> tuple[Tensor, Tensor]:
        """Log probabilities of all N candidates, nats, [N], and the sentence of each, [N]."""
        source = self._network.encode(batch)
        owners = torch.tensor([row for row, each in enumerate(candidates) for _ in each])
        owners = owners.to(batch.source.device)
        outputs = [output for each in candidates for output in each]
        return sequence_log_probabilities(self._network, source.kept(owners), outputs), owners

    def _rewards(self, pairs: Sequence[EncodedPair], candidates: Sequence[Sequence[Output]]) -> list[float]:
        """Rewards of all candidates, in [0, 1], sentence by sentence; equal texts are scored once."""
        score, result = REWARDS[self._settings.reward], []
        for pair, outputs in zip(pairs, candidates, strict=True):
            known: dict[str, float] = {}
            for output in outputs:
                text = self._vocabularies.text(_without_end(output), pair.source.extra)
                if text not in known:
                    known[text] = min(score(text, pair.text) / 100.0, 1.0)  # rounding may exceed 100
                result.append(known[text])
        return result


def minimum_risk(log_p: Tensor, rewards: Tensor, owners: Tensor, sharpness: float) -> Tensor:
    """sum_x sum_{y in S(x)} Q(y | x) (1 - r(y)), Q(y | x) = P(y | x)^a / sum_{y' in S(x)} P(y' | x)^a.

    Args:
        log_p: Log probability of each candidate of all sentences, nats, [N].
        rewards: Reward r of each candidate, in [0, 1], [N].
        owners: Sentence of each candidate, ascending from 0 without gaps, [N].
        sharpness: Exponent a, above 0.

    Returns:
        The summed risk, a scalar. Its gradient flows through Q, and is smaller for a smaller a.

    Reference: Shen et al. 2016, equations 11 and 12.
    """
    # number of candidates of each sentence, [B]
    counts = torch.bincount(owners)
    # place of each candidate among those of its sentence, [N]
    places = torch.arange(len(owners), device=owners.device) - (counts.cumsum(0) - counts)[owners]
    # a log P by sentence (row) and place (column), [B, most candidates]; -inf where there is none
    table = log_p.new_full((len(counts), int(counts.max())), -torch.inf)
    table = table.index_put((owners, places), sharpness * log_p)
    return (table.softmax(1)[owners, places] * (1.0 - rewards)).sum()


def self_critical(log_p: Tensor, rewards: Tensor, baselines: Tensor, shares: Tensor) -> Tensor:
    """Expected risk, estimated from samples, with the gradient of -sum (r(y) - r(greedy)) log P(y | x).

    Samples that are better than the output of greedy search become more probable, the others less. The
    value of that sum means nothing by itself, so the value returned is the samples' mean of 1 - r; only
    the gradient is that of the sum.

    Args:
        log_p: Log probability of each sample of all sentences, nats, [N].
        rewards: Reward of each sample, in [0, 1], [N].
        baselines: Reward of the greedy output of its sentence, in [0, 1], [N].
        shares: Weight of each sample; those of a sentence sum to 1, [N].

    Returns:
        The summed risk, a scalar.

    Reference: Rennie et al. 2017, equation 9.
    """
    surrogate = -(shares * (rewards - baselines) * log_p).sum()
    return (shares * (1.0 - rewards)).sum() + (surrogate - surrogate.detach())


def sequence_log_probabilities(network: Network[Any, Any], source: Any, outputs: Sequence[Output]) -> Tensor:
    """Log probability of one output of each source, in one differentiable pass.

    Args:
        network: The network, in training or evaluation mode.
        source: N encoded sources.
        outputs: An output of each of them.

    Returns:
        Log probabilities, nats, including that of END where an output has one, [N].
    """
    # [N, T] each
    inputs, target, real = (each.to(source.symbols.device) for each in target_tensors(outputs))
    readout = network.read(source, inputs)
    return network.log_probabilities_of(readout, source, target, real).sum(1)


@torch.no_grad()
def own_outputs(
    network: Network[Any, Any], batch: Batch, *, samples: int, max_length: int, seed: int, greedy: bool
) -> OwnOutputs:
    """Sample outputs from the network, without dropout.

    Args:
        network: The network; it is left in the mode, training or evaluation, that it was in.
        batch: A batch, of which only the sources are read.
        samples: M, number of samples of each source, at least 1.
        max_length: Largest number of symbols of an output, its end included; 0 = twice the source's, plus 5.
        seed: Random seed of the samples.
        greedy: Whether to run greedy search as well.
    """
    device = batch.source.device
    limits = torch.tensor([max_length or longest_output(pair.source) for pair in batch.pairs], device=device)
    numbers = torch.tensor([batch.step * UPDATE + pair.number for pair in batch.pairs], device=device)
    extra = max(len(pair.source.extra) for pair in batch.pairs)
    with _without_dropout(network):
        source, step_over = network.encode(batch), stepper(network)
        step = step_over(source, extra)
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
            step = step_over(source, extra)
            best = greedy_search(step, step.initial(), start=START, end=END, max_lengths=limits)
    return OwnOutputs([[_output(each) for each in row] for row in drawn], [_output(each) for each in best])


@contextmanager
def _without_dropout(network: Network[Any, Any]) -> Iterator[None]:
    """Put the network into evaluation mode for a while."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
        # Autocast caches converted weights; in torch 2.10, those converted without gradients never get any.
        torch.clear_autocast_cache()


def _output(found: Hypothesis) -> Output:
    return (*found.tokens, END) if found.finished else tuple(found.tokens)


def _without_end(output: Output) -> Output:
    return output[:-1] if output[-1:] == (END,) else output
