#!/bin/sh
# From spoken orders to written notes: check, train, use, evaluate.
# Further arguments are passed to `seqtool train`.
set -eu
recipe=$(dirname "$0")/recipe.toml

seqtool train translate "$recipe" --dry-run "$@"
model=$(seqtool train translate "$recipe" "$@")
seqtool translate -m "$model" --beam 5 <<'END'
please call Zorbin Maltrey on the third of march two thousand and seven at half past nine about twenty four crates
to Thalvik go from Port Grendley at noon and change in Brøston
END
seqtool evaluate -m "$model"
