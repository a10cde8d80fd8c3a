#!/bin/sh
# Parts of speech in English web text (UD EWT): check, train, use, evaluate.
# Further arguments are passed to `seqtool train`.
set -eu
recipe=$(dirname "$0")/recipe.toml

seqtool train pos "$recipe" --dry-run "$@"
model=$(seqtool train pos "$recipe" "$@")
echo 'I never book the same flight twice .' | seqtool tag -m "$model"
seqtool evaluate -m "$model"
