"""The bundled sentence pairs are what their generator writes, and each note follows from its source."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

TINY = Path(__file__).resolve().parents[2] / "recipes" / "translate-tiny"
SPLITS = ("train", "dev", "test")
ONES = "one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
TEENS = dict(zip(range(13, 20), ("thir", "four", "fif", "six", "seven", "eigh", "nine"), strict=True))
TENS = dict(
    zip(range(20, 100, 10), ("twen", "thir", "for", "fif", "six", "seven", "eigh", "nine"), strict=True)
)


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location("translate_tiny_generate", TINY / "generate.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def splits(generator):
    return generator.generate()


def value(words: str) -> int:
    """The number that a listener hears, from 0 to 999."""
    total = 0
    for word in words.replace(" and ", " ").split():
        if word == "hundred":
            total *= 100
        elif word in ONES:
            total += ONES.index(word) + 1
        elif word != "zero":
            names = {f"{stem}teen": n for n, stem in TEENS.items()}
            total += (names | {f"{stem}ty": n for n, stem in TENS.items()})[word]
    return total


def test_committed_data_is_what_the_generator_writes(tmp_path):
    """In a separate process with another hash seed: nothing may depend on the order of a set."""
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-W", "error", TINY / "generate.py", tmp_path]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {
        f"{split}.{side}": (TINY / f"{split}.{side}").read_bytes()
        for split in SPLITS
        for side in ("en", "out")
    }


def test_another_seed_gives_other_sentences(generator, splits):
    assert generator.generate(generator.SEED + 1)["test"] != splits["test"]


def test_sizes_and_no_source_is_shared(splits):
    assert {split: len(pairs) for split, pairs in splits.items()} == {"train": 4000, "dev": 400, "test": 400}
    sources = [pair.spoken for pairs in splits.values() for pair in pairs]
    assert len(set(sources)) == len(sources)
    assert all(5 <= len(source.split()) <= 25 for source in sources)


@pytest.mark.parametrize("split", SPLITS)
def test_lines_are_words_with_single_spaces(splits, split):
    for pair in splits[split]:
        for side in pair:
            assert side and " ".join(side.split()) == side and side.isprintable()
            assert "{" not in side


@pytest.mark.parametrize("split", ["dev", "test"])
def test_most_names_are_not_in_training(generator, splits, split):
    assert 0.65 < generator.unseen(splits["train"], splits[split]) < 1
    assert sum(bool(generator.copied([pair])) for pair in splits[split]) > 0.85 * len(splits[split])


def test_a_word_counts_as_copied_only_if_it_was_said_just_so(generator):
    pair = generator.Pair("send Zorbin the K5/19 in ten boxes", "send Zorbin Zorb K5/19 10 boxes")
    assert generator.copied([pair]) == ["Zorbin", "K5/19"]
    known, new = generator.Pair("call Zorbin", "call Zorbin"), generator.Pair("call Kelda", "call Kelda")
    assert generator.unseen([known], [known, new]) == 0.5


def test_every_number_can_be_heard_back(generator):
    for number in range(1000):
        assert value(generator.cardinal(number)) == number
    assert len({generator.cardinal(number) for number in range(1000)}) == 1000


def test_every_day_has_its_ordinal(generator):
    names = [generator.ordinal(day) for day in range(1, 32)]
    assert len(set(names)) == 31
    assert [names[i] for i in (0, 1, 2, 7, 11, 19, 20, 21, 29, 30)] == [
        "first", "second", "third", "eighth", "twelfth", "twentieth", "twenty first", "twenty second",
        "thirtieth", "thirty first",
    ]  # fmt: skip


@pytest.mark.parametrize("thousand", [True, False])
def test_every_year_can_be_heard_back(generator, thousand):
    for year in range(generator.FIRST_YEAR, generator.LAST_YEAR + 1):
        spoken = generator.year_in_words(year, thousand=thousand)
        if "thousand" in spoken:
            head, _, rest = spoken.partition(" thousand")
            assert 1000 * value(head) + value(rest.replace(" and", "", 1)) == year
        else:
            head, _, rest = spoken.partition(" ")
            assert 100 * value(head) + value(rest) == year


@pytest.mark.parametrize("reading", [True, False])
def test_every_time_of_half_a_day_can_be_heard_back(generator, reading):
    for minutes in range(12 * 60):
        hour, minute = divmod(minutes, 60)
        spoken = generator.clock_in_words(hour, minute, reading=reading)
        spoken = spoken.replace("quarter", "fifteen").replace("half", "thirty")
        if match := re.fullmatch(r"(.+) (past|to) (.+)", spoken):
            away = value(match[1])
            heard = 60 * value(match[3]) + (away if match[2] == "past" else -away)
        else:
            name, _, rest = spoken.partition(" ")
            heard = 60 * value(name) + (
                0 if rest in ("o'clock", "sharp") else value(rest.removeprefix("oh "))
            )
        assert heard % (12 * 60) == minutes, spoken
        assert generator.clock_in_words(hour + 12, minute, reading=reading) == generator.clock_in_words(
            hour, minute, reading=reading
        )


@pytest.mark.parametrize("oh", [True, False])
@pytest.mark.parametrize("digits", ["0", "11", "111", "4471003", "00000", "98767"])
def test_digits_can_be_heard_back(generator, digits, oh):
    spoken = re.sub(r"double (\w+)", r"\1 \1", generator.digits_in_words(digits, oh=oh))
    assert "".join("0" if word == "oh" else str(value(word)) for word in spoken.split()) == digits


@pytest.mark.parametrize("split", SPLITS)
def test_every_difficulty_occurs(splits, split):
    pairs = splits[split]
    kinds = Counter(pair.written.split()[0] for pair in pairs)
    assert len(kinds) == 11
    assert min(kinds.values()) > 0.01 * len(pairs)
    lists = [
        pair.written.split(" > ")[0].split(" ", 1)[1].split(" + ")
        for pair in pairs
        if "count" in pair.written
    ]
    assert 0.3 < sum(len(set(items)) < len(items) for items in lists) / len(lists) < 0.7
    turned = [pair for pair in pairs if re.search("backwards|from last to first", pair.spoken)]
    assert len(turned) > 0.03 * len(pairs)
    for pair in turned:
        codes = [word for word in pair.spoken.split() if re.search(r"\d", word)]
        assert pair.written == " ".join(["scan", *reversed(codes)])
    assert sum("double" in pair.spoken for pair in pairs) > 0.03 * len(pairs)
    assert any(ord(c) > 0x17F for pair in pairs for c in pair.spoken)


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_copied_is_copied_byte_for_byte(splits, split):
    """Every word of a note with a capital is in its source, except for the three currencies."""
    for pair in splits[split]:
        said = pair.spoken.replace(",", "").split()
        names = [word for word in pair.written.split() if word != word.lower()]
        assert set(names) - {"EUR", "USD", "GBP"} <= set(said)
