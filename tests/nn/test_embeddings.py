"""Pretrained vectors in the common file formats, and the errors for damaged files."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import pytest
import torch

from seqtool.errors import DataError, UsageError
from seqtool.nn.embeddings import pretrained_rows, uniform_embedding

VECTORS = {"the": [0.5, -1.0, 2.0], "Paris": [1.0, 2.0, 3.0], "naïve": [-0.25, 0.0, 4.0]}
WANTED = {"<unk>": 0, "naïve": 1, "the": 2, "missing": 3}
EXPECTED = [[0.0, 0.0, 0.0], VECTORS["naïve"], VECTORS["the"], [0.0, 0.0, 0.0]]


def as_text(*, header: bool = False, end: str = "") -> bytes:
    """GloVe's format; with a header word2vec's; fastText's also ends lines with a space."""
    rows = [f"{word} {' '.join(map(str, vector))}{end}\n" for word, vector in VECTORS.items()]
    return "".join([f"{len(VECTORS)} 3{end}\n"] * header + rows).encode()


def as_binary(*, feed: bool = False) -> bytes:
    rows = [
        word.encode() + b" " + struct.pack("<3f", *vector) + b"\n" * feed for word, vector in VECTORS.items()
    ]
    return b"3 3\n" + b"".join(rows)


FORMATS = {
    "glove.txt": as_text(),
    "word2vec.txt": as_text(header=True),
    "fasttext.vec": as_text(header=True, end=" "),
    "windows.txt": as_text().replace(b"\n", b"\r\n"),
    "word2vec.bin": as_binary(),
    "feeds.bin": as_binary(feed=True),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_vectors_of_the_wanted_words(tmp_path: Path, name: str, compressed: bool):
    path = tmp_path / (name + ".gz" * compressed)
    path.write_bytes(gzip.compress(FORMATS[name]) if compressed else FORMATS[name])
    vectors, found = pretrained_rows(path, WANTED)
    assert vectors.tolist() == EXPECTED
    assert vectors.dtype == torch.float32
    assert found.tolist() == [False, True, True, False]


def write(folder: Path, content: str | bytes, name: str = "vectors.txt") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_only_rows_of_wanted_words_are_kept(tmp_path: Path):
    path = write(tmp_path, "".join(f"word{n} {n} {n + 1}\n" for n in range(100)))
    vectors, found = pretrained_rows(path, {"word7": 0, "word99": 1})
    assert vectors.tolist() == [[7.0, 8.0], [99.0, 100.0]]
    assert found.all()


def test_a_missing_word_takes_the_vector_of_its_lower_cased_form(tmp_path: Path):
    path = write(tmp_path, "berlin 1\nBerlin 2\nÉTÉ 3\nété 4\nParis 5\n")
    wanted = {"Berlin": 0, "BERLIN": 1, "berlin": 2, "Été": 3, "paris": 4}
    vectors, found = pretrained_rows(path, wanted)
    assert vectors[:, 0].tolist() == [2.0, 1.0, 1.0, 4.0, 0.0]  # exact first; never from lower to upper case
    assert found.tolist() == [True, True, True, True, False]


def test_the_exact_form_wins_wherever_it_stands(tmp_path: Path):
    for content in ("us 1\nUS 2\n", "US 2\nus 1\n"):
        vectors, _ = pretrained_rows(write(tmp_path, content), {"US": 0, "us": 1})
        assert vectors[:, 0].tolist() == [2.0, 1.0]


def test_the_first_of_two_rows_of_a_word_counts(tmp_path: Path):
    vectors, _ = pretrained_rows(write(tmp_path, "a 1 2\na 3 4\n"), {"a": 0})
    assert vectors.tolist() == [[1.0, 2.0]]


def test_words_with_spaces_are_read_by_the_width_of_the_first_row(tmp_path: Path):
    path = write(tmp_path, "the 1 2\n. . . 3 4\nat name@domain.com 5 6\n")
    vectors, _ = pretrained_rows(path, {". . .": 0, "at name@domain.com": 1, ".": 2})
    assert vectors.tolist() == [[3.0, 4.0], [5.0, 6.0], [0.0, 0.0]]


def test_words_that_look_like_numbers_are_words(tmp_path: Path):
    vectors, _ = pretrained_rows(write(tmp_path, "3 1 2\n1999 3 4\n"), {"3": 0, "1999": 1})
    assert vectors.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a 1 2\nb 1\n", ":2: expected a word and 2 numbers"),
        ("a 1 2\n\nb 1 2\n", ":2: expected a word and 2 numbers"),
        ("2 2\na 1 2\nb 1 x\n", ":3: expected a word and 2 numbers"),
        ("a 1 2\nb 1 nan\n", ":2: expected a word and 2 numbers"),
        ("a 1 2\nb inf 1\n", ":2: expected a word and 2 numbers"),
        ("a 1 2\nb 1e60 1\n", ":2: expected a word and 2 numbers"),
        ("a 1 2\n1 2\n", ":2: expected a word and 2 numbers"),
        ("2 2\na 1 2\nb 1 2 3 4 5\nc 1", ":4: expected a word and 2 numbers"),
        ("only\n", ":1: expected a word and its numbers"),
        ("", ": no word vectors in it"),
        ("3 5\n", ": no word vectors in it"),
    ],
)
def test_a_damaged_text_file_is_refused_with_its_line(tmp_path: Path, content: str, message: str):
    path = write(tmp_path, content)
    with pytest.raises(DataError) as error:
        pretrained_rows(path, WANTED)
    assert str(error.value) == f"{path}{message}"


