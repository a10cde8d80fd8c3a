"""Time from an input line to its answer by a running `seqtool tag`, and start-up times.

python tests/benchmarks/bench_latency.py MODEL [--lines N]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

LINE = b"Yesterday Anna flew to Port Grendley with Haidel Motors .\n"


def answer_times(model: str, lines: int) -> list[float]:
    """Seconds from writing each line to reading the blank line that ends its answer."""
    command = [sys.executable, "-m", "seqtool", "tag", "-m", model]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    times = []
    for _ in range(lines):
        started = time.perf_counter()
        process.stdin.write(LINE)
        process.stdin.flush()
        while (line := process.stdout.readline()) != b"\n":
            if not line:
                sys.exit(f"{' '.join(command)}: exit code {process.wait()}")
        times.append(time.perf_counter() - started)
        time.sleep(0.002)  # like a person typing: the process is idle when the line arrives
    process.stdin.close()
    process.wait()
    return times


def start_up(*arguments: str, repeats: int = 9) -> float:
    """Median seconds of a whole `seqtool` process."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "seqtool", *arguments], capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--lines", type=int, default=300)
    arguments = parser.parse_args()
    times = answer_times(arguments.model, arguments.lines)
    warm = sorted(times[20:])
    print(f"first answer (with start-up): {times[0] * 1e3:.0f} ms")
    print(
        f"line to answer: median {statistics.median(warm) * 1e3:.2f} ms, "
        f"90 % within {warm[int(len(warm) * 0.9)] * 1e3:.2f} ms"
    )
    print(f"seqtool --help: {start_up('--help'):.3f} s")


if __name__ == "__main__":
    main()
