#!/bin/sh
# From a fresh checkout to a trained tagger: needs Python 3.11 or newer and git, nothing else.
# Safe to run again: what is installed stays, the model is trained anew in the same folder.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/recipes/setup.sh"

# Show a command, then run it.
show() {
    say "\$ seqtool $*"
    "$python" -m seqtool "$@"
}

set_up
cd "$root"

say '' 'Training the bundled named-entity recogniser (ner-tiny: small synthetic data, about a minute)'
model=$(show train ner -o runs/ner/quickstart --overwrite)
say "The model: $model"

say '' 'Scoring it on sentences that it has not seen'
show evaluate -m "$model"

say '' 'Tagging a sentence'
sentence='Yesterday Anna Tharvil flew to Port Grendley and bought a Kroxify 3 from Haidel Motors .'
say "$sentence"
printf '%s\n' "$sentence" | show tag -m "$model"

cat >&2 <<'END'

Done. What to try next:

    . .venv/bin/activate
    echo 'Mr Brovell works for Tranex in Lake Othwick .' | seqtool tag
    seqtool train ner --set model.hidden=256        another model
    seqtool train ner --train my.conll              your own data: one "word TAB tag" a line
    seqtool recipes list                            everything that is bundled
    seqtool --help
END
