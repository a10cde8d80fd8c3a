"""The attention of a translation as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqtool.translation.scoring import Reading


def draw(reading: Reading, sentence: str, path: Path) -> None:
    """Draw one pair, with as much of the source as fits in the title."""
    from seqtool.inspection.attention import attention_figure

    attention_figure(
        reading.source_symbols,
        reading.target_symbols,
        reading.attention,
        path,
        p_gen=reading.writing,
        coverage=reading.coverage,
        title=f"Attention (log probability {reading.score:.2f}): {sentence}",
    )
