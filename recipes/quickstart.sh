#!/bin/sh
# From a fresh checkout to a trained tagger, translator and language model; needs only Python 3.11 or newer and git.
# It can be run again: what is installed is kept, and the models are trained again in the same folders.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/recipes/setup.sh"

# Show a command, then run it.
show() {
    say "\$ seqtool $*"
    "$python" -m seqtool "$@"
}

say 'Welcome! This trains a small tagger, a translator and a language model on your computer, about a minute each.'
set_up
cd "$root"

say '' '1. A named-entity recogniser: trained on small synthetic data (recipe ner-tiny), about a minute'
model=$(show train ner -o runs/ner/quickstart --overwrite)
say "The trained model is in $model"

say '' 'Evaluating it on sentences that it has not seen in training'
show evaluate -m "$model"

say '' 'Finding the names in a sentence'
sentence='Yesterday Anna Tharvil flew to Port Grendley and bought a Kroxify 3 from Haidel Motors .'
say "$sentence"
printf '%s\n' "$sentence" | show tag -m "$model"

say '' '2. A translator: from spoken orders to short notes (recipe translate-tiny), about a minute and a half'
translator=$(show train translate -o runs/translate/quickstart --overwrite)

say '' 'Evaluating it on pairs that it has not seen in training'
show evaluate -m "$translator"

say '' 'Translating a sentence'
order='send two windows and two boxes to Dr Ostrel in Port Vanley by june the fourth nineteen ninety two'
say "$order"
printf '%s\n' "$order" | show translate -m "$translator" --beam 5

say '' "3. A language model: trained on Python's own help texts (recipe lm-tiny), about a minute"
writer=$(show train lm -o runs/lm/quickstart --overwrite)

say '' 'Evaluating it beside an n-gram model of the same text'
show evaluate -m "$writer"

say '' 'Letting it write'
say "\$ seqtool lm sample -m $writer --prompt 'The statement' --temperature 0.7 --length 300 --seed 1"
"$python" -m seqtool lm sample -m "$writer" --prompt 'The statement' --temperature 0.7 --length 300 --seed 1

cat >&2 <<END

Everything works. Type this once per terminal, so that the command is found:

    cd "$root" && . .venv/bin/activate

Then try the models that you have just trained:

    echo 'Mr Brovell works for Tranex in Lake Othwick .' | seqtool tag
    echo 'send two windows and two boxes to Dr Ostrel in Port Vanley by june the fourth nineteen ninety two' | seqtool translate --beam 5
    echo 'send two windows and two boxes to Dr Ostrel in Port Vanley by june the fourth nineteen ninety two' | seqtool inspect attention
    seqtool lm sample --prompt 'The statement' --temperature 0.7

Train your own:

    seqtool train ner --set model.hidden=256        # the same data, a wider network
    seqtool train ner --train my.conll              # your data: one word, a tab and its tag per line
    seqtool recipes list                            # all bundled recipes
    seqtool --help                                  # all commands
END
