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
    print(
        "| training part | metric | built-in: dev / test | updates, minutes | by hand: dev / test | which |"
    )
    print("|---|---|---|---|---|---|")
    for name, point in POINTS.items():
        found = {row["settings"]: row for row in rows if row["point"] == name}
        if BUILT_IN not in found:
            continue
        own, others = found.pop(BUILT_IN), list(found.values())
        better = min if point.metric == "loss" else max
        best = better(others, key=lambda row: row["dev"], default=None)
        hand, settings = ("-", "-") if best is None else (figures(best), best["settings"])
        cost = f"{own['updates']:,}, {own['minutes']:.1f}"
        print(f"| {name} | {point.metric} | {figures(own)} | {cost} | {hand} | {settings} |")


def figures(row: dict[str, Any]) -> str:
    """The scores on dev and test."""
    return " / ".join(f"{row[part]:.3f}" for part in ("dev", "test") if part in row)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
