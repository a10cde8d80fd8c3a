#!/bin/sh
# A byte-level language model of Python's help texts: check, train, use, evaluate.
# Further arguments are passed to `seqtool train`.
set -eu
recipe=$(dirname "$0")/recipe.toml

seqtool train lm "$recipe" --dry-run "$@"
model=$(seqtool train lm "$recipe" "$@")
seqtool lm sample -m "$model" --prompt 'The statement' --temperature 0.7 --length 300
seqtool evaluate -m "$model"
