#!/bin/sh
# Every cell with 430,000 parameters in two layers on tiny Shakespeare (needs SEQTOOL_DATA), then with 20,000 on the adding
# and the copying problem: tables on standard output, pictures in runs/compare-cells. Hours; cells may be named.
set -eu
recipe=$(dirname "$0")/recipe.toml
out=runs/compare-cells

seqtool inspect cells --parameters 430000 --inputs 64 --layers 2 "$@" | tail -n +2 | cut -f 1,2 | while read -r cell hidden; do
    seqtool train lm "$recipe" --set model.cell="$cell" --set model.hidden="$hidden" -o "$out/$cell" --resume < /dev/null > /dev/null
done
seqtool inspect curves "$out"/*/ -o "$out/shakespeare.png"
for problem in adding copying; do
    seqtool inspect memory $(seqtool inspect cells "$@" | tail -n +2 | cut -f 1) --problem "$problem" --length 50 --updates 1000 \
        -o "$out/$problem.png"
done
