"""The Kneser-Ney baseline on tiny Shakespeare, whose figure is known.

Needs `tinyshakespeare/` below $SEQTOOL_DATA, or in `../shared/data` beside the checkout;
`pytest -m real tests/real/test_ngram.py`, a few seconds on one core.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from seqtool.lm.ngram import KneserNey

pytestmark = pytest.mark.real

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
TRAINING = 1_003_854  # characters: the first 90 %


def test_a_seven_gram_of_tiny_shakespeare_reaches_the_known_figure() -> None:
    file = Path(os.environ.get("SEQTOOL_DATA") or BESIDE) / "tinyshakespeare" / "input.txt"
    if not file.is_file():
        pytest.skip(f"no tinyshakespeare/ below $SEQTOOL_DATA or {BESIDE}")
    characters = np.frombuffer(file.read_text(encoding="utf-8").encode("utf-32-le"), np.uint32)
    distinct, ids = np.unique(characters, return_inverse=True)
    assert (len(ids), len(distinct)) == (1_115_394, 65)
    model = KneserNey.train(ids[:TRAINING], size=len(distinct), order=7)
    assert -model.log_probabilities(ids[TRAINING:]).mean() == pytest.approx(1.5165, abs=0.0005)
