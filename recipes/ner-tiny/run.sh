#!/bin/sh
# Synthetic names: check, train, use, evaluate. Further arguments go to the training.
set -eu
recipe=$(dirname "$0")/recipe.toml

seqtool train ner "$recipe" --dry-run "$@"
model=$(seqtool train ner "$recipe" "$@")
echo 'Yesterday Anna Tharvil flew to Port Grendley with Haidel Motors .' | seqtool tag -m "$model"
seqtool evaluate -m "$model"
