#!/bin/sh
# Diseases in abstracts (NCBI): check, train, use, evaluate. Further arguments go to the training.
set -eu
recipe=$(dirname "$0")/recipe.toml

seqtool train ner "$recipe" --dry-run "$@"
model=$(seqtool train ner "$recipe" "$@")
echo 'Loss of APC causes familial adenomatous polyposis and colon cancer .' | seqtool tag -m "$model"
seqtool evaluate -m "$model"
