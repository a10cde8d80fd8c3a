"""`seqtool data check --task translate` from outside."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from seqtool.text.pair_check import parts_of
from tests.cli.program import cells, inside, seqtool

SOURCES = ("Ada lives", "yes", "yes", "", "Ada", "a b c d e f", "no")
TARGETS = ("Ada lebt", "ja", "ja", "ja", "Ada", "ab", "n" * 7)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t.en").write_text("".join(f"{line}\n" for line in SOURCES))
    (tmp_path / "t.de").write_text("".join(f"{line}\n" for line in TARGETS))
    (tmp_path / "d.tsv").write_text("yes\tja\nyes\tja\nno\tnein\n")
    return tmp_path


def reports(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    done = inside("data", "check", "--task", "translate", "--json", *arguments, folder=folder)
    assert done.code == 0, done.err
    value = json.loads(done.out)
    assert value["task"] == "translate"
    return value["files"]


def test_check_counts_what_is_in_two_files(folder: Path) -> None:
    (found,) = reports(folder, "t.en", "t.de")
    assert found["path"] == "t.en and t.de"
    assert (found["pairs"], found["empty"], found["repeated"], found["identical"]) == (7, 1, 1, 1)
    assert found["source"] == {
        "words": 12,
        "characters": sum(map(len, SOURCES)),
        "distinct_characters": len(set("".join(SOURCES))),
        "empty": 1,
        "longest": 11,
        "longest_at": "t.en:6",
    }
    assert (found["target"]["words"], found["target"]["empty"]) == (8, 0)
    assert (found["target"]["longest"], found["target"]["longest_at"]) == (8, "t.de:1")
    assert found["shared"] == {}


def test_uneven_pairs_are_those_far_from_the_usual_ratio(folder: Path) -> None:
    """The usual ratio is the median, here 8/9 and 2/3; line 6 has 2/11, line 7 has 7/2."""
    (found,) = reports(folder, "t.en", "t.de")
    assert found["ratio"] == pytest.approx((2 / 3 + 8 / 9) / 2)
    assert (found["uneven"], found["uneven_at"]) == (2, ["t.en:6", "t.en:7"])
    (folder / "zh.tsv").write_text("abcdefgh\txy\n" * 5 + "abcdefgh\tuvwxyz\n" + "ab\tabcdefgh\n" * 3)
    (found,) = reports(folder, "zh.tsv")
    assert (found["ratio"], found["uneven"]) == (0.25, 3)  # 6/8 is 3 times as much, and not more
    assert found["uneven_at"] == ["zh.tsv:7", "zh.tsv:8", "zh.tsv:9"]


def test_later_parts_are_compared_with_those_before(folder: Path) -> None:
    (folder / "x.jsonl").write_text('{"source": "no", "target": "nein"}\n{"source": "a", "target": "b"}\n')
    done = inside("data", "check", "--task", "translate", "t.en", "t.de", "d.tsv", "x.jsonl", folder=folder)
    assert done.err.splitlines() == [
        "warning: t.en and t.de: 1 pair with an empty side, which training refuses; "
        "leave them out with --set data.empty=drop",
        "warning: d.tsv: 2 of its pairs are also in t.en and t.de",
        "warning: x.jsonl: 1 of its pairs are also in d.tsv",
    ]
    assert ("also in t.en and t.de", "2 pairs") in cells(done.out)
    found = reports(folder, "t.en", "t.de", "d.tsv", "x.jsonl")
    assert [part["shared"] for part in found] == [
        {},
        {"t.en and t.de": 2},
        {"t.en and t.de": 0, "d.tsv": 1},
    ]


def test_a_part_is_a_table_of_its_own(folder: Path) -> None:
    done = seqtool("data", "check", "t.en", "t.de", "--task", "translate", folder=folder)
    assert done.out.startswith("t.en and t.de\npairs\t7\npairs with an empty side\t1\n")
    assert {
        ("source words", "12"),
        ("longest source", "11 characters, t.en:6"),
        ("pairs above 3 times that ratio, or below a third", "2, first at t.en:6, t.en:7"),
        ("repeated pairs", "1"),
        ("pairs with target equal to source", "1"),
    } <= cells(done.out)


def test_columns_and_languages_are_those_of_a_recipe(folder: Path) -> None:
    with gzip.open(folder / "f.tsv.gz", "wt") as file:
        file.write("gehen\tging\tV;PST\ngehen\tging\tV;PRS\n")
    (found,) = reports(folder, "f.tsv.gz", "--columns", "source,target,features")
    assert (found["pairs"], found["repeated"]) == (2, 0)
    (found,) = reports(folder, "f.tsv.gz", "--columns", "target,source,-")
    assert (found["repeated"], found["source"]["characters"]) == (1, 8)
    (folder / "l.jsonl").write_text('{"translation": {"en": "a", "de": "b"}}\n')
    assert reports(folder, "l.jsonl", "--languages", "en,de")[0]["pairs"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("t.en", "short"), 3, "t.en: 7 lines, but short: 2; expected equally many"),
        (("empty.tsv",), 3, "empty.tsv: no sentence pairs; expected at least one"),
        (("t.en",), 3, "t.en:1: 1 column, expected 2"),
        (("half.jsonl",), 3, "half.jsonl:1: no target; expected a source and a target"),
        (("binary", "binary"), 3, "binary:1: "),
        (("t.en", "absent"), 2, "absent: no such file"),
        (
            ("d.tsv", "t.en"),
            2,
            "t.en: no target file after it; expected SRC TGT, or one file in .tsv, .csv, .jsonl, .tmx",
        ),
        (("d.tsv", "--columns", "source"), 2, "--columns source: expected source, one or more target"),
        (("d.tsv", "--columns", "source,target,x"), 2, "--columns source,target,x: expected"),
        (("d.tsv", "--languages", "en"), 2, "--languages en: expected two keys"),
        (("d.tsv", "--scheme", "iob2"), 2, "--scheme has no effect with --task translate"),
        (("d.tsv", "--repair"), 2, "--repair has no effect with --task translate"),
        (("d.tsv", "--tag-column", "2"), 2, "--tag-column has no effect with --task translate"),
    ],
)
def test_what_cannot_be_checked_is_refused(
    folder: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (folder / "short").write_text("a\nb\n")
    (folder / "empty.tsv").touch()
    (folder / "half.jsonl").write_text('{"source": "a"}\n')
    (folder / "binary").write_bytes(b"a\0b\n")
    done = inside("data", "check", "--task", "translate", *arguments, folder=folder)
    assert (done.code, done.out) == (code, "")
    assert message in done.err and len(done.err.splitlines()) == 1


def test_options_of_pairs_are_for_pairs(folder: Path) -> None:
    for words in (("--columns", "source,target"), ("--languages", "en,de")):
        done = inside("data", "check", "d.tsv", *words, folder=folder)
        assert (done.code, done.out) == (2, "")
        assert f"{words[0]} has no effect without --task translate" in done.err


def test_all_sides_empty_have_no_ratio(folder: Path) -> None:
    (folder / "blank.tsv").write_text("\ta\n\n")
    (found,) = reports(folder, "blank.tsv")
    assert (found["pairs"], found["empty"], found["ratio"], found["uneven"]) == (2, 2, None, 0)


def test_split_finds_that_a_file_is_of_pairs(folder: Path) -> None:
    lines = [f'"Go, {n} times.",Va {n} !' for n in range(20)]
    (folder / "p.csv").write_text("".join(f"{line}\n" for line in ["english,french", *lines]))
    done = inside("data", "split", "p.csv", "-o", "parts", folder=folder)
    assert done.out.splitlines() == [f"parts/{part}.csv" for part in ("train", "dev", "test")], done.err
    assert "p.csv: first row taken as headings: english, french" in done.err
    assert "parts/train.csv: 16 pairs" in done.err
    done = inside("data", "split", "p.csv", "-o", "parts", "--task", "ner", folder=folder)
    assert (done.code, done.out) == (3, "")
    assert (
        "if it holds pairs of sentences, check it with `seqtool data check FILE --task translate`" in done.err
    )
    done = inside("data", "split", "t.en", "t.de", "-o", "two", "--tag-column", "2", folder=folder)
    assert (done.code, done.out) == (2, "")
    assert "--tag-column has no effect on sentence pairs" in done.err


def test_a_single_file_is_of_columns_whatever_its_name() -> None:
    assert parts_of(["pairs"]) == [("pairs",)]
    assert parts_of(["a", "b", "c.jsonl.gz", "d", "e"]) == [("a", "b"), ("c.jsonl.gz",), ("d", "e")]


def test_csv_and_tmx_are_checked_as_training_reads_them(folder: Path) -> None:
    (folder / "p.csv").write_text('de;en\n"Ada; lebt";Ada lives\nSie geht;She goes\n')
    unit = "<tu><tuv xml:lang='en'><seg>Hello</seg></tuv><tuv xml:lang='de'><seg>Hallo</seg></tuv></tu>"
    (folder / "p.tmx").write_text(f"<tmx><header srclang='en'/><body>{unit}</body></tmx>")
    table, memory = reports(folder, "p.csv", "p.tmx", "--languages", "en,de")
    assert (table["pairs"], table["source"]["words"], table["target"]["words"]) == (2, 4, 4)
    assert (memory["pairs"], memory["source"]["longest_at"]) == (1, "p.tmx:1")
