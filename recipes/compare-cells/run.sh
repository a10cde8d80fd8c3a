#!/bin/sh
# Every cell (or those named), 430,000 parameters on tiny Shakespeare (needs SEQTOOL_DATA) and 20,000 on the adding and the copying
# problem: one table on standard output, one picture in runs/compare-cells. Hours; JOBS=2: two cells at a time, a thread each.
# Run again after an interruption it goes on.
set -eu
here=$(dirname "$0") jobs=${JOBS:-1}
[ "$jobs" -eq 1 ] || export OMP_NUM_THREADS=1
table=$(seqtool inspect cells --parameters 430000 --inputs 64 --layers 2 "$@")
cells=$(echo "$table" | tail -n +2 | cut -f 1,2)
echo "$cells" | xargs -n 2 -P "$jobs" sh "$here/cell.sh"
echo "$cells" | cut -f 1 | xargs python "$here/table.py" runs/compare-cells
