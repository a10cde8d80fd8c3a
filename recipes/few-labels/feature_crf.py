"""A linear-chain CRF with hand-made features: what a user would pick instead (python-crfsuite).

Word, lower case, shape, prefixes and suffixes of one to four characters, word, shape and suffix of the
neighbours up to two positions away, and a bigram of words.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence

import pycrfsuite

from seqtool.text.columns import TaggedSentence

SETTINGS = {"c1": 0.05, "c2": 0.05, "max_iterations": 100, "feature.possible_transitions": True}


def tags_of(train: Sequence[TaggedSentence], test: Sequence[TaggedSentence]) -> list[list[str]]:
    """The tags that the CRF finds in the test sentences after training on the others."""
    trainer = pycrfsuite.Trainer(verbose=False)
    trainer.set_params(SETTINGS)
    for sentence in train:
        trainer.append(list(features(sentence.tokens)), list(sentence.tags or ()))
    with tempfile.NamedTemporaryFile() as file:
        trainer.train(file.name)
        tagger = pycrfsuite.Tagger()
        tagger.open(file.name)
        return [tagger.tag(list(features(sentence.tokens))) for sentence in test]


def features(tokens: Sequence[str]) -> Iterator[list[str]]:
    """The features of each token of a sentence."""
    for place, token in enumerate(tokens):
        lower = token.lower()
        found = ["bias", f"w={token}", f"l={lower}", f"s={shape(token)}"]
        for length in range(1, 5):
            found += [f"p{length}={lower[:length]}", f"x{length}={lower[-length:]}"]
        for offset in (-2, -1, 1, 2):
            if 0 <= place + offset < len(tokens):
                other = tokens[place + offset]
                found += [
                    f"{offset}w={other.lower()}",
                    f"{offset}s={shape(other)}",
                    f"{offset}x={other.lower()[-3:]}",
                ]
            else:
                found.append(f"{offset}edge")
        if place:
            found.append(f"b={tokens[place - 1].lower()} {lower}")
        yield found


def shape(token: str) -> str:
    """Upper case, lower case and digits of a token, with runs shortened to two."""
    classes = re.sub(r"[^\W\d_]", lambda match: "X" if match.group().isupper() else "x", token)
    return re.sub(r"(.)\1{2,}", r"\1\1", re.sub(r"\d", "0", classes))
