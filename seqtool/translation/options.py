"""How to look for translations."""

from __future__ import annotations

from dataclasses import dataclass

from seqtool.decoding.beam import BeamOptions
from seqtool.decoding.penalties import LengthPenalty
from seqtool.decoding.sampling import SamplingOptions
from seqtool.errors import UsageError
from seqtool.translation.settings import DecodingSettings


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
