#!/bin/sh
# The one gate: formatting, lint, types, tests. Further arguments go to pytest (`tests/run.sh -m slow`).
# All checks run, and the exit status is 1 if any of them failed. pytest runs last, so that its summary is at the end.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/recipes/setup.sh"

set_up dev
cd "$root"
failed=0

# One thread per process: two workers that each use every core are slower than one.
export OMP_NUM_THREADS=1
"$python" -m ruff format --check -q . || { say 'ruff format: some files are not formatted; run: ruff format'; failed=1; }
"$python" -m ruff check -q . || { say 'ruff check: failed'; failed=1; }
"$python" -m mypy --no-error-summary || { say 'mypy: failed'; failed=1; }
"$python" -m pytest -q -n 2 "$@" || failed=1
exit "$failed"
