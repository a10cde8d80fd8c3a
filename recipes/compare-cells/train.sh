#!/bin/sh
# train.sh CELL HIDDEN RATE RUN: one training of run.sh, and its score; one that diverges (6) is said and left out, all else stops.
set -eu
rm -f "$4/test.json"
seqtool train lm "$(dirname "$0")/recipe.toml" --set model.cell="$1" --set model.hidden="$2" --set training.learning_rate="$3" \
    -o "$4" --resume < /dev/null > /dev/null || { [ $? -eq 6 ] && echo "$4 diverged" >&2 && exit 0; }
seqtool evaluate -m "$4" --no-yardsticks --bootstrap 0 --json < /dev/null > "$4/test.json"
