#!/bin/sh
# Named entities in synthetic sentences: check, train, use, evaluate.
# Further arguments are passed to `seqtool train`.
set -eu
recipe=$(dirname "$0")/recipe.toml

seqtool train ner "$recipe" --dry-run "$@"
model=$(seqtool train ner "$recipe" "$@")
echo 'Yesterday Anna Tharvil flew to Port Grendley with Haidel Motors .' | seqtool tag -m "$model"
seqtool evaluate -m "$model"
