"""Splits of sentence pairs: each pair in one part, no sentence in two, files as they were."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtool.errors import DataError, UsageError
from seqtool.text.pair_splitting import choose_groups, grouped, look_like_pairs, split_pairs

TEXTS = st.sampled_from("abcdefgh")


def rows(count: int) -> list[str]:
    return [f'{n},"Go, {n}.",Va {n} !' for n in range(count)]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=30))
def test_groups_are_a_partition_that_shares_no_source_and_no_target(pairs: list[tuple[str, str]]) -> None:
    groups = grouped(pairs)
    assert sorted(number for group in groups for number in group) == list(range(len(pairs)))
    for side in (0, 1):
        found = [{pairs[number][side] for number in group} for group in groups]
        assert sum(map(len, found)) == len(set().union(*found))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=40), st.booleans(), st.integers(1, 5))
def test_every_pair_is_in_one_part_and_no_share_is_exceeded(
    sizes: list[int], keep_order: bool, seed: int
) -> None:
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    groups = [list(range(end - size, end)) for end, size in zip(ends, sizes, strict=True)]
    shares = {"dev": 0.2, "test": 0.1}
    chosen = choose_groups(groups, shares, seed=seed, keep_order=keep_order)
    assert sorted(number for numbers in chosen.values() for number in numbers) == list(range(ends[-1]))
    for part, share in shares.items():
        assert len(chosen[part]) <= max(1, round(share * ends[-1]))
    for group in groups:
        assert sum(bool(set(group) & set(numbers)) for numbers in chosen.values()) == 1


def test_csv_keeps_its_rows_and_each_part_has_the_headings(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", ["id,english,french", *rows(40)])
    parts = split_pairs([path], tmp_path / "parts", languages=("english", "french"))
    assert [(part.path.name, part.sentences) for part in parts] == [
        ("train.csv", 32),
        ("dev.csv", 4),
        ("test.csv", 4),
    ]
    found = [read(part.path) for part in parts]
    assert {lines[0] for lines in found} == {"id,english,french"}
    assert sorted(line for lines in found for line in lines[1:]) == sorted(rows(40))
    split_pairs([path], tmp_path / "again", languages=("english", "french"))
    assert [read(tmp_path / "again" / part.path.name) for part in parts] == found


def test_a_file_without_headings_gets_none(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", rows(10))
    parts = split_pairs([path], tmp_path / "parts", columns=("-", "source", "target"), test=0)
    assert sorted(line for part in parts for line in read(part.path)) == rows(10)
    assert not (tmp_path / "parts" / "test.csv").exists()


def test_two_files_stay_two_files_in_step(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "all.en.gz", "wt") as file:
        file.write("".join(f"go {n}\n" for n in range(20)))
    other = write(tmp_path / "all.fr", [f"va {n}" for n in range(20)])
    parts = split_pairs([tmp_path / "all.en.gz", other], tmp_path / "parts", keep_order=True)
    names = ["train.en", "train.fr", "dev.en", "dev.fr", "test.en", "test.fr"]
    assert [part.path.name for part in parts] == names
    assert read(tmp_path / "parts/train.en") == [f"go {n}" for n in range(16)]
    assert read(tmp_path / "parts/dev.fr") == ["va 16", "va 17"]
    assert read(tmp_path / "parts/test.fr") == ["va 18", "va 19"]


def test_equal_endings_are_told_apart(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.txt", [f"{name} {n}" for n in range(10)]) for name in ("en", "fr")]
    parts = split_pairs(paths, tmp_path / "parts", dev=0)
    assert [part.path.name for part in parts] == [
        "train.source.txt",
        "train.target.txt",
        "test.source.txt",
        "test.target.txt",
    ]


def test_repeated_sources_and_targets_are_in_one_part(tmp_path: Path) -> None:
    lines = [f"go {n // 3}\tva {n // 2}" if n < 6 else f"go {n}\tva {n}" for n in range(60)]
    parts = split_pairs([write(tmp_path / "p.tsv", lines)], tmp_path / "parts", seed=3)
    for side in (0, 1):
        found = [{line.split("\t")[side] for line in read(part.path)} for part in parts]
        assert sum(map(len, found)) == len(set().union(*found))


def test_what_cannot_be_split_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.tsv", ["go\tva", "go\tvas", "go\tallez"])
    with pytest.raises(
        DataError, match=r"p\.tsv: 3 pairs in 1 group with a sentence in common, too few for dev"
    ):
        split_pairs([path], tmp_path / "parts")
    with pytest.raises(UsageError, match=r"p\.tmx: TMX cannot be split; expected \.tsv, \.csv or \.jsonl"):
        split_pairs([tmp_path / "p.tmx"], tmp_path / "parts")
    with pytest.raises(UsageError, match="3 files: expected one file of pairs, or SRC TGT"):
        split_pairs([path] * 3, tmp_path / "parts")


@pytest.mark.parametrize(
    ("name", "lines", "expected"),
    [
        ("p.csv", rows(3), True),
        ("p.csv", ["source,target", "gehen,ging"], True),
        ("p.tsv", ["Hi there.\tSalut.", "Go now.\tVa !"], True),
        ("p.tsv", ["Ada\tB-PER", "codes\tO", "", "So\tO"], False),
        ("p.csv", ["word,tag", "Ada,B-PER"], False),
        ("p.jsonl", ['{"source": "a", "target": "b"}'], True),
        ("p.jsonl", ['{"tokens": ["a"], "tags": ["O"]}'], False),
        ("p.conll", ["Ada B-PER"], False),
    ],
)
def test_the_kind_of_file_is_found_from_its_content(
    tmp_path: Path, name: str, lines: list[str], expected: bool
) -> None:
    assert look_like_pairs([write(tmp_path / name, lines)]) == expected
