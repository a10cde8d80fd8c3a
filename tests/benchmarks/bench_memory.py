"""Memory of `seqtool tag` on a long stream, which must not grow with its length.

python tests/benchmarks/bench_memory.py MODEL [--sentences N]
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import threading
from pathlib import Path


def resident(pid: int) -> float:
    """Resident memory of a process, MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise ValueError("no VmRSS")


def main() -> None:
    """Feed sentences of ever new words and print the memory use along the way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--sentences", type=int, default=1_000_000)
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "seqtool", "tag", "-m", arguments.model]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def feed() -> None:
        generator = random.Random(1)
        for _ in range(arguments.sentences):
            words = [f"w{generator.randrange(10**6)}" for _ in range(generator.randrange(3, 12))]
            process.stdin.write((" ".join(words) + "\n").encode())
        process.stdin.close()

    threading.Thread(target=feed, daemon=True).start()
    answered, marks = 0, []
    step = max(1, arguments.sentences // 20)
    for line in process.stdout:
        if line == b"\n":
            answered += 1
            if answered % step == 0 and answered < arguments.sentences:
                marks.append(resident(process.pid))
                print(f"{answered:,} sentences: {marks[-1]:.0f} MB", flush=True)
    process.wait()
    third = len(marks) // 3
    print(
        f"{answered:,} sentences; after the first third {marks[third]:.0f} MB, at the end {marks[-1]:.0f} MB"
    )


if __name__ == "__main__":
    main()
