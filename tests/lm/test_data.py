"""From text files to parts: no character is lost, and none is in two parts."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import time
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.errors import DataError, UsageError
from seqtool.lm.data import Part, documents_of, load_part, load_training_data, read_files
from seqtool.lm.settings import DataSettings, LanguageModelSettings
from seqtool.settings import validate
from seqtool.text.data_files import PARTS

KINDS = ("stream", "file", "paragraph", "line")
# Line ends, and characters that only look like one.
BREAKS = st.sampled_from(
    ["\n", "\n\n", "\r\n", "\r", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", " ", "\t", "\x1c"]
)
TEXTS = st.lists(st.one_of(BREAKS, st.text(max_size=5)), max_size=15).map("".join)


def settings_of(**data: Any) -> LanguageModelSettings:
    return validate(LanguageModelSettings, {"task": "lm", "name": "n", "data": data}, "settings")


def text_of(part: Part) -> str:
    return "".join(part.documents)


def write(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    return str(path)


def lines_text(lines: int = 40) -> str:
    return "".join(f"line {number} of the text\n" for number in range(lines))


def parts_of(**data: Any) -> dict[str, Part]:
    """All existing parts."""
    found: dict[str, Part] = {}
    for name in PARTS:
        with contextlib.suppress(UsageError):
            found[name] = load_part(settings_of(**data), name).parts[name]
    return found


def test_a_corpus_may_be_a_single_line_of_any_length(tmp_path: Path) -> None:
    text = "anarchism originated as a term of abuse " * 40_000 + "\n"
    part = read_files([Path(write(tmp_path / "text8", text))], DataSettings(train="x"))
    assert text_of(part) == text


# --- documents ---


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(TEXTS, max_size=4), kind=st.sampled_from(KINDS))
def test_documents_lose_no_character_and_none_is_empty(texts: list[str], kind: str) -> None:
    documents = documents_of(texts, kind)
    assert "".join(documents) == "".join(texts)
    assert all(documents)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_a_line_ends_at_a_line_feed_and_nowhere_else(text: str) -> None:
    lines = documents_of([text], "line")
    assert (
        [line.removesuffix("\n") for line in lines] == text.removesuffix("\n").split("\n") if text else True
    )
    assert all("\n" not in line[:-1] for line in lines)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_a_paragraph_begins_after_blank_lines_only(text: str) -> None:
    """The oracle goes line by line: a line with text begins a new paragraph after a blank one."""
    expected: list[str] = []
    after_blank = False
    for line in documents_of([text], "line"):
        is_blank = line.endswith("\n") and not line.strip()
        if not expected or (after_blank and not is_blank):
            expected.append("")
        expected[-1] += line
        after_blank = is_blank
    assert list(documents_of([text], "paragraph")) == expected


def test_the_kinds_of_documents_by_example() -> None:
    texts = ["a\nb\n\n  \n  c\n", "d\n"]
    assert documents_of(texts, "stream") == ("a\nb\n\n  \n  c\nd\n",)
    assert documents_of(texts, "file") == tuple(texts)
    assert documents_of(texts, "paragraph") == ("a\nb\n\n  \n", "  c\n", "d\n")
    assert documents_of(texts, "line") == ("a\n", "b\n", "\n", "  \n", "  c\n", "d\n")
    for kind in KINDS:
        assert documents_of([], kind) == documents_of([""], kind) == ()


def test_paragraphs_are_found_in_linear_time() -> None:
    hard = (" " * 20_000 + "\n") * 5 + "x" * 100_000 + "\n" * 20_000 + "a \n" * 50_000
    started = time.process_time()
    assert "".join(documents_of([hard], "paragraph")) == hard
    assert time.process_time() - started < 2  # quadratic: minutes


# --- splits ---


def test_the_conventions_for_tiny_shakespeare_give_its_published_sizes(tmp_path: Path) -> None:
    """1,115,394 characters: 1,003,854 and 111,540 (nanoGPT, char-rnn)."""
    line = "0123456789" * 10 + "\n"
    text = (line * 11_100)[:1_115_393] + "\n"
    train = write(tmp_path / "input.txt", text)
    data = load_training_data(settings_of(train=train))
    assert (data.train.size, data.dev.size) == (1_003_854, 111_540)
    assert text_of(data.train) + text_of(data.dev) == text
    both = parts_of(train=train, split="90-10")
    assert [both[name].size for name in PARTS] == [1_003_854, 111_540, 111_540]
    assert text_of(both["test"]) == text_of(both["dev"])
    assert both["dev"].protocol == both["test"].protocol == "contiguous 90/10"
    thirds = parts_of(train=train, split="80-10-10")
    assert "".join(text_of(thirds[name]) for name in PARTS) == text
    assert [thirds[name].size for name in PARTS] == [892_315, 111_539, 111_540]


SPLITS: list[dict[str, Any]] = [
    {},
    {"dev_share": 0.02, "test_share": 0.1},
    {"split": "80-10-10"},
    {"split": "middle", "dev_share": 0.1, "test_share": 0.2},
    {"split": "middle"},
    {"split": "interleaved", "rows": 7, "test_share": 0.2},
    {"split": "interleaved", "rows": 1},
]


@pytest.mark.parametrize(
    ("split", "documents"),
    [
        (split, documents)
        for split in SPLITS
        for documents in KINDS
        if documents == "stream" or split.get("split") != "interleaved"
    ],
    ids=str,
)
def test_the_parts_of_a_split_are_disjoint_and_cover_the_text(
    tmp_path: Path, split: dict[str, Any], documents: str
) -> None:
    # All characters are distinct, so that each can be found again.
    pieces = [f"{chr(0x4E00 + i)}\n{chr(0x6E00 + i)}\n\n" for i in range(900)]
    text = "".join(pieces)
    many = [write(tmp_path / f"{i}", "".join(pieces[i : i + 10])) for i in range(0, 900, 10)]
    for train in (write(tmp_path / "a", text), many):
        parts = parts_of(train=train, **split, documents=documents)
        kept = [character for part in parts.values() for character in text_of(part) if character != "\n"]
        assert sorted(kept) == sorted(text.replace("\n", ""))
        assert len({part.protocol for part in parts.values()}) == 1
        assert sum(part.size for part in parts.values()) == len(text)
        assert "test" in parts or not (split.get("test_share") or split.get("split") == "80-10-10")


@pytest.mark.parametrize("documents", ["stream", "line"])
def test_dev_from_the_middle_leaves_what_stands_before_test_to_train(tmp_path: Path, documents: str) -> None:
    text = "".join(f"{chr(0x4E00 + i)}\n" for i in range(1000))
    parts = parts_of(
        train=write(tmp_path / "a", text), documents=documents, split="middle", dev_share=0.1, test_share=0.2
    )
    assert text_of(parts["test"]) == text[1600:]
    assert text_of(parts["dev"]) == text[700:900]
    assert text_of(parts["train"]) == text[:700] + text[900:1600]
    assert parts["dev"].protocol == "dev from the middle 0.7/0.1/0.2"


def test_shares_of_documents_end_between_documents(tmp_path: Path) -> None:
    text = lines_text()
    parts = parts_of(train=write(tmp_path / "a", text), documents="line", test_share=0.1)
    assert "".join(text_of(parts[name]) for name in PARTS) == text
    for part in parts.values():
        assert all(document.endswith("\n") and document.count("\n") == 1 for document in part.documents)
    assert parts["dev"].size == pytest.approx(0.1 * len(text), abs=25)
    assert parts["dev"].protocol == "contiguous 0.8/0.1/0.1"


def test_the_rows_of_an_interleaved_split_each_end_in_their_dev_and_test_parts(tmp_path: Path) -> None:
    text = "".join(f"{row}tttttdDsS" for row in range(9)) + "xyz\n"  # 9 rows of 10 and 4 left over
    shares = {"dev_share": 0.2, "test_share": 0.2}
    parts = parts_of(train=write(tmp_path / "a", text), split="interleaved", rows=9, **shares)
    assert text_of(parts["dev"]) == "dD" * 9
    assert text_of(parts["test"]) == "sS" * 9
    assert text_of(parts["train"]) == "".join(f"{row}ttttt" for row in range(9)) + "xyz\n"
    assert parts["dev"].protocol == "tails of 9 rows 0.6/0.2/0.2"


def test_files_that_are_named_are_whole_parts_and_train_is_then_whole_too(tmp_path: Path) -> None:
    train, dev, test = (write(tmp_path / name, lines_text() + name + "\n") for name in PARTS)
    for names in ({"dev": dev, "test": test}, {"dev": dev}):
        data = load_training_data(settings_of(train=train, **names))
        assert text_of(data.train) == lines_text() + "train\n"
        assert text_of(data.dev) == lines_text() + "dev\n"
        assert {part.protocol for part in data.parts.values()} == {"whole"}
    found = load_part(settings_of(train=train, dev=dev, test=test), "test").parts["test"]
    assert text_of(found) == lines_text() + "test\n"
    with pytest.raises(UsageError, match=r"this run has no test part; name a file, or use .*: --part dev"):
        load_part(settings_of(train=train, dev=dev), "test")


@pytest.mark.parametrize("named", ["dev", "test"])
@pytest.mark.parametrize("split", ["contiguous", "middle", "90-10", "80-10-10"])
def test_what_a_file_is_named_for_is_not_cut_out_of_train(tmp_path: Path, named: str, split: str) -> None:
    train, own = write(tmp_path / "a", lines_text()), write(tmp_path / "b", "own\n")
    given: dict[str, Any] = {"split": split}
    if split in ("contiguous", "middle"):
        given["test_share"] = 0.1
    parts = parts_of(train=train, **{named: own}, **given)
    other = "dev" if named == "test" else "test"
    assert text_of(parts[named]) == "own\n"
    both = text_of(parts["train"]) + text_of(parts[other])
    assert Counter(both) == Counter(lines_text()) if split == "middle" else both == lines_text()
    assert load_training_data(settings_of(train=train, **{named: own}, **given)).warnings == ()


def test_the_90_10_split_says_that_dev_chooses_on_the_test_text(tmp_path: Path) -> None:
    train = write(tmp_path / "a", lines_text())
    (warning,) = load_training_data(settings_of(train=train, split="90-10")).warnings
    assert warning.startswith("data.split = '90-10': dev and test are the same text")


# --- files ---


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    folder = tmp_path / "books"
    (folder / "b").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("c.txt", "a.txt", "b/z.txt", "b/a.txt", ".hidden", ".git/config"):
        write(folder / name, f"{name}\n")
    (folder / "d.txt.gz").write_bytes(gzip.compress(b"packed\n"))
    part = read_files([folder], DataSettings(documents="file"))
    assert part.documents == ("a.txt\n", "b/a.txt\n", "b/z.txt\n", "c.txt\n", "packed\n")
    two = read_files([folder / "c.txt", folder / "b"], DataSettings(documents="file"))
    assert two.documents == ("c.txt\n", "b/a.txt\n", "b/z.txt\n")
    assert two.source == f"{folder / 'c.txt'} and {folder / 'b'}"
    assert read_files([folder / "c.txt"] * 9, DataSettings()).source == f"{folder / 'c.txt'} and 8 more"


def test_a_hidden_folder_that_was_named_is_read(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    write(tmp_path / ".cache" / "a.txt", "a\n")
    assert text_of(read_files([tmp_path / ".cache"], DataSettings())) == "a\n"


def test_lines_end_in_a_line_feed_whatever_the_file_has(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\ntwo\u2028still two\n\n  three".encode())
    assert text_of(read_files([path], DataSettings())) == "one\ntwo\u2028still two\n\n  three"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_a_text_without_a_line_end_gets_none(tmp_path: Path, kind: str, name: str) -> None:
    """The digest of a part is then that of its concatenated files."""
    digests = set()
    for text in ("one\n\ntwo", "one\n\ntwo\n", "one\n\ntwo\n\n"):
        raw = text.encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        data = DataSettings(train=str(path), dev=str(path), documents=kind)
        part = read_files([path, path], data)
        assert text_of(part) == text + text
        train = load_training_data(settings_of(**data.model_dump(exclude_defaults=True))).train
        assert train.digest == hashlib.sha256(raw).hexdigest()
        digests.add(train.digest)
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("raw", "message"),
    [(b"", "contains no text"), (b"  \n\n \t\n", "contains no text"), (b"ab\xff\n", "not UTF-8 at byte 2")],
)
def test_files_without_text_are_data_errors(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(raw)
    for documents in KINDS:
        with pytest.raises(DataError, match=message):
            load_training_data(settings_of(train=str(path), documents=documents))


def test_missing_files_and_empty_folders_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_training_data(settings_of(train=str(tmp_path / "nothing")))
    with pytest.raises(UsageError, match="this folder contains no files"):
        load_training_data(settings_of(train=str(tmp_path)))
    with pytest.raises(UsageError, match="the recipe names no train data"):
        load_training_data(settings_of())


@pytest.mark.parametrize(
    ("text", "data", "message"),
    [
        ("a\n", {}, None),  # the line end is the held-out character, and it is blank
        ("a\n", {"documents": "line"}, "too little text to hold out"),
        ("one line\n", {"split": "80-10-10"}, "too little text to hold out"),
        ("few\n", {"split": "interleaved"}, "4 characters do not fill 50 rows"),
        ("some text\n", {"split": "interleaved", "rows": 10}, "too little text to hold out train"),
    ],
)
def test_too_little_text_to_hold_out_is_a_data_error(
    tmp_path: Path, text: str, data: dict[str, Any], message: str | None
) -> None:
    with pytest.raises(
        DataError, match=message or "too little text to hold out dev; give it a file with --dev FILE"
    ):
        load_training_data(settings_of(train=write(tmp_path / "a", text), **data))


# --- how a part is described ---


@pytest.mark.parametrize("documents", KINDS)
def test_the_digest_is_that_of_the_text(tmp_path: Path, documents: str) -> None:
    text = lines_text() + "\n\u2028é\n"
    train, dev = write(tmp_path / "a", text), write(tmp_path / "b", text)
    data = load_training_data(settings_of(train=train, dev=dev, documents=documents))
    expected = hashlib.sha256(text.encode()).hexdigest()
    assert data.fingerprint() == {"train": expected, "dev": expected}
    changed = load_training_data(settings_of(train=train, dev=write(tmp_path / "b", text + "x\n")))
    assert changed.fingerprint()["dev"] != expected


def test_a_part_is_described_with_its_size_and_how_it_was_cut(tmp_path: Path) -> None:
    train = write(tmp_path / "a", "ab\n" * 400)
    assert load_training_data(settings_of(train=train)).describe() == [
        f"train: 1,080 characters, 3 distinct, {train} (contiguous 0.9/0.1/0)",
        f"dev: 120 characters, 3 distinct, {train} (contiguous 0.9/0.1/0)",
    ]
    line = load_training_data(settings_of(train=train, documents="line")).describe()[0]
    assert line.startswith("train: 1,080 characters in 360 documents, 3 distinct")


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_text_is_normalised_and_folded_in_every_part(tmp_path: Path, form: Any) -> None:
    text = "É E\u0301 ﬁ ÀB\n" * 20
    path = write(tmp_path / "a", text)
    plain = read_files([Path(path)], DataSettings())
    assert text_of(plain) == text
    data = load_training_data(settings_of(train=path, normalization=form, lowercase=True))
    assert text_of(data.train) + text_of(data.dev) == unicodedata.normalize(form, text).lower()


# --- the hub's library ---


def test_rows_of_a_data_set_are_lines_of_text(tmp_path: Path) -> None:
    rows = [{"content": text} for text in ("first line", "", "second\nwith two", "é\u2028")]
    path = write(tmp_path / "train.json", "".join(json.dumps(row) + "\n" for row in rows))
    hub = {"id": "json", "files": {"train": path}, "text": "content", "streaming": True}
    whole = "first line\n\nsecond\nwith two\né\u2028\n"
    data = load_training_data(settings_of(hub=hub, dev_share=0.3))
    assert text_of(data.train) + text_of(data.dev) == whole
    by_row = load_training_data(settings_of(hub=hub, documents="file", dev_share=0.3))
    assert by_row.train.documents + by_row.dev.documents == (
        "first line\n",
        "\n",
        "second\nwith two\n",
        "é\u2028\n",
    )
    assert data.train.source == "hub json, revision None"


def test_splits_of_a_data_set_are_parts_where_they_are_named(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.json" for name in ("train", "validation")}
    for name, path in paths.items():
        write(path, "".join(json.dumps({"text": f"{name} {number}"}) + "\n" for number in range(10)))
    hub = {"id": "json", "files": {name: str(path) for name, path in paths.items()}, "streaming": True}
    named = load_training_data(settings_of(hub={**hub, "dev": "validation"}))
    assert text_of(named.train) == "".join(f"train {number}\n" for number in range(10))
    assert text_of(named.dev) == "".join(f"validation {number}\n" for number in range(10))
    cut = load_training_data(settings_of(hub=hub))
    assert text_of(cut.train) + text_of(cut.dev) == text_of(named.train)
    test = write(tmp_path / "own.txt", "own\n")
    assert text_of(load_part(settings_of(hub=hub, test=test), "test").parts["test"]) == "own\n"
