#!/bin/sh
# The built-in settings on training parts of all sizes, beside settings by hand in the same time (needs SEQTOOL_DATA). Takes
# hours; what is done stands in runs/built-in-settings/results.jsonl and is not done again. POINTS chooses some of them.
set -eu
here=$(dirname "$0") out=runs/built-in-settings
small="ewt-100 ncbi-100 german-100 tatoeba-1000 shakespeare-10k ewt-1000 ncbi-1000 german-1000 shakespeare-100k"
for point in ${POINTS:-$small tatoeba-5072 german-10000 ncbi-all ewt-all shakespeare-1m}; do
    python "$here/compare.py" "$out" "$point"
done
python "$here/table.py" "$out"
