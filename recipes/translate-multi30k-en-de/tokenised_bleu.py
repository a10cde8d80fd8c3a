"""Lower-cased BLEU on Moses tokens, as the papers on Multi30k report it.

    pip install sacremoses
    seqtool translate -m RUN test_2016_flickr.en > outputs.de
    python tokenised_bleu.py outputs.de test_2016_flickr.de

Punctuation is normalised. Two scores are printed: with hyphenated words kept whole, and with them split.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sacrebleu.metrics import BLEU
from sacremoses import MosesPunctNormalizer, MosesTokenizer


def tokenised(path: str, *, hyphens: bool) -> list[str]:
    """The lines of a German file, lower-cased, with normalised punctuation, tokenised."""
    normaliser, tokeniser = MosesPunctNormalizer("de"), MosesTokenizer("de")
    return [
        tokeniser.tokenize(
            normaliser.normalize(line.lower()), aggressive_dash_splits=hyphens, escape=False, return_str=True
        )
        for line in Path(path).read_text(encoding="utf-8").splitlines()
    ]


def main() -> None:
    """Print both scores with their signatures."""
    outputs, references = sys.argv[1:]
    for hyphens in (False, True):
        metric = BLEU(tokenize="none", force=True)
        pair = [tokenised(path, hyphens=hyphens) for path in (outputs, references)]
        score = metric.corpus_score(pair[0], [pair[1]])
        print(f"{'split at' if hyphens else 'with'} hyphens: {score} {metric.get_signature()}")


if __name__ == "__main__":
    main()
