#!/bin/sh
# cell.sh CELL WIDTH: what run.sh wants of one cell. Three learning rates with seed 1; the one best on dev with seeds 2 and 3 too,
# and on test; both problems with three seeds. A training that diverges (6) is left out, all else stops.
set -eu
here=$(dirname "$0") cell=$1 width=$2 out=runs/compare-cells/$1 threads=${THREADS:-0}
train() { # RATE SEED
    seqtool train lm "$here/recipe.toml" --set model.cell="$cell" --set model.hidden="$width" --set training.learning_rate="$1" \
        --seed "$2" --threads "$threads" -o "$out/$1-$2" --resume < /dev/null > /dev/null || [ $? -eq 6 ]
}
for rate in 6e-3 1.2e-2 2.4e-2; do train "$rate" 1; done
best=$(seqtool inspect curves "$out"/*-1 | sed -n 2p | cut -f 1)
for seed in 2 3; do train "$(basename "${best%-1}")" "$seed"; done
rm -f "$out"/*/test.json
for run in "${best%-1}"-*; do
    [ ! -d "$run/model" ] || seqtool evaluate -m "$run" --no-yardsticks --bootstrap 0 --threads "$threads" --json < /dev/null > "$run/test.json"
done
for seed in 1 2 3; do
    for problem in adding copying; do
        seqtool inspect memory "$cell" --problem "$problem" --length 50 --updates 1000 --seed "$seed" --threads "$threads" \
            > "$out/$problem-$seed.tsv"
    done
done
