"""A trained language model at work: text that it writes, and how probable it finds a text."""

from __future__ import annotations

import time
from collections.abc import Sequence

from seqtool.decoding.sampling import SamplingOptions
from seqtool.lm.data import DOCUMENT_ENDS
from seqtool.lm.lines import ScoredLine, score_lines
from seqtool.lm.loaded import TASK, Fingerprint, LanguageModelDescription, LoadedLanguageModel, RecordedScores
from seqtool.lm.sampling import Sampler, beginning, texts_of, writes_in_int8
from seqtool.models.trained import require_several

__all__ = ["TASK", "Fingerprint", "LanguageModel", "LanguageModelDescription", "RecordedScores"]


class LanguageModel(LoadedLanguageModel):
    """A language model ready to use; see `LoadedLanguageModel`."""

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
        """Texts that begin with a prompt: what `seqtool lm sample` writes.

            seqtool.load("runs/lm/lm-tiny").sample("The ", length=100, seed=1)[0]

        Args:
            prompt: The text to go on from; it is part of the result.
            length: Symbols of the model to write per text at most, at least 1.
            count: Number of texts, at least 1.
            temperature: Sampling temperature, at least 0; 0 = always the likeliest symbol.
            top_k: Draw from the K likeliest symbols only; 0 = all.
            top_p: Draw from the fewest symbols with this probability together, in (0, 1].
            stop: Texts that end a text; None = the end of a document, where the model's documents have one.
            seed: Random seed; the same seed gives the same texts. None = another one each time.

        Raises:
            UsageError: a number out of its range.
            DataError: the prompt has something that the model has no symbol for.
        """
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
        """How probable each line is, its end included: what `seqtool lm score` says.

            seqtool.load("runs/lm/lm-tiny").score(["The cat sat."])[0].bits_per_character

        Args:
            lines: Without their ends.
            cold: Whether each stands alone; otherwise it follows the line before, unless the model's
                documents are lines.

        Raises:
            UsageError: a single text instead of a list.
        """
        require_several(lines, 'model.score(["The cat sat."])')
        return list(score_lines(self, lines, self.reader(), cold=cold))
