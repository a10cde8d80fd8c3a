"""The results as a Markdown table: built-in settings beside the best ones by hand, chosen by dev.

Usage: python table.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from compare import BUILT_IN
from points import POINTS


def main(folder: Path) -> None:
    """Print a row for each training part."""
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    headings = (
        "training part",
        "metric",
        "built-in",
        "updates, minutes",
        "best by hand",
        "which",
        "built-in to best",
    )
    print(f"| {' | '.join(headings)} |")
    print("|---" * len(headings) + "|")
    for name, point in POINTS.items():
        found = {row["settings"]: row for row in rows if row["point"] == name}
        if BUILT_IN not in found:
            continue
        own, others = found.pop(BUILT_IN), list(found.values())
        better = min if point.metric == "loss" else max
        best = better(others, key=lambda row: row["dev"], default=None)
        hand, settings, beside = "-", "-", "-"
        if best is not None:
            settings = f"{best['settings']} (of {len(others)})"
            hand, beside = figures(best), compared(own, best, in_nats=point.metric == "loss")
        cost = f"{own['updates']:,}, {own['minutes']:.1f}"
        print(f"| {name} | {point.metric} | {figures(own)} | {cost} | {hand} | {settings} | {beside} |")


def compared(own: dict[str, Any], best: dict[str, Any], *, in_nats: bool) -> str:
    """The scores on dev and test as shares of the best ones by hand, or as differences in nats."""
    parts = [part for part in ("dev", "test") if part in own]
    if in_nats:
        return " / ".join(f"{own[part] - best[part]:+.3f}" for part in parts)
    return " / ".join(f"{own[part] / best[part]:.0%}" for part in parts)


def figures(row: dict[str, Any]) -> str:
    """The scores on dev and test."""
    return " / ".join(f"{row[part]:.3f}" for part in ("dev", "test") if part in row)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
