#!/bin/sh
# Disease names in PubMed abstracts (NCBI): check, train, use, evaluate.
# Further arguments are passed to `seqtool train`.
set -eu
recipe=$(dirname "$0")/recipe.toml

seqtool train ner "$recipe" --dry-run "$@"
model=$(seqtool train ner "$recipe" "$@")
echo 'Loss of APC causes familial adenomatous polyposis and colon cancer .' | seqtool tag -m "$model"
seqtool evaluate -m "$model"
