"""A translator as a `decoding` step, and the searches over it.

Everything that search repeats is computed once: target embeddings are gathered already
multiplied into the gates, and the source stays [B, S, ...] whatever the beam.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from seqtool.decoding.beam import beam_search
from seqtool.decoding.constraints import BlockedNgrams, Constraint, ForcedPrefix, MinimumLength
from seqtool.decoding.ensemble import EnsembleStep
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.sampling import sample
from seqtool.decoding.step import State, StepResult
from seqtool.nn.deferred import DeferredLinear, Linear, Linears, at_least_float32
from seqtool.nn.pointer import copy_slots, merge_copies
from seqtool.nn.quantized import Int8Linear, Int8Linears
from seqtool.translation.decoders import StepOutput, by_sentence
from seqtool.translation.encoding import LENGTH_SLACK, UNKNOWN_RATIO
from seqtool.translation.model import Readout, Source, Translator
from seqtool.translation.options import SearchOptions
from seqtool.translation.vocabularies import END, PADDING, START, EncodedSource, Vocabularies

NEVER = [PADDING, START]  # no output has them, though the softmax leaves them a little


class SearchTask(NamedTuple):
    """One sentence to be translated."""

    source: EncodedSource
    number: int  # what is drawn for it depends on this, not on its place in a batch
    prefix: str = ""  # what the translation begins with
    phrases: Sequence[str] = ()  # what it contains


class Tables(NamedTuple):
    """What depends on the model alone, made once."""

    projected: Tensor  # [V, P], embeddings through the input half of the gates
    share: Tensor  # [V, ...], embeddings through what readout and gate take of them
    scores: Linear | None  # [..., R] to [..., V], the output projection; None in a pointer network
    linear: Linears  # of the products inside a step

    @classmethod
    @torch.no_grad()
    def of(cls, model: Translator, *, int8: bool = False) -> Tables:
        """Of a model's present weights; `int8`: products of decoder and projection in 8-bit integers."""
        embeddings = model.target.weight.detach()
        projected = model.decoder.project(embeddings[None])[0]
        scores: Linear | None = None
        if model.projection is not None:
            weight, bias = (each.detach() for each in model.writing())
            scores = (
                Int8Linear(weight, bias) if int8 else partial(functional.linear, weight=weight, bias=bias)
            )
        linear = Int8Linears() if int8 else DeferredLinear
        share = at_least_float32(model.share(embeddings))
        return cls(at_least_float32(projected), share, scores, linear)


class TranslatorStep:
    """Follows `decoding.step.Step` for some encoded sources.

    Args:
        model: In evaluation mode.
        tables: Of its weights.
        source: Encoded sources.
        extra: The most symbols that one of them adds to the target vocabulary.
    """

    def __init__(self, model: Translator, tables: Tables, source: Source, extra: int) -> None:
        self.model, self.tables, self.extra = model, tables, extra
        self._read(source)

    def initial(self) -> State:
        """The state before the first step, one row a sentence."""
        return self.model.decoder.initial(self.source.start, self.source.memory.mask.shape[1])

    def keep(self, sentences: Tensor) -> None:
        """Go on with some of the sentences only."""
        self._read(self.source.kept(sentences))

    def __call__(self, last: Tensor, state: State) -> StepResult:
        """[N] ids and a state to scores [N, V + extra]."""
        ids = self.model.known(last)
        output, state = self._advance(self.tables.projected[ids], state)
        sentences = len(self.source.start)
        grouped = StepOutput(*(by_sentence(each, sentences) for each in output))
        share = by_sentence(self.tables.share[ids], sentences)
        readout = self.model.finish(grouped, share, self.source.memory, self.tables.linear)
        scores, normaliser = self._scores(readout)
        scores[..., NEVER] = -torch.inf
        return StepResult(scores.flatten(0, 1), normaliser.flatten(), state, readout.weights.flatten(0, 1))

    def _read(self, source: Source) -> None:
        self.source = source
        self._advance = self.model.decoder.stepper(source.memory, self.tables.linear)
        self._slots = copy_slots(source.symbols)

    def _scores(self, readout: Readout) -> tuple[Tensor, Tensor]:
        """Raw scores [B, K, V + extra] and what normalises them [B, K]."""
        model = self.model
        if self.tables.scores is None:
            scores = model.log_probabilities(readout, self.source, self.extra)
            return scores, scores.new_zeros(scores.shape[:2])
        # One fused pass: a `logsumexp` alone takes several times as long.
        scores = at_least_float32(self.tables.scores(readout.features)).log_softmax(2)
        if model.gate is None:
            return scores, scores.new_zeros(scores.shape[:2])
        gate = model.gate_of(readout, self.source)
        # log g p = log p + log g: the gate goes into what is subtracted.
        normaliser = -functional.logsigmoid(gate)
        leave = functional.logsigmoid(-gate) + normaliser
        scores = functional.pad(scores, (0, self.extra), value=-torch.inf)
        return merge_copies(scores, readout.weights, self._slots, leave), normaliser


