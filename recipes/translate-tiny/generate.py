"""Write the synthetic data of this recipe: `python generate.py [FOLDER]` makes train, dev and test.

Line n of `train.en` is what somebody says, line n of `train.out` is how it is noted down:

    on the third of march two thousand and seven at half past nine phone Zorbin Maltrey about six crates
    call Zorbin Maltrey 2007-03-03 09:30 6 crates

Nothing here is real text. Frames and words are in `grammar.toml`; names, places and codes are coined
from syllables, letters and digits, so that most of those in dev and test never occur in training and
have to be copied. Numbers, dates and times are spelled out, the parts are in a different order than in
the note, and lists name the same thing twice: attention, copying and coverage all matter.

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
from typing import Any, NamedTuple, TypeVar

SEED = 30
SIZES = {"train": 4000, "dev": 400, "test": 400}
SHORTEST, LONGEST = 5, 25  # words of a source
FIRST_YEAR, LAST_YEAR = 1950, 2029
NUMBERS = """\
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen \
seventeen eighteen nineteen
_ _ twenty thirty forty fifty sixty seventy eighty ninety
_ first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth \
fifteenth sixteenth seventeenth eighteenth nineteenth twentieth
january february march april may june july august september october november december"""
SMALL, TENS, ORDINALS, MONTHS = (line.split() for line in NUMBERS.split("\n"))
CURRENCIES = (
    ("EUR", "euro", "euros", "cent", "cents"),
    ("USD", "dollar", "dollars", "cent", "cents"),
    ("GBP", "pound", "pounds", "penny", "pence"),
)

Item = TypeVar("Item")


class Pair(NamedTuple):
    """The same thing as it is said and as it is written."""

    spoken: str
    written: str


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


def cardinal(number: int) -> str:
    """A number from 0 to 999 in words.

    >>> cardinal(305)
    'three hundred and five'
    """
    if number < 20:
        return SMALL[number]
    if number < 100:
        return TENS[number // 10] + (f" {SMALL[number % 10]}" if number % 10 else "")
    rest = f" and {cardinal(number % 100)}" if number % 100 else ""
    return f"{SMALL[number // 100]} hundred{rest}"


def ordinal(number: int) -> str:
    """A day of the month in words.

    >>> ordinal(31)
    'thirty first'
    """
    if number <= 20:
        return ORDINALS[number]
    return "thirtieth" if number == 30 else f"{TENS[number // 10]} {ORDINALS[number % 10]}"


def year_in_words(year: int, *, thousand: bool) -> str:
    """A year in words; from 2001 on either in pairs of digits or with "thousand".

    >>> year_in_words(2007, thousand=True), year_in_words(2012, thousand=False)
    ('two thousand and seven', 'twenty twelve')
    """
    rest = year % 100
    if year < 2000 or (rest >= 10 and not thousand):
        return f"{cardinal(year // 100)} {cardinal(rest)}"
    return "two thousand" + (f" and {cardinal(rest)}" if rest else "")


def clock_in_words(hour: int, minute: int, *, reading: bool) -> str:
    """A time without its half of the day, as read from a screen (`reading`) or from a dial.

    >>> clock_in_words(9, 45, reading=False), clock_in_words(9, 45, reading=True)
    ('quarter to ten', 'nine forty five')
    """
    this, following = cardinal((hour - 1) % 12 + 1), cardinal(hour % 12 + 1)
    if minute == 0:
        return f"{this} o'clock" if not reading else f"{this} sharp"
    if reading:
        return f"{this} oh {cardinal(minute)}" if minute < 10 else f"{this} {cardinal(minute)}"
    named = {15: "quarter", 30: "half", 45: "quarter"}
    distance = minute if minute <= 30 else 60 - minute
    amount = named.get(minute, cardinal(distance))
    return f"{amount} past {this}" if minute <= 30 else f"{amount} to {following}"


def digits_in_words(digits: str, *, oh: bool) -> str:
    """Digits one by one, two equal ones as a double.

    >>> digits_in_words("44700", oh=True)
    'double four seven double oh'
    """
    words = []
    for group in re.findall(r"(.)(\1?)", digits):
        name = "oh" if oh and group[0] == "0" else SMALL[int(group[0])]
        words.append(f"double {name}" if group[1] else name)
    return " ".join(words)


class Names:
    """Coins people, places and codes; they are written as they are spoken, so both sides are equal."""

    def __init__(self, dice: Dice, words: dict[str, list[str]]) -> None:
        self._dice = dice
        self._words = words

    def stem(self) -> str:
        """A coined word with a capital."""
        dice, words = self._dice, self._words
        syllables = 1 if dice.chance(0.25) else 2
        parts = [dice.pick(words["onsets"]) + dice.pick(words["nuclei"]) for _ in range(syllables)]
        if dice.chance(1 / 30):
            parts.append(dice.skewed(words["rare"]) + dice.pick("aeiou"))
        text = "".join(parts) + dice.pick(words["codas"])
        return text[0].upper() + text[1:]

    def name(self, kind: str) -> Pair:
        """A `person`, a `place` or a `code`."""
        dice, words = self._dice, self._words
        makers: dict[str, Callable[[], str]] = {
            "S": self.stem,
            "G": lambda: dice.skewed(words["given"]),
            "I": lambda: dice.pick("ABCDEFGHJKLMNPRSTW"),
            "A": lambda: dice.pick("ABCDEFGHJKLMNPQRSTUVWXYZ"),
            "D": lambda: str(dice.number(0, 9)),
            "d": lambda: dice.pick("abcdefghkmnpqrstuvwxyz"),
        }
        text = re.sub(r"%([A-Za-z])", lambda match: makers[match[1]](), dice.skewed(words[kind]))
        return Pair(text, text)


class Facts:
    """Makes up what fills the slots of a frame."""

    def __init__(self, dice: Dice, tables: dict[str, Any]) -> None:
        self._dice = dice
        self._names = Names(dice, tables["names"])
        self._items = list(zip(tables["items"]["one"], tables["items"]["many"], strict=True))
        self._said = tables["said"]
        self._makers: dict[str, Callable[[], Pair]] = {
            "date": self._date,
            "time": self._time,
            "item": self._item,
            "list": self._list,
            "money": self._money,
            "phone": lambda: self._digits(5, 8),
            "room": lambda: self._digits(3, 3),
        }

    def slot(self, name: str) -> Pair:
        """What fills the slot; `person2` is another person."""
        kind = name.rstrip("0123456789")
        if kind in self._said:
            return Pair(self._dice.skewed(self._said[kind]), "")
        return self._makers[kind]() if kind in self._makers else self._names.name(kind)

    def _date(self) -> Pair:
        dice = self._dice
        month, day, year = dice.number(1, 12), dice.number(1, 28), dice.number(FIRST_YEAR, LAST_YEAR)
        name = MONTHS[month - 1]
        spoken = f"the {ordinal(day)} of {name}" if dice.chance(0.6) else f"{name} the {ordinal(day)}"
        if dice.chance(0.4):
            return Pair(spoken, f"{month:02}-{day:02}")
        words = year_in_words(year, thousand=dice.chance(0.5))
        return Pair(f"{spoken} {words}", f"{year}-{month:02}-{day:02}")

    def _time(self) -> Pair:
        dice = self._dice
        if dice.chance(0.06):
            return dice.pick((Pair("noon", "12:00"), Pair("midnight", "00:00")))
        hour, minute = dice.number(1, 23), 5 * dice.number(0, 11)
        if dice.chance(0.15):
            minute = dice.number(0, 59)
        spoken = clock_in_words(hour, minute, reading=dice.chance(0.4))
        part = "in the evening" if hour >= 18 else "in the afternoon" if hour >= 13 else ""
        if hour < 12 and dice.chance(0.3):
            part = "in the morning"
        return Pair(f"{spoken} {part}".strip(), f"{hour:02}:{minute:02}")

    def _item(self) -> Pair:
        dice = self._dice
        number = dice.number(1, 12) if dice.chance(0.6) else dice.number(13, dice.pick((99, 999)))
        one, many = dice.skewed(self._items)
        name = one if number == 1 else many
        return Pair(f"{cardinal(number)} {name}", f"{number} {name}")

    def _list(self) -> Pair:
        """Two to five items; every second list has one of them twice."""
        dice = self._dice
        items = [self._item() for _ in range(dice.number(2, 4))]
        if dice.chance(0.5):
            items.insert(dice.number(0, len(items)), dice.pick(items))
        *first, last = items
        spoken = " ".join(item.spoken for item in first) + f" and {last.spoken}"
        return Pair(spoken, " + ".join(item.written for item in items))

    def _money(self) -> Pair:
        dice = self._dice
        code, one, many, small_one, small_many = dice.skewed(CURRENCIES)
        whole, parts = dice.number(1, dice.pick((20, 999))), dice.number(1, 99)
        spoken = f"{cardinal(whole)} {one if whole == 1 else many}"
        if dice.chance(0.5):
            return Pair(spoken, f"{code} {whole}.00")
        small = small_one if parts == 1 else small_many
        return Pair(f"{spoken} and {cardinal(parts)} {small}", f"{code} {whole}.{parts:02}")

    def _digits(self, shortest: int, longest: int) -> Pair:
        dice = self._dice
        digits = ""
        for _ in range(dice.number(shortest, longest)):
            digits += digits[-1] if digits and dice.chance(0.25) else str(dice.number(0, 9))
        return Pair(digits_in_words(digits, oh=dice.chance(0.6)), digits)


def sentence(dice: Dice, facts: Facts, frames: Sequence[dict[str, Any]]) -> Pair:
    """A frame with its slots filled in the same way on both sides."""
    frame = dice.pick(frames)
    source, target = dice.pick(frame["sources"]), frame["target"]
    slots = {name: facts.slot(name) for name in dict.fromkeys(re.findall(r"{(\w+)}", source))}
    spoken = source.format_map({name: pair.spoken for name, pair in slots.items()})
    written = target.format_map({name: pair.written for name, pair in slots.items()})
    return Pair(" ".join(spoken.split()), written)


def generate(seed: int = SEED) -> dict[str, list[Pair]]:
    """The pairs of each part; no source occurs twice in the whole set."""
    with Path(__file__).with_name("grammar.toml").open("rb") as file:
        tables = tomllib.load(file)
    dice = Dice(seed)
    facts = Facts(dice, tables)
    seen: set[str] = set()
    result: dict[str, list[Pair]] = {}
    for split, size in SIZES.items():
        result[split] = []
        while len(result[split]) < size:
            pair = sentence(dice, facts, tables["frames"])
            if SHORTEST <= len(pair.spoken.split()) <= LONGEST and pair.spoken not in seen:
                seen.add(pair.spoken)
                result[split].append(pair)
    return result


def copied(pairs: list[Pair]) -> list[str]:
    """Written words with a capital or a digit that are also in the source, in order, with repetitions."""
    words = []
    for pair in pairs:
        said = set(pair.spoken.split())
        words += [word for word in pair.written.split() if word in said]
    return [word for word in words if word != word.lower() or re.search(r"\d", word)]


def unseen(train: list[Pair], other: list[Pair]) -> float:
    """Share of the copied words of `other` that do not occur in the sources of `train`."""
    known = {word for pair in train for word in pair.spoken.split()}
    words = copied(other)
    return sum(word not in known for word in words) / len(words)


def main() -> None:
    """Write the six files and print their statistics."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    splits = generate()
    for split, pairs in splits.items():
        for suffix, side in (("en", 0), ("out", 1)):
            text = "".join(f"{pair[side]}\n" for pair in pairs)
            (folder / f"{split}.{suffix}").write_text(text, encoding="utf-8", newline="\n")
        words = sum(len(pair.spoken.split()) for pair in pairs)
        new = "" if split == "train" else f", {unseen(splits['train'], pairs):.1%} of them not in training"
        print(f"{split}: {len(pairs)} pairs, {words} words, {len(copied(pairs))} words to copy{new}")


if __name__ == "__main__":
    main()
