"""Files of sentence pairs: read strictly, and without changing the text."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtool.errors import DataError, UsageError
from seqtool.text.parallel import (
    SentencePair,
    parse_source,
    read_aligned,
    read_pair_columns,
    read_pair_objects,
)

INFLECTION = ("source", "target", "features")
STRANGE = "a\u2028b\x85c\x0bd\u00a0"  # none of these ends a line here


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_two_files_are_read_line_by_line(tmp_path: Path, suffix: str):
    source = write(tmp_path / f"s{suffix}", f"\ufeff{STRANGE}\r\n\n x")
    target = write(tmp_path / f"t{suffix}", "A\tB\n\nX\n")
    assert list(read_aligned(source, target)) == [
        SentencePair(STRANGE, "A\tB", (), str(source), 1),
        SentencePair("", "", (), str(source), 2),
        SentencePair(" x", "X", (), str(source), 3),
    ]


@pytest.mark.parametrize(("left", "right"), [(3, 5), (5, 3), (0, 1), (2, 1)])
def test_files_of_different_length_are_an_error_with_both_counts(tmp_path: Path, left: int, right: int):
    source, target = write(tmp_path / "s", "x\n" * left), write(tmp_path / "t", "y\n" * right)
    pairs = read_aligned(source, target)
    assert len(list(islice(pairs, min(left, right)))) == min(left, right)
    with pytest.raises(DataError) as caught:
        next(pairs)
    wanted = f"{source}: {left} lines, but {target}: {right}; expected equally many"
    assert str(caught.value).startswith(wanted)


def test_pairs_come_before_what_is_wrong_further_on(tmp_path: Path):
    source = tmp_path / "s"
    source.write_bytes(b"good\n\xff\n")
    pairs = read_aligned(source, write(tmp_path / "t", "gut\n"))
    assert next(pairs).target == "gut"
    with pytest.raises(DataError, match=r"s:2: not UTF-8 at byte 5"):
        next(pairs)


def test_missing_files_are_usage_errors(tmp_path: Path):
    here = write(tmp_path / "s", "x\n")
    with pytest.raises(UsageError, match="absent: no such file"):
        list(read_aligned(here, tmp_path / "absent"))


def test_columns_are_read_by_their_names(tmp_path: Path):
    path = write(tmp_path / "p.tsv", f"7\tV; PST\tging\t{STRANGE}\n8\t\t\t ein \n\n")
    assert list(read_pair_columns(path, ("-", "features", "target", "source"))) == [
        SentencePair(STRANGE, "ging", ("V", "PST"), str(path), 1),
        SentencePair(" ein ", "", (), str(path), 2),
        SentencePair("", "", (), str(path), 3),
    ]


def test_another_separator_of_features(tmp_path: Path):
    path = write(tmp_path / "p.tsv", "a\tb\tV;x y\n")
    assert next(read_pair_columns(path, INFLECTION, " ")).features == ("V;x", "y")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "a\tb\tc\td",
            "p.tsv:2: 4 columns, expected 3; leave out all but source, target, features",
        ),
        ("a b", "p.tsv:2: 1 column, expected 3; "),
        ("a\tb\tV;;PST", "p.tsv:2: an empty feature in ['V', '', 'PST']; "),
        ("a\tb\t;", "p.tsv:2: an empty feature in ['', '']; "),
    ],
)
def test_ragged_columns_are_an_error_with_line_and_numbers(tmp_path: Path, line: str, message: str):
    path = write(tmp_path / "p.tsv", f"a\tb\tV\n{line}\n")
    with pytest.raises(DataError) as caught:
        list(read_pair_columns(path, INFLECTION))
    assert message in str(caught.value)


def test_objects_have_source_target_and_features(tmp_path: Path):
    rows = [{"source": STRANGE, "target": "b", "features": ["V", "PST"], "id": 3}, {"source": "c"}]
    path = write(tmp_path / "p.jsonl", "\n".join(map(json.dumps, rows)) + "\n \n")
    assert list(read_pair_objects(path)) == [
        SentencePair(STRANGE, "b", ("V", "PST"), str(path), 1),
        SentencePair("c", None, (), str(path), 2),
    ]


@pytest.mark.parametrize("row", [{"translation": {"de": "y", "en": "x"}}, {"en": "x", "de": "y"}])
def test_objects_by_language(tmp_path: Path, row: dict[str, object]):
    path = write(tmp_path / "p.jsonl", json.dumps(row))
    (pair,) = read_pair_objects(path, ("en", "de"))
    assert (pair.source, pair.target) == ("x", "y")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON: "),
        ("[" * 100_000, "not JSON: "),
        ('["a", "b"]', "not a JSON object; expected one object per line"),
        ('{"text": "a"}', "no 'source' among 'text'; expected a pair"),
        ('{"translation": "a", "source": "b"}', "no 'source' among 'translation', 'source'"),
        ('{"translation": {"en": "a"}}', "no 'source' among 'en'"),
        ('{"source": 1}', "'source' is 1; expected text"),
        ('{"source": "a", "target": null}', "'target' is None; expected text"),
        ('{"source": "a\\nb"}', "a line end or a NUL in 'source'; expected one line of text"),
        ('{"source": "a", "target": "\\u0000"}', "a line end or a NUL in 'target'"),
        ('{"source": "\\ud800"}', "half of a surrogate pair in 'source'; expected text"),
        ('{"source": "a", "features": "V"}', "'features' is 'V'; expected a list of texts"),
        ('{"source": "a", "features": ["V", 2]}', "'features' is 2; expected text"),
        ('{"source": "a", "features": [" "]}', "an empty feature in [' ']"),
    ],
)
def test_bad_objects_are_named_by_line(tmp_path: Path, line: str, message: str):
    path = write(tmp_path / "p.jsonl", '{"source": "a"}\n' + line + "\n")
    with pytest.raises(DataError) as caught:
        list(read_pair_objects(path))
    assert str(caught.value).startswith(f"{path}:2: {message}")


@pytest.mark.parametrize(
    ("columns", "line", "source", "features"),
    [
        (INFLECTION, "gehen\tV;PST", "gehen", ("V", "PST")),
        (("features", "-", "target", "source"), "V;PST\tgehen", "gehen", ("V", "PST")),
        (INFLECTION, "gehen", "gehen", ()),
        (("features", "source", "target"), "gehen", "gehen", ()),
        (INFLECTION, "gehen\t", "gehen", ()),
        (INFLECTION, "", "", ()),
        (INFLECTION, "\t", "", ()),
        (("source", "target"), " a\tb ", " a\tb ", ()),
    ],
)
def test_a_line_to_translate_has_the_columns_of_the_source(
    columns: tuple[str, ...], line: str, source: str, features: tuple[str, ...]
):
    wanted = SentencePair(source, None, features, "input", 4)
    assert parse_source(line, columns, ";", file="input", number=4) == wanted


def test_a_line_to_translate_with_too_many_columns_is_an_error():
    with pytest.raises(DataError, match=r"^input:4: 3 columns, expected 2; .* source, features$"):
        parse_source("gehen\tging\tV", INFLECTION, ";", file="input", number=4)


@given(
    pairs=st.lists(
        st.tuples(
            *[st.text(st.characters(exclude_characters="\n\r\0\t\ufeff", exclude_categories=("Cs",)))] * 2
        )
    )
)
def test_all_layouts_give_the_same_pairs(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
):
    folder = tmp_path_factory.mktemp("pairs")
    pairs = [pair for pair in pairs if any(side.strip(" ") for side in pair)]
    source = write(folder / "s", "".join(f"{left}\n" for left, _ in pairs))
    target = write(folder / "t", "".join(f"{right}\n" for _, right in pairs))
    columns = write(folder / "p.tsv", "".join(f"{left}\t{right}\n" for left, right in pairs))
    objects = write(
        folder / "p.jsonl", "".join(json.dumps({"source": a, "target": b}) + "\n" for a, b in pairs)
    )
    for read in (read_aligned(source, target), read_pair_columns(columns), read_pair_objects(objects)):
        assert [(pair.source, pair.target) for pair in read] == pairs


@pytest.mark.parametrize(
    ("pair", "empty"),
    [
        (SentencePair("a", "b"), False),
        (SentencePair("a"), False),
        (SentencePair("\u00a0", "b"), False),
        (SentencePair(" \t", "b"), True),
        (SentencePair("a", ""), True),
        (SentencePair("", ""), True),
    ],
)
def test_a_side_of_spaces_is_empty(pair: SentencePair, empty: bool):
    assert pair.has_empty_side is empty
