"""The summary of the learning curves, also while some of their points are missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "recipes" / "few-labels" / "summary.py"
ROWS = [
    ("500", 1, "feature CRF", 50.0),
    ("500", 1, "labels only", 60.0),
    ("500", 2, "labels only", 62.0),
    ("all", 1, "feature CRF", 80.0),
]


def test_a_table_and_a_picture_are_made_of_what_is_there(tmp_path: Path) -> None:
    rows = [
        {"corpus": "ncbi", "size": size, "seed": seed, "system": system, "f1": score, "cpu_minutes": 1.5}
        for size, seed, system, score in ROWS
    ]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = subprocess.run([sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, check=True)
    assert "| 500 | 50.0 (1.5 min) | 61.0 ± 1.4 (1.5 min) | - |" in done.stdout
    assert "| 5,424 | 80.0 (1.5 min) | - | - |" in done.stdout
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_active_learning_gets_a_table_of_its_own(tmp_path: Path) -> None:
    point = {
        "corpus": "ncbi",
        "size": "all",
        "seed": 1,
        "system": "feature CRF",
        "f1": 80.0,
        "cpu_minutes": 1,
    }
    (tmp_path / "results.jsonl").write_text(json.dumps(point) + "\n")
    rows = [
        {"corpus": "ncbi", "strategy": strategy, "sentences": size, "share": size / 5000, "f1": score}
        for strategy, size, score in (("path", 100, 50.0), ("path", 1200, 60.25), ("random", 100, 50.0))
    ]
    (tmp_path / "active.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = subprocess.run([sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, check=True)
    assert (
        "| path | 1,200 | 24.0 % | 60.2 |" in done.stdout and "| random | 100 | 2.0 % | 50.0 |" in done.stdout
    )
    assert (tmp_path / "active.png").read_bytes().startswith(b"\x89PNG")
