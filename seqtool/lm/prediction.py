"""Using a trained language model: sampling text, and scoring lines of text."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from seqtool.decoding.sampling import SamplingOptions
from seqtool.errors import UsageError
from seqtool.lm.data import DOCUMENT_ENDS, normalised
from seqtool.lm.lines import ScoredLine, score_lines
from seqtool.lm.loaded import TASK, Fingerprint, LanguageModelDescription, LoadedLanguageModel, RecordedScores
from seqtool.lm.sampling import Sampler, beginning, texts_of, writes_in_int8
from seqtool.lm.scoring import score_rows
from seqtool.lm.vocabulary import START
from seqtool.models.trained import require_several

__all__ = ["TASK", "Fingerprint", "LanguageModel", "LanguageModelDescription", "RecordedScores"]


class LanguageModel(LoadedLanguageModel):
    """A trained language model, ready to use; see `LoadedLanguageModel`."""

    def sample(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        count: int = 1,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        stop: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> list[str]:
        """Sample texts that continue a prompt, as `seqtool lm sample` does.

            seqtool.load("runs/lm/lm-tiny").sample("The ", length=100, seed=1)[0]

        Args:
            prompt: Text to continue; it is part of the result.
            length: Maximum length of a text, symbols of the model, at least 1; the prompt is not counted.
            count: Number of texts, at least 1.
            temperature: Sampling temperature, at least 0; 0 = greedy.
            top_k: Sample from the K most probable symbols only; 0 = all.
            top_p: Sample from the smallest set of symbols with at least this total probability, in (0, 1].
            stop: Strings that end a text, none of them empty; None = the end of a document of the model, if
                it has one.
            seed: Random seed; the same seed gives the same texts. None = a new seed for every call.

        Returns:
            The texts, each beginning with the prompt.

        Raises:
            UsageError: an argument is out of its range.
            DataError: the prompt contains a character for which the model has no symbol.
        """
        for name, value in (("length", length), ("count", count)):
            if value < 1:
                raise UsageError(f"{name} {value}: must be 1 or more")
        if stop is not None:
            require_several(stop, 'model.sample(stop=["\\n"])')
        if "" in (stop or ()):
            raise UsageError("stop '': expected a text to stop after; write stop=[] to stop at `length` only")
        drawing = SamplingOptions(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=time.time_ns() % 2**31 if seed is None else seed,
        )
        start = beginning(self, prompt)
        sampler = Sampler(self, drawing, start.repeated(count), int8=writes_in_int8(self, "auto"))
        decoders = [start.decoder(self) for _ in range(count)]
        ends = DOCUMENT_ENDS.get(self.description.data.documents, []) if stop is None else stop
        texts, _ = texts_of(sampler, decoders, length=length, ends=ends)
        return [prompt + text for text in texts]

    def score(self, lines: Sequence[str], *, cold: bool = False) -> list[ScoredLine]:
        """Score lines, their line ends included, as `seqtool lm score` does.

            seqtool.load("runs/lm/lm-tiny").score(["The cat sat."])[0].bits_per_character

        Args:
            lines: The lines, without their line ends.
            cold: Whether to reset the state before each line; otherwise a line continues the one before,
                unless the model's documents are lines.

        Raises:
            UsageError: a single text instead of a list.
        """
        require_several(lines, 'model.score(["The cat sat."])')
        return list(score_lines(self, lines, self.reader(), cold=cold))

    def log_probabilities(self, lines: Sequence[str]) -> list[float]:
        """Log probability of each line by itself, its line end included, nats; many lines are read at a time.

        These are the totals of `score(lines, cold=True)`, but for the rounding of sums in larger batches.

        Args:
            lines: The lines, without their line ends.

        Raises:
            UsageError: a single text instead of a list, or a model that reads from the end.
        """
        require_several(lines, 'model.log_probabilities(["The cat sat."])')
        self.require_forward("say how probable a line is")
        data = self.description.data
        texts = [self.symbols.encode(normalised(line, data) + "\n") for line in lines]
        with self.autocast():
            found = score_rows(self.network, [np.concatenate([[START], ids]) for ids in texts], self.device)
        return [math.fsum(values) for values in found]
