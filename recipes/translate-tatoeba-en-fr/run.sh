#!/bin/sh
# Short sentences from English to French (Tatoeba): check, train, use, evaluate.
# Further arguments are passed to `seqtool train`.
set -eu
recipe=$(dirname "$0")/recipe.toml

seqtool train translate "$recipe" --dry-run "$@"
model=$(seqtool train translate "$recipe" "$@")
echo "I don't know what you are talking about." | seqtool translate -m "$model" --beam 5
seqtool evaluate -m "$model"
