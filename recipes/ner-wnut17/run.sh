#!/bin/sh
# Emerging entities in social media (WNUT 2017): check, train, use, evaluate.
# Further arguments are passed to `seqtool train`.
set -eu
recipe=$(dirname "$0")/recipe.toml

seqtool train ner "$recipe" --dry-run "$@"
model=$(seqtool train ner "$recipe" "$@")
echo 'Just saw @anna in Leeds with the new iPhone lol' | seqtool tag -m "$model"
seqtool evaluate -m "$model"