def longest_output(source: EncodedSource, ratio: float = UNKNOWN_RATIO) -> int:
    """Symbols of an output at most, its end included, unless somebody says otherwise.

    The tighter it is, the sooner a search knows that nothing alive can win any more: hypotheses
    are divided by their length, so what may become long may still become good.

    Args:
        source: Of the sentence.
        ratio: Of the training data, see `translation.encoding.length_ratio`.
    """
    return int(ratio * len(source.ids)) + LENGTH_SLACK


def run_search(
    steps: Sequence[TranslatorStep],
    tasks: Sequence[SearchTask],
    options: SearchOptions,
    vocabularies: Vocabularies,
    device: torch.device,
    length_ratio: float = UNKNOWN_RATIO,
) -> list[list[Hypothesis]]:
    """Search or draw, as the options say.

    Args:
        steps: Of the models whose probabilities are averaged; each of the tasks' sources.
        tasks: Sentences.
        options: How.
        vocabularies: Of the models.
        device: Where the steps compute.
        length_ratio: Of `longest_output`, where the options have no largest length. Neither limit
            cuts a prefix: an output has room for it and the end.
    """
    prefixes = [_ids(task.prefix, task, vocabularies) for task in tasks]
    limits = [
        max(options.max_length or longest_output(task.source, length_ratio), len(prefix) + 1)
        for task, prefix in zip(tasks, prefixes, strict=True)
    ]
    step: TranslatorStep | EnsembleStep = steps[0]
    state = steps[0].initial()
    if len(steps) > 1:
        step = EnsembleStep(steps)
        state = step.joined([each.initial() for each in steps])
    mask = steps[0].source.memory.mask
    max_lengths = torch.tensor(limits, device=device)
    if options.draws:
        return sample(
            step,
            state,
            start=START,
            end=END,
            max_lengths=max_lengths,
            sentence_ids=torch.tensor([task.number for task in tasks], device=device),
            samples_each=options.mbr or options.nbest,
            options=options.sampling_options(),
            source_mask=mask,
        )
    return beam_search(
        step,
        state,
        start=START,
        end=END,
        max_lengths=max_lengths,
        options=options.beam_options(),
        source_mask=mask,
        constraints=_constraints(tasks, prefixes, options, vocabularies),
        phrases=_phrases(tasks, vocabularies),
    )


def _constraints(
    tasks: Sequence[SearchTask],
    prefixes: Sequence[Sequence[int]],
    options: SearchOptions,
    vocabularies: Vocabularies,
) -> list[Constraint]:
    result: list[Constraint] = []
    if options.no_repeat_ngram:
        spelling = vocabularies.spelling([task.source.extra for task in tasks])
        result.append(BlockedNgrams(options.no_repeat_ngram, spelling))
    if any(prefixes):
        result.append(ForcedPrefix(prefixes))
    if options.min_length:
        result.append(MinimumLength(options.min_length))
    return result


def _phrases(tasks: Sequence[SearchTask], vocabularies: Vocabularies) -> list[list[list[int]]] | None:
    if not any(task.phrases for task in tasks):
        return None
    return [[_ids(phrase, task, vocabularies) for phrase in task.phrases] for task in tasks]


def _ids(text: str, task: SearchTask, vocabularies: Vocabularies) -> list[int]:
    return vocabularies.encode_target(text, task.source.extra)[:-1] if text else []
