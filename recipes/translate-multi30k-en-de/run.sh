#!/bin/sh
# Image captions from English to German (Multi30k): check, train, use, evaluate.
# Further arguments are passed to `seqtool train`.
set -eu
recipe=$(dirname "$0")/recipe.toml

seqtool train translate "$recipe" --dry-run "$@"
model=$(seqtool train translate "$recipe" "$@")
echo 'Two dogs are playing with a red ball in the snow.' | seqtool translate -m "$model" --beam 8
seqtool evaluate -m "$model"
