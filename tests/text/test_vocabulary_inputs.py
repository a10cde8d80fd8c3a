"""The inventories in `vocab/` are well formed, follow the stated rule and fit the data that they name."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from seqtool.text.columns import detect_format, read_sentences
from seqtool.text.lines import lines_of
from seqtool.text.tag_scheme import inventory

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "vocab").glob("*/*.txt"))
SHARED = Path(os.environ.get("SEQTOOL_DATA", ROOT / ".." / "shared" / "data"))

RANGES = {
    "latin": [(0xA1, 0x17F)],
    "greek": [(0x370, 0x3FF)],
    "cyrillic": [(0x400, 0x45F), (0x490, 0x491)],
    "hebrew": [(0x5D0, 0x5EA)],
    "arabic": [(0x621, 0x64A), (0x660, 0x669)]
    + [(code, code) for code in (0x60C, 0x61B, 0x61F, 0x67E, 0x686, 0x698, 0x6A9, 0x6AF, 0x6CC)],
}


def entries(folder: str, name: str) -> list[str]:
    return list(lines_of(ROOT / "vocab" / folder / f"{name}.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_inventories_are_sorted_without_repetition_and_described(path: Path):
    found = list(lines_of(path))
    assert found
    assert found == sorted(set(found))
    assert all(entry and not any(c.isspace() for c in entry) for entry in found)
    assert f"`{path.name}`" in (ROOT / "vocab" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RANGES)
def test_characters_are_made_by_the_stated_rule(name: str):
    codes = [code for first, last in [(0x21, 0x7E), *RANGES[name]] for code in range(first, last + 1)]
    kept = {chr(code) for code in codes if unicodedata.category(chr(code))[0] in "LNPS"}
    kept = {character for character in kept if unicodedata.normalize("NFC", character) == character}
    assert entries("characters", name) == sorted(kept | set("–—‘’“”„…•€"))


@pytest.mark.parametrize(
    ("name", "count"), [("conll2003", 4), ("conll2000", 11), ("ontonotes", 18), ("upos", 17), ("penn", 45)]
)
def test_inventories_have_their_published_size(name: str, count: int):
    assert len(entries("tags", name)) == count


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("wnut17", "wnut17/wnut17train.conll"),
        ("ncbi_disease", "ncbi_disease/train.tsv"),
        ("upos", "ud_english_ewt/en_ewt-ud-train.conllu"),
    ],
)
def test_inventories_hold_exactly_the_tags_of_their_data(name: str, path: str):
    if not (SHARED / path).is_file():
        pytest.skip(f"{path} is not there; SEQTOOL_DATA names the folder of the real data")
    found = {
        tag
        for sentence in read_sentences(SHARED / path, detect_format(SHARED / path))
        for tag in sentence.tags or ()
    }
    expected = entries("tags", name) if name == "upos" else inventory(entries("tags", name), "iob2")
    assert found == set(expected)