BINARY = as_binary()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"the 1 2 3\n", ":1: expected word2vec's header `COUNT WIDTH`"),
        (b"", ":1: expected word2vec's header `COUNT WIDTH`"),
        (BINARY[:-2], ": ends in the middle of word 3 of 3"),
        (BINARY[:18], ": ends in the middle of word 1 of 3"),
        (BINARY.replace(b"3 3", b"4 3"), ": ends in the middle of word 4 of 4"),
        (b"2 3\n" + b"x" * 20_000, ": word 1 has no end; not word2vec's binary format"),
        (b"1 1\na " + struct.pack("<f", float("nan")), ": word 1 has a number that is not finite"),
        (b"0 3\n", ": no word vectors in it"),
    ],
)
def test_a_damaged_binary_file_is_refused_with_its_word(tmp_path: Path, content: bytes, message: str):
    path = write(tmp_path, content, "vectors.bin")
    with pytest.raises(DataError) as error:
        pretrained_rows(path, WANTED)
    assert str(error.value) == f"{path}{message}"


@pytest.mark.parametrize("damage", ["cut", "flipped", "noise", "not gzip"])
@pytest.mark.parametrize("name", ["vectors.txt.gz", "vectors.bin.gz"])
def test_a_damaged_archive_is_refused(tmp_path: Path, name: str, damage: str):
    content = gzip.compress(FORMATS["glove.txt" if ".txt" in name else "word2vec.bin"])
    damaged = {
        "cut": content[:-12],
        "flipped": content[:-8] + bytes([content[-8] ^ 1]) + content[-7:],  # the checksum
        "noise": content[:10] + b"\xff" * 20,
        "not gzip": FORMATS["glove.txt"],
    }
    path = write(tmp_path, damaged[damage], name)
    with pytest.raises(DataError, match=r"vectors.*\.gz: damaged gzip data"):
        pretrained_rows(path, WANTED)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match=r"absent\.txt: no such file of word vectors"):
        pretrained_rows(tmp_path / "absent.txt", WANTED)


def test_components_of_a_new_embedding_have_variance_one_over_width():
    torch.manual_seed(0)
    weight = uniform_embedding(4000, 50).weight.detach()
    assert float(weight.abs().max()) <= (3 / 50) ** 0.5
    assert float(weight.var()) == pytest.approx(1 / 50, rel=0.02)


def test_only_the_padding_vector_is_zero():
    weight = uniform_embedding(5, 3, padding=2).weight
    assert (weight == 0).all(1).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (f"3 {10**18 - 1}", "width 999999999999999999, expected 1 to 100000"),
        ("3 100001", "width 100001, expected 1 to 100000"),
        (f"3 {'9' * 5000}", "expected word2vec's header"),
        (f"{'9' * 5000} 3", "expected word2vec's header"),
        (f"{10**17} 0", "width 0, expected"),  # nothing to read, for a very long time
        (f"{10**17} 3", "ends in the middle of word 4 of"),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(
    tmp_path: Path, header: str, reason: str, compressed: bool
):
    content = header.encode() + as_binary()[3:]
    path = write(tmp_path, gzip.compress(content) if compressed else content, "v.bin" + ".gz" * compressed)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=reason):
            pretrained_rows(path, WANTED)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_binary_file_without_a_line_end_is_not_read_to_its_end(tmp_path: Path):
    path = tmp_path / "zeros.bin"
    with path.open("wb") as file:
        file.truncate(1_000_000_000)  # a hole
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="expected word2vec's header"):
            pretrained_rows(path, WANTED)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("header", [f"3 {10**18 - 1}", f"3 {'9' * 5000}"])
def test_a_text_header_that_claims_too_much_is_refused(tmp_path: Path, header: str):
    with pytest.raises(DataError, match=r"vectors.txt:\d: expected a word and"):
        pretrained_rows(write(tmp_path, f"{header}\n" + as_text().decode()), WANTED)
