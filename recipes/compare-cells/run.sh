#!/bin/sh
# Compare every cell, or those named: language models of 430,000 parameters on tiny Shakespeare (needs SEQTOOL_DATA), and 20,000
# parameters on the adding and the copying problem. Prints a table and draws runs/compare-cells/cells.png. Takes hours; JOBS=2
# trains two cells at a time, with one thread each. Run it again after an interruption and it resumes.
set -eu
here=$(dirname "$0") jobs=${JOBS:-1}
[ "$jobs" -eq 1 ] || export OMP_NUM_THREADS=1
table=$(seqtool inspect cells --parameters 430000 --inputs 64 --layers 2 "$@")
cells=$(echo "$table" | tail -n +2 | cut -f 1,2)
echo "$cells" | xargs -n 2 -P "$jobs" sh "$here/cell.sh"
echo "$cells" | cut -f 1 | xargs python "$here/table.py" runs/compare-cells
