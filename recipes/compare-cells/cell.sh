#!/bin/sh
# cell.sh CELL WIDTH: the part of run.sh that concerns one cell. Trains with three learning rates and seed 1, then repeats the rate
# that is best on dev with seeds 2 and 3 and evaluates it on test; learns both problems with three seeds. A run that diverges
# (exit code 6) is left out; any other error stops the script.
set -eu
here=$(dirname "$0") cell=$1 width=$2 out=runs/compare-cells/$1
train() { # RATE SEED: does nothing if this run is finished; fails if it exists with other settings
    seqtool train lm "$here/recipe.toml" --set model.cell="$cell" --set model.hidden="$width" \
        --set training.learning_rate="$1" --seed "$2" -o "$out/$1-$2" --resume < /dev/null > /dev/null || [ $? -eq 6 ]
}
for rate in 6e-3 1.2e-2 2.4e-2; do train "$rate" 1; done
order=$(find "$out" -path '*-1/model' -prune | sed 's/\/model$//' | xargs -r seqtool inspect curves)
best=$(echo "$order" | sed -n 2p | cut -f 1)
[ -n "$best" ] || { echo "$cell: diverged at every rate" >&2; exit 1; }
for seed in 2 3; do train "$(basename "${best%-1}")" "$seed"; done
rm -f "$out"/*/test.json
for run in "${best%-1}"-*; do
    [ ! -d "$run/model" ] || seqtool evaluate -m "$run" --no-baselines --bootstrap 0 --json < /dev/null > "$run/test.json"
done
for problem in adding-1 adding-2 adding-3 copying-1 copying-2 copying-3; do
    if [ ! -s "$out/$problem.tsv" ]; then
        seqtool inspect memory "$cell" --problem "${problem%-*}" --seed "${problem#*-}" --length 50 --updates 1000 > "$out/part"
        mv "$out/part" "$out/$problem.tsv"
    fi
done
