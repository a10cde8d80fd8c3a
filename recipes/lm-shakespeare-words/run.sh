#!/bin/sh
# A word-level language model of tiny Shakespeare (needs SEQTOOL_DATA, see recipe.toml): check, train, use, evaluate.
# Further arguments are passed to `seqtool train`.
set -eu
recipe=$(dirname "$0")/recipe.toml

seqtool train lm "$recipe" --dry-run "$@"
model=$(seqtool train lm "$recipe" "$@")
seqtool lm sample -m "$model" --temperature 0.9 --length 100
seqtool evaluate -m "$model"
