"""Time from typing a command to the first byte of its answer, compared with `python -c 'import torch'`.

python tests/benchmarks/bench_start.py [--tagger DIR] [--translator DIR] [--lm DIR] [--pairs N]

Use the models of recipes/quickstart.sh; how well they are trained makes no difference.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

LINE = b"a b c\n"
BASELINE = (sys.executable, "-c", "import torch")
# This script's option for a model, and the command that is run with that model.
COMMANDS = {
    "tagger": ("tag",),
    "translator": ("translate",),
    "lm": ("lm", "sample", "--length", "20"),
}


def first_byte(command: Sequence[str]) -> float:
    """Seconds until the first byte of standard output, or until the process ends where it prints nothing."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(LINE)
    process.stdin.close()
    answer = os.read(process.stdout.fileno(), 1)
    if not answer:
        process.wait()
    seconds = time.perf_counter() - started
    process.stdout.read()
    process.stdout.close()
    if process.wait() != 0:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    return seconds


def compare(command: Sequence[str], pairs: int) -> tuple[float, float]:
    """Median seconds of the baseline and of the command, which take turns; the first pair is not counted."""
    seconds = [(first_byte(BASELINE), first_byte(command)) for _ in range(pairs + 1)][1:]
    baseline, answered = zip(*seconds, strict=True)
    return statistics.median(baseline), statistics.median(answered)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option in COMMANDS:
        parser.add_argument(f"--{option}", metavar="DIR")
    parser.add_argument("--pairs", type=int, default=9)
    arguments = parser.parse_args()
    given = {option: getattr(arguments, option) for option in COMMANDS if getattr(arguments, option)}
    if not given:
        parser.error("no model given: --tagger DIR, --translator DIR or --lm DIR")
    print(f"{'command':24} {'import torch':>12} {'first byte':>12} {'ratio':>6}")
    for option, model in given.items():
        command = (sys.executable, "-m", "seqtool", *COMMANDS[option], "-m", model)
        baseline, answered = compare(command, arguments.pairs)
        name = " ".join(COMMANDS[option])
        print(f"{name:24} {baseline * 1e3:9.0f} ms {answered * 1e3:9.0f} ms {answered / baseline:6.2f}")


if __name__ == "__main__":
    main()
