#!/bin/sh
# From a fresh checkout to a trained tagger, translator and language model: needs Python 3.11 or newer and git, nothing else.
# Safe to run again: what is installed stays, the models are trained anew in the same folders.
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

say '' 'Training the bundled translator (translate-tiny: spoken orders to short notes, about a minute and a half)'
translator=$(show train translate -o runs/translate/quickstart --overwrite)

say '' 'Scoring it'
show evaluate -m "$translator"

say '' 'Translating a sentence'
order='send two windows and two boxes to Dr Ostrel in Port Vanley by june the fourth nineteen ninety two'
say "$order"
printf '%s\n' "$order" | show translate -m "$translator" --beam 5

say '' "Training the bundled language model (lm-tiny: Python's own help texts, about a minute)"
writer=$(show train lm -o runs/lm/quickstart --overwrite)

say '' 'Scoring it, beside an n-gram of the same text'
show evaluate -m "$writer"

say '' 'Writing some text'
say "\$ seqtool lm sample -m $writer --prompt 'The statement' --temperature 0.7 --length 300 --seed 1"
"$python" -m seqtool lm sample -m "$writer" --prompt 'The statement' --temperature 0.7 --length 300 --seed 1

cat >&2 <<'END'

Done. What to try next:

    . .venv/bin/activate
    echo 'Mr Brovell works for Tranex in Lake Othwick .' | seqtool tag
    echo 'send two windows and two boxes to Dr Ostrel in Port Vanley by june the fourth nineteen ninety two' | seqtool translate --beam 5
    echo 'send two windows and two boxes to Dr Ostrel in Port Vanley by june the fourth nineteen ninety two' | seqtool inspect attention
    seqtool lm sample --prompt 'The statement' --temperature 0.7
    seqtool train ner --set model.hidden=256        another model
    seqtool train ner --train my.conll              your own data: one "word TAB tag" a line
    seqtool recipes list                            everything that is bundled
    seqtool --help
END
