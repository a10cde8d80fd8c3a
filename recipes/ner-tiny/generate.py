"""Write the synthetic data of this recipe: `python generate.py [FOLDER]` makes train, dev and test.conll.

Nothing here is real text. Sentences come from a small weighted grammar (`grammar.toml`) and names are
coined from syllables. More than four in five names of dev and test never occur in training, so a model
has to use the context and the shape of a name, not a list. A bare name such as `Dranley` may be a
person, a place, an organisation or a product, and one in thirty slots accepts any of the four: some
names cannot be decided at all, and 100 F1 is out of reach by construction.

The same seed gives the same bytes on every machine: the only source of randomness is
`random.Random.random`, whose sequence Python guarantees, followed only by products and comparisons.
"""

from __future__ import annotations

import random
import re
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

SEED = 20
SIZES = {"train": 1500, "dev": 300, "test": 300}
TYPES = ("PER", "LOC", "ORG", "PROD")
OUTSIDE = "O"

Item = TypeVar("Item")


class Token(NamedTuple):
    """A word and its IOB2 tag."""

    text: str
    tag: str


class Dice:
    """The few random choices that the generator makes, on top of a guaranteed sequence."""

    def __init__(self, seed: int) -> None:
        self._generator = random.Random(seed)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._generator.random() < probability

    def number(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self._generator.random() * (high - low + 1))

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items, all equally likely."""
        return items[int(self._generator.random() * len(items))]

    def skewed(self, items: Sequence[Item]) -> Item:
        """One of the items; the first ones are far more likely, like the frequent words of a language."""
        position = self._generator.random()
        return items[int(position * position * len(items))]


class Names:
    """Coins names: stems from syllables, then the forms that each type takes."""

    def __init__(self, dice: Dice, words: dict[str, list[str]]) -> None:
        self._dice = dice
        self._words = words
        # A few names are used again and again, as in any newspaper, and each of them with any type.
        self._familiar = [self.stem("") for _ in range(24)]

    def stem(self, kind: str) -> str:
        """A coined word with a capital; `kind` only makes some endings more likely."""
        dice, words = self._dice, self._words
        syllables = 1 if dice.chance(0.35) else 2
        text = "".join(dice.pick(words["onsets"]) + dice.pick(words["nuclei"]) for _ in range(syllables))
        endings = words["endings_" + kind] if kind and dice.chance(0.3) else words["codas"]
        return (text + dice.pick(endings)).capitalize()

    def bare(self, kind: str) -> str:
        """One word that says little or nothing about its type."""
        return self._dice.pick(self._familiar) if self._dice.chance(0.12) else self.stem(kind)

    def name(self, kind: str) -> list[str]:
        """The words of a name of the given type."""
        if self._dice.chance(0.5):
            return [self.bare(kind)]
        return self._fill(self._dice.skewed(self._words["forms_" + kind]), kind)

    def acronym(self) -> str:
        """Two to four capitals."""
        return "".join(self._dice.pick("ABCDEFGHIKLMNOPRSTUVWX") for _ in range(self._dice.number(2, 4)))

    def _fill(self, form: str, kind: str) -> list[str]:
        dice = self._dice
        makers: dict[str, Callable[[], str]] = {
            "S": lambda: self.stem(kind),
            "G": lambda: dice.skewed(self._words["given"]) if dice.chance(0.6) else self.stem(""),
            "I": lambda: dice.pick("ABCDEFGHJKLMNPRSTW"),
            "A": self.acronym,
            "N": lambda: str(dice.number(2, 990)),
            "D": lambda: str(dice.number(1, 9)),
            "W": lambda: dice.skewed(self._words["tails_" + kind]),
            "F": lambda: dice.skewed(self._words["fields"]),
        }
        return re.sub(r"%([A-Z])", lambda match: makers[match[1]](), form).split()


class Grammar:
    """Expands the symbols of the grammar to tagged words."""

    def __init__(self, dice: Dice, rules: dict[str, list[str]], names: Names) -> None:
        self._dice = dice
        self._rules = rules
        self._names = names

    def expand(self, symbol: str) -> list[Token]:
        """A random expansion of a symbol."""
        rule = self._dice.skewed(self._rules[symbol])
        return [token for part in rule.split() for token in self._part(part)]

    def _part(self, part: str) -> list[Token]:
        if part.startswith("{"):
            kind = part[1:-1]
            return self._entity(self._dice.pick(TYPES) if kind == "ANY" else kind)
        if part.startswith("<"):
            return self.expand(part[1:-1])
        return [Token(self._plain(part), OUTSIDE)]

    def _entity(self, kind: str) -> list[Token]:
        words = self._names.name(kind)
        return [Token(word, f"{'I' if index else 'B'}-{kind}") for index, word in enumerate(words)]

    def _plain(self, part: str) -> str:
        """A word that is not a name: taken literally, a number, or a word coined to look like a name."""
        dice, names = self._dice, self._names
        makers: dict[str, Callable[[], str]] = {
            "#digit": lambda: str(dice.number(2, 9)),
            "#number": lambda: str(dice.number(10, 999)),
            "#thousands": lambda: f"{dice.number(1, 99)},{dice.number(100, 999)}",
            "#decimal": lambda: f"{dice.number(0, 99)}.{dice.number(1, 9)}",
            "#year": lambda: str(dice.number(1948, 2024)),
            "#score": lambda: f"{dice.number(0, 6)}-{dice.number(0, 6)}",
            "#time": lambda: f"{dice.number(1, 12)}:{dice.number(10, 59)}",
            "#acronym": names.acronym,
            "#Coined": lambda: names.bare(""),
            "#coined": lambda: names.stem("").lower(),
            "#Adjective": lambda: names.stem("") + dice.pick(["ian", "ese", "-based", "-style", "ish"]),
        }
        return makers[part]() if part.startswith("#") else part


def sentence(dice: Dice, grammar: Grammar) -> list[Token]:
    """One sentence, now and then in the casing of careless or shouting writers."""
    tokens = grammar.expand("sentence")
    if dice.chance(0.10):
        return [Token(token.text.lower(), token.tag) for token in tokens]
    if dice.chance(0.04):
        return [Token(token.text.upper(), token.tag) for token in tokens]
    if dice.chance(0.04):
        return [Token(_capital(token.text), token.tag) for token in tokens]
    start = next(index for index, token in enumerate(tokens) if token.text[0].isalnum())
    if tokens[start].tag == OUTSIDE:
        tokens[start] = Token(_capital(tokens[start].text), OUTSIDE)
    return tokens


def generate(seed: int = SEED) -> dict[str, list[list[Token]]]:
    """The sentences of each file; no sentence occurs twice in the whole set."""
    with Path(__file__).with_name("grammar.toml").open("rb") as file:
        tables = tomllib.load(file)
    dice = Dice(seed)
    grammar = Grammar(dice, tables["rules"], Names(dice, tables["names"]))
    seen: set[str] = set()
    result: dict[str, list[list[Token]]] = {}
    for split, size in SIZES.items():
        result[split] = []
        while len(result[split]) < size:
            tokens = sentence(dice, grammar)
            text = " ".join(token.text for token in tokens).lower()
            if text not in seen:
                seen.add(text)
                result[split].append(tokens)
    return result


def surfaces(sentences: list[list[Token]]) -> list[str]:
    """The text of every name, in order, with repetitions."""
    names: list[list[str]] = []
    for tokens in sentences:
        for text, tag in tokens:
            if tag.startswith("B-"):
                names.append([text])
            elif tag.startswith("I-"):
                names[-1].append(text)
    return [" ".join(words) for words in names]


def unseen(train: list[list[Token]], other: list[list[Token]]) -> float:
    """Share of the names in `other` that are not names in `train`, ignoring case and type."""
    known = {surface.lower() for surface in surfaces(train)}
    names = surfaces(other)
    return sum(name.lower() not in known for name in names) / len(names)


def conll(sentences: list[list[Token]]) -> str:
    """The sentences as two columns separated by a tab, with an empty line after each sentence."""
    return "".join("".join(f"{text}\t{tag}\n" for text, tag in tokens) + "\n" for tokens in sentences)


def main() -> None:
    """Write the three files and print their statistics."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    splits = generate()
    for split, sentences in splits.items():
        (folder / f"{split}.conll").write_text(conll(sentences), encoding="utf-8", newline="\n")
        words = sum(map(len, sentences))
        new = (
            "" if split == "train" else f", {unseen(splits['train'], sentences):.1%} of them not in training"
        )
        print(f"{split}: {len(sentences)} sentences, {words} words, {len(surfaces(sentences))} names{new}")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


if __name__ == "__main__":
    main()
