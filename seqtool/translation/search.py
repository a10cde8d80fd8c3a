"""A translator as a `decoding` step, and the searches over it.

Everything that search repeats is computed once: target embeddings are gathered already
multiplied into the gates, and the source stays [B, S, ...] whatever the beam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from seqtool.decoding.beam import BeamOptions, beam_search
from seqtool.decoding.constraints import BlockedNgrams, Constraint, ForcedPrefix, MinimumLength
from seqtool.decoding.ensemble import EnsembleStep
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.penalties import LengthPenalty
from seqtool.decoding.sampling import SamplingOptions, sample
from seqtool.decoding.step import State, StepResult
from seqtool.errors import UsageError
from seqtool.nn.deferred import DeferredLinear, Linear, Linears, at_least_float32
from seqtool.nn.pointer import copy_slots, merge_copies
from seqtool.nn.quantized import Int8Linear, Int8Linears
from seqtool.translation.batches import LENGTH_SLACK, UNKNOWN_RATIO
from seqtool.translation.decoders import StepOutput
from seqtool.translation.layers import by_sentence
from seqtool.translation.model import Readout, Source, Translator
from seqtool.translation.settings import DecodingSettings
from seqtool.translation.vocabulary import END, NEVER, START, EncodedSource, Vocabularies


@dataclass(frozen=True)
class SearchOptions:
    """How to search, or to draw.

    Args:
        beam: Hypotheses a sentence; 1 = greedy.
        beam_penalty: What scores are divided by (`decoding.penalties`).
        length_penalty: Its exponent.
        coverage_penalty: Weight of what is left out of the source.
        no_repeat_ngram: No n-gram of words twice in an output; 0 = off.
        nbest: How many translations a sentence, at most the beam.
        min_length: Symbols of an output at least.
        max_length: At most; 0 = as the training data had for such a source (`longest_output`).
        diverse: Groups of diverse beam search, a divisor of the beam; 1 = plain.
        sample: Draw `nbest` translations instead of searching.
        mbr: Draw so many and take the one that is most like the others (chrF); 0 = off.
        temperature: Of drawing; 0 = always the likeliest symbol.
        top_k: Draw from so many symbols only; 0 = all.
        top_p: Draw from the fewest symbols with this probability together.
        seed: Of drawing.

    Raises:
        UsageError: something is out of its range.
    """

    beam: int = 5
    beam_penalty: LengthPenalty = "average"
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    no_repeat_ngram: int = 0
    nbest: int = 1
    min_length: int = 0
    max_length: int = 0
    diverse: int = 1
    sample: bool = False
    mbr: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("no_repeat_ngram", "min_length", "max_length", "mbr"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} {getattr(self, name)}: 0 or more is allowed")
        if self.mbr == 1:
            raise UsageError("mbr 1: 0 (off), or 2 or more samples")
        if self.nbest < 1:
            raise UsageError(f"nbest {self.nbest}: 1 or more is allowed")
        if 0 < self.max_length < self.min_length:
            raise UsageError(f"max_length {self.max_length} is less than min_length {self.min_length}")
        self.sampling_options()
        if not self.draws:
            self.beam_options()
        elif self.no_repeat_ngram or self.min_length:
            raise UsageError("no_repeat_ngram and min_length are for searching, not for drawing")

    @classmethod
    def of(cls, decoding: DecodingSettings) -> SearchOptions:
        """What a recipe says."""
        return cls(
            beam=decoding.beam,
            beam_penalty=decoding.beam_penalty,
            length_penalty=decoding.length_penalty,
            coverage_penalty=decoding.coverage_penalty,
            no_repeat_ngram=decoding.no_repeat_ngram,
        )

    @property
    def draws(self) -> bool:
        """Whether translations are drawn."""
        return self.sample or self.mbr > 0

    @property
    def rows(self) -> int:
        """Hypotheses of a sentence that are worked on at a time."""
        return (self.mbr or self.nbest) if self.draws else self.beam

    def beam_options(self) -> BeamOptions:
        """For a beam search."""
        return BeamOptions(
            beam=self.beam,
            nbest=self.nbest,
            length_penalty=self.beam_penalty,
            alpha=self.length_penalty,
            coverage_penalty=self.coverage_penalty,
            groups=self.diverse,
        )

    def sampling_options(self) -> SamplingOptions:
        """For drawing."""
        return SamplingOptions(self.temperature, self.top_k, self.top_p, seed=self.seed)

    def describe(self) -> str:
        """A few words for people."""
        if self.draws:
            kind = f"the best of {self.mbr} samples by chrF" if self.mbr else "samples"
            return f"{kind}, temperature {self.temperature:g}, seed {self.seed}"
        parts = ["greedy search"]
        if self.beam > 1:
            parts = [f"beam {self.beam}", f"length penalty {self.beam_penalty} {self.length_penalty:g}"]
            parts += [f"coverage penalty {self.coverage_penalty:g}"] * bool(self.coverage_penalty)
        parts += [f"no {self.no_repeat_ngram}-gram twice"] * bool(self.no_repeat_ngram)
        parts += [f"{self.diverse} groups"] * (self.diverse > 1)
        return ", ".join(parts)


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
