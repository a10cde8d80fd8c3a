#!/bin/sh
# Every cell (or those named), 430,000 parameters, two learning rates, on tiny Shakespeare (needs SEQTOOL_DATA), then with 20,000
# on the adding and the copying problem: one table on standard output, one picture in runs/compare-cells. Hours.
set -eu
here=$(dirname "$0") out=runs/compare-cells
table=$(seqtool inspect cells --parameters 430000 --inputs 64 --layers 2 "$@")
cells=$(echo "$table" | tail -n +2 | cut -f 1,2)
echo "$cells" | while read -r cell hidden; do
    for rate in 6e-3 1.2e-2; do sh "$here/train.sh" "$cell" "$hidden" "$rate" "$out/$cell-$rate"; done
done
for problem in adding copying; do
    echo "$cells" | cut -f 1 | xargs seqtool inspect memory --problem "$problem" --length 50 --updates 1000 > "$out/$problem.tsv"
done
python "$here/table.py" "$out"
