"""Searching for translations: beam search and sampling, with constraints and phrases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from seqtool.decoding.beam import BeamOptions, beam_search
from seqtool.decoding.constraints import BlockedNgrams, Constraint, ForcedPrefix, MinimumLength
from seqtool.decoding.ensemble import EnsembleStep
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.penalties import LengthPenalty
from seqtool.decoding.sampling import SamplingOptions, sample
from seqtool.errors import DataError, UsageError
from seqtool.translation.batches import LENGTH_SLACK, UNKNOWN_RATIO
from seqtool.translation.network import SearchStep
from seqtool.translation.settings import DecodingSettings
from seqtool.translation.vocabulary import END, START, EncodedSource, Vocabularies


@dataclass(frozen=True)
class SearchOptions:
    """Options of beam search and of sampling.

    Args:
        beam: Beam size: hypotheses per sentence, at least 1; 1 = greedy.
        beam_penalty: Length normalisation of scores (see `decoding.penalties`).
        length_penalty: Exponent of the length normalisation, at least 0.
        coverage_penalty: Weight of the coverage penalty (Wu 2016), at least 0; 0 = off.
        no_repeat_ngram: N: no n-gram of N words occurs twice in an output; 0 = off.
        nbest: Translations per sentence, from 1 to the beam size.
        min_length: Minimum length of an output, symbols; 0 = none.
        max_length: Maximum length of an output, symbols; 0 = by the length of the source
            (`longest_output`).
        diverse: Groups of diverse beam search, a divisor of the beam size; 1 = plain beam search.
        sample: Whether to sample `nbest` translations instead of searching.
        mbr: Number of samples, at least 2, of which the one most similar to the others is chosen (minimum
            Bayes risk with chrF); 0 = off.
        temperature: Sampling temperature, at least 0; 0 = greedy.
        top_k: Sample from the K most probable symbols only; 0 = all.
        top_p: Sample from the smallest set of symbols with at least this total probability, in (0, 1].
        seed: Random seed of sampling.

    Raises:
        UsageError: an option is out of its range.
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
                raise UsageError(f"{name} {getattr(self, name)}: must be 0 or more")
        if self.mbr == 1:
            raise UsageError("mbr 1: must be 0 (off), or 2 or more samples")
        if self.nbest < 1:
            raise UsageError(f"nbest {self.nbest}: must be 1 or more")
        if 0 < self.max_length < self.min_length:
            raise UsageError(f"max_length {self.max_length} is less than min_length {self.min_length}")
        self.sampling_options()
        if not self.draws:
            self.beam_options()
        elif self.no_repeat_ngram or self.min_length:
            raise UsageError("no_repeat_ngram and min_length have no effect on sampling; leave them out")

    @classmethod
    def of(cls, decoding: DecodingSettings) -> SearchOptions:
        """The search options of a recipe."""
        return cls(
            beam=decoding.beam,
            beam_penalty=decoding.beam_penalty,
            length_penalty=decoding.length_penalty,
            coverage_penalty=decoding.coverage_penalty,
            no_repeat_ngram=decoding.no_repeat_ngram,
        )

    @property
    def draws(self) -> bool:
        """Whether translations are sampled."""
        return self.sample or self.mbr > 0

    @property
    def rows(self) -> int:
        """Number of hypotheses or samples per sentence that are decoded together."""
        return (self.mbr or self.nbest) if self.draws else self.beam

    def beam_options(self) -> BeamOptions:
        """The options of beam search."""
        return BeamOptions(
            beam=self.beam,
            nbest=self.nbest,
            length_penalty=self.beam_penalty,
            alpha=self.length_penalty,
            coverage_penalty=self.coverage_penalty,
            groups=self.diverse,
        )

    def sampling_options(self) -> SamplingOptions:
        """The options of sampling."""
        return SamplingOptions(self.temperature, self.top_k, self.top_p, seed=self.seed)

    def describe(self) -> str:
        """Short description of the search."""
        if self.draws:
            kind = f"the best of {self.mbr} samples by chrF" if self.mbr else "samples"
            return f"{kind}, temperature {self.temperature:g}, seed {self.seed}"
        parts = ["greedy search"]
        if self.beam > 1:
            none = self.beam_penalty == "none" or not self.length_penalty
            length = f"length penalty {self.beam_penalty} {self.length_penalty:g}"
            parts = [f"beam {self.beam}", "no length penalty" if none else length]
            parts += [f"coverage penalty {self.coverage_penalty:g}"] * bool(self.coverage_penalty)
        parts += [f"no {self.no_repeat_ngram}-gram twice"] * bool(self.no_repeat_ngram)
        parts += [f"{self.diverse} groups"] * (self.diverse > 1)
        return ", ".join(parts)


class UnwritableError(DataError):
    """A text that a translation must contain has a word that the model cannot write.

    Args:
        place: `file:line` of the source.
        number: Position of the source among those given, from 0.
        kind: What the text is: prefix or phrase.
        problem: The text, what is wrong with it, and what to do.
    """

    def __init__(self, place: str, number: int, kind: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.number, self.kind, self.problem = number, kind, problem


class SearchTask(NamedTuple):
    """A sentence to be translated, with constraints on its translation."""

    source: EncodedSource
    number: int  # determines the random numbers of sampling, so that the batch does not matter
    prefix: str = ""  # text that the translation begins with
    phrases: Sequence[str] = ()  # texts that the translation contains


def longest_output(source: EncodedSource, ratio: float = UNKNOWN_RATIO) -> int:
    """Default maximum length of an output, symbols, END included.

    The lower the limit, the sooner a search can stop: scores are normalised by length, so a hypothesis that
    may still grow long may still become the best.

    Args:
        source: The encoded source.
        ratio: Target symbols per source symbol in the training data (`TranslatorDescription.length_ratio`).
    """
    return int(ratio * len(source.ids)) + LENGTH_SLACK


def run_search(
    steps: Sequence[SearchStep],
    tasks: Sequence[SearchTask],
    options: SearchOptions,
    vocabularies: Vocabularies,
    device: torch.device,
    length_ratio: float = UNKNOWN_RATIO,
) -> list[list[Hypothesis]]:
    """Translate a batch of sentences by beam search or by sampling.

    Args:
        steps: The decoder of each model of an ensemble, over the sources of `tasks`.
        tasks: The B sentences.
        options: Options of the search.
        vocabularies: Vocabularies of the models.
        device: Device of the steps.
        length_ratio: Ratio for `longest_output`, which is used unless `options` has a maximum length. A
            prefix and END always fit, whatever the limit.

    Returns:
        The hypotheses or samples of each sentence, the best first.
    """
    prefixes = [_ids(task.prefix, task, vocabularies) for task in tasks]
    limits = [
        max(options.max_length or longest_output(task.source, length_ratio), len(prefix) + 1)
        for task, prefix in zip(tasks, prefixes, strict=True)
    ]
    step: SearchStep | EnsembleStep = steps[0]
    state = steps[0].initial()
    if len(steps) > 1:
        step = EnsembleStep(steps)
        state = step.joined([each.initial() for each in steps])
    mask = steps[0].mask
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
