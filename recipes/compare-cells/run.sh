#!/bin/sh
# Every cell with 430,000 parameters in two layers on tiny Shakespeare (needs SEQTOOL_DATA), each with two learning rates, then
# with 20,000 on the adding and the copying problem: one table on standard output, one picture in runs/compare-cells. Hours;
# cells may be named.
set -eu
here=$(dirname "$0")
out=runs/compare-cells

seqtool inspect cells --parameters 430000 --inputs 64 --layers 2 "$@" | tail -n +2 | cut -f 1,2 | while read -r cell hidden; do
    for rate in 6e-3 1.2e-2; do
        run=$out/$cell-$rate
        seqtool train lm "$here/recipe.toml" --set model.cell="$cell" --set model.hidden="$hidden" \
            --set training.learning_rate=$rate -o "$run" --resume < /dev/null > /dev/null
        seqtool evaluate -m "$run" --no-yardsticks --bootstrap 0 --json < /dev/null > "$run/test.json"
    done
done
for problem in adding copying; do
    seqtool inspect memory $(seqtool inspect cells "$@" | tail -n +2 | cut -f 1) --problem "$problem" --length 50 --updates 1000 \
        > "$out/$problem.tsv"
done
python "$here/table.py" "$out"
