#!/bin/sh
# Spanish inflection (SIGMORPHON 2018), one lemma with its features per line: check, train, use, evaluate.
# Further arguments are passed to `seqtool train`.
set -eu
recipe=$(dirname "$0")/recipe.toml

seqtool train translate "$recipe" --dry-run "$@"
model=$(seqtool train translate "$recipe" "$@")
printf 'dormir\tV;IND;PST;3;SG;PFV\n' | seqtool translate -m "$model" --beam 5
seqtool evaluate -m "$model"
