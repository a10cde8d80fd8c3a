#!/bin/sh
# Learning curves with few labels: a feature CRF, seqtool on labels only, and seqtool with the rest of the training part as raw
# text, on NCBI-disease and English-EWT; then active learning in a simulation (needs SEQTOOL_DATA, and `pip install 'seqtool[benchmark]'`). Takes hours; what is done
# stands in runs/few-labels/results.jsonl and is not done again. SIZES, SEEDS and CORPORA choose a part of it.
set -eu
here=$(dirname "$0") out=runs/few-labels
for corpus in ${CORPORA:-ncbi ewt}; do
    for size in ${SIZES:-100 250 500 1000 2500 all}; do
        for seed in ${SEEDS:-1 2 3}; do
            python "$here/curves.py" "$out" "$corpus" "$size" "$seed"
        done
    done
done
for seed in ${SEEDS:-1 2 3}; do
    for strategy in path random; do
        python "$here/active.py" "$out" ncbi "$strategy" "$seed"
    done
done
python "$here/summary.py" "$out"
