"""The attention of a translation as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqtool.translation.scoring import ScoredPair


def draw(scored: ScoredPair, sentence: str, path: Path) -> None:
    """Draw the attention of one pair, with the source sentence in the title.

    Args:
        scored: Pair with its attention.
        sentence: Source sentence.
        path: Picture file to write.
    """
    from seqtool.inspection.attention import attention_figure

    attention_figure(
        scored.source_symbols,
        scored.target_symbols,
        scored.attention,
        path,
        p_gen=scored.writing,
        coverage=scored.coverage,
        title=f"Attention (log probability {scored.score:.2f}): {sentence}",
    )
