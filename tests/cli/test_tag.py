"""`seqtool tag`: its output for given input."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import PEOPLE, PLACES, Tiny
from tests.cli.running import Inside, refused

TEXT = "Ada lives in New York .\n"
COLUMNS = "Ada\tB-PER\nlives\tO\nin\tO\nNew\tB-LOC\nYork\tI-LOC\n.\tO\n\n"


def objects(out: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.decode().split("\n") if line]


def sentences(count: int) -> list[str]:
    """Lines of very different lengths, some empty."""
    source = random.Random(7)
    lines = []
    for _ in range(count):
        parts = [
            f"{source.choice(PEOPLE)} lives in {source.choice(PLACES)} ." for _ in range(source.randrange(6))
        ]
        lines.append(" ".join(parts))
    return lines


def test_text_becomes_columns_and_blank_lines_stay(inside: Inside, tiny: Tiny):
    outcome = inside("tag", "-m", tiny.run, stdin=f"\n{TEXT}\n \t\n{TEXT}".encode())
    assert outcome.out.decode() == f"\n{COLUMNS}\n\n{COLUMNS}"
    assert outcome.code == 0
    assert outcome.err.startswith("5 sentences, 12 tokens, ")


def test_the_three_output_formats_agree(inside: Inside, tiny: Tiny):
    assert inside("tag", "-m", tiny.run, stdin=TEXT.encode()).out.decode() == COLUMNS
    inline = inside("tag", "-m", tiny.run, "--format", "inline", stdin=f"{TEXT}\n{TEXT}".encode())
    assert (
        inline.out.decode()
        == "[PER Ada] lives in [LOC New York] .\n\n" + "[PER Ada] lives in [LOC New York] .\n"
    )
    (value,) = objects(inside("tag", "-m", tiny.run, "--format", "jsonl", stdin=TEXT.encode()).out)
    assert value == {
        "text": "Ada lives in New York .",
        "tokens": ["Ada", "lives", "in", "New", "York", "."],
        "tags": ["B-PER", "O", "O", "B-LOC", "I-LOC", "O"],
        "entities": [
            {"type": "PER", "first_token": 0, "after_token": 1, "start": 0, "end": 3, "text": "Ada"},
            {"type": "LOC", "first_token": 3, "after_token": 5, "start": 13, "end": 21, "text": "New York"},
        ],
    }


def test_what_has_no_inline_form_is_refused(inside: Inside, tiny: Tiny) -> None:
    outcome = inside("tag", "-m", tiny.run, "--format", "inline", "--kbest", 2, stdin=b"Ada\n")
    refused(outcome, 2, "tag", "--kbest cannot be written with --format inline")


def test_the_inline_form_has_the_confidence_of_each_entity(inside: Inside, tiny: Tiny) -> None:
    words = ("tag", "-m", tiny.run, "--confidence")
    (value,) = objects(inside(*words, "--format", "jsonl", stdin=TEXT.encode()).out)
    person, place = (f"{entity['confidence']:.2f}" for entity in value["entities"])
    inline = inside(*words, "--format", "inline", stdin=TEXT.encode())
    assert inline.out.decode() == f"[PER:{person} Ada] lives in [LOC:{place} New York] .\n"


@pytest.mark.parametrize("input_format", ["text", "conll", "jsonl"])
@pytest.mark.parametrize("output_format", ["conll", "jsonl", "inline"])
@pytest.mark.parametrize("source", ["-", "empty", "empty.gz"])
def test_nothing_in_nothing_out(
    inside: Inside, tiny: Tiny, tmp_path: Path, input_format: str, output_format: str, source: str
):
    (tmp_path / "empty").touch()
    (tmp_path / "empty.gz").write_bytes(gzip.compress(b""))
    words = ("--input-format", input_format, "--format", output_format)
    outcome = inside("tag", source, "-m", tiny.run, *words)
    assert outcome[:2] == (0, b"")
    assert outcome.err.startswith("0 sentences, 0 tokens, ")


def test_one_answer_a_line_in_each_format(inside: Inside, tiny: Tiny):
    lines = sentences(50)
    text = "".join(line + "\n" for line in lines).encode()
    inline = inside("tag", "-m", tiny.run, "--format", "inline", stdin=text).out.decode()
    assert inline.count("\n") == len(lines)
    values = objects(inside("tag", "-m", tiny.run, "--format", "jsonl", stdin=text).out)
    assert [value["text"] for value in values] == lines
    columns = inside("tag", "-m", tiny.run, stdin=text).out.decode()
    tokens = [line.partition("\t")[0] for line in columns.split("\n") if line]
    assert tokens == " ".join(lines).split()


def test_columns_and_json_lines_are_read_with_their_own_tokens(inside: Inside, tiny: Tiny, tmp_path: Path):
    # "New York" in a cell is one token; the tags of the input are ignored.
    (tmp_path / "in.conll").write_text("-DOCSTART-\tO\n\nAda\tB-X\nlives\tB-X\n\n\n\nEdsger\tO\nlives\tO\n")
    outcome = inside("tag", "in.conll", "-m", tiny.run, "--input-format", "conll")
    assert outcome.out == b"Ada\tB-PER\nlives\tO\n\nEdsger\tB-PER\nlives\tO\n\n"
    # Marks and comments by themselves are not the sentence that shows the layout of a stream.
    (tmp_path / "in.conll").write_text(
        "-DOCSTART-\n\n# id = 1\n\nAda\tB-X\nlives\tB-X\n\nEdsger\tO\nlives\tO\n"
    )
    again = inside("tag", "in.conll", "-m", tiny.run, "--input-format", "conll")
    assert again.out.count(b"Ada\tB-PER\nlives\tO\n\nEdsger\tB-PER\nlives\tO\n") == 1, again.err
    rows = [{"tokens": ["Ada", "lives"], "tags": ["O", "O"]}, {"text": "Ada lives in Turin"}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    outcome = inside(
        "tag", "-m", tiny.run, "--input-format", "jsonl", "--format", "jsonl", stdin=text.encode()
    )
    first, second = objects(outcome.out)
    assert first == {
        "tokens": ["Ada", "lives"],
        "tags": ["B-PER", "O"],
        "entities": [{"type": "PER", "first_token": 0, "after_token": 1, "text": "Ada"}],
    }
    assert second["tokens"] == ["Ada", "lives", "in", "Turin"]


def test_a_token_that_columns_cannot_hold_is_refused_after_the_lines_before(inside: Inside, tiny: Tiny):
    rows = [{"tokens": ["Ada"]}, {"tokens": ["New\tYork"]}]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    words = ("tag", "-m", tiny.run, "--input-format", "jsonl")
    refused(inside(*words, stdin=text), 3, "tag", "standard input:2: 'New\\tYork' cannot stand in a column")
    assert [value["tokens"] for value in objects(inside(*words, "--format", "jsonl", stdin=text).out)] == [
        ["Ada"],
        ["New\tYork"],
    ]


@pytest.mark.parametrize("token", ["New\\nYork", "New\\r"])
def test_a_token_that_would_break_the_line_is_refused_inline(inside: Inside, tiny: Tiny, token: str):
    text = f'{{"tokens": ["in", "{token}"]}}\n'.encode()
    done = inside("tag", "-m", tiny.run, "--input-format", "jsonl", "--format", "inline", stdin=text)
    refused(done, 3, "tag", f"standard input:1: '{token}' cannot stand in a line of text; ")


def test_gzip_is_read_by_its_name(inside: Inside, tiny: Tiny, tmp_path: Path):
    (tmp_path / "text.gz").write_bytes(gzip.compress(TEXT.encode()))
    assert inside("tag", "text.gz", "-m", tiny.run).out.decode() == COLUMNS
    damaged = gzip.compress(TEXT.encode() * 9)[:-12]
    (tmp_path / "damaged.gz").write_bytes(damaged)
    outcome = inside("tag", "damaged.gz", "-m", tiny.run)
    assert outcome.code == 3
    assert "damaged.gz:" in outcome.err
    assert "damaged gzip data" in outcome.err


@pytest.mark.parametrize("from_file", [True, False])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"caf\xe9", "not UTF-8 at byte 51 (0xe9)"),
        (b"a\0b", "a NUL byte at byte 49"),
        (b"x" * 1_000_001, "a line of more than 1000000 bytes"),
        (b"a " * 100_001, "a sentence of 100001 tokens, expected at most 100000"),
    ],
)
def test_what_stands_before_a_bad_line_is_answered(
    inside: Inside, tiny: Tiny, tmp_path: Path, from_file: bool, bad: bytes, message: str
):
    text = TEXT.encode() * 2 + bad + b"\n" + TEXT.encode()
    (tmp_path / "in.txt").write_bytes(text)
    name = "in.txt" if from_file else "standard input"
    outcome = inside("tag", *(["in.txt"] if from_file else []), "-m", tiny.run, stdin=text)
    assert outcome.out.decode() == COLUMNS * 2
    assert outcome.code == 3
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"seqtool tag: error: {name}:3: ")
    assert message in line


def test_byte_order_mark_carriage_returns_and_a_missing_last_line_end(inside: Inside, tiny: Tiny):
    text = b"\xef\xbb\xbfAda lives in New York .\r\n\r\nAda lives in New York ."
    assert inside("tag", "-m", tiny.run, stdin=text).out.decode() == f"{COLUMNS}\n{COLUMNS}"


def test_only_a_newline_ends_a_line(inside: Inside, tiny: Tiny):
    text = "Ada\u2028lives\x0bin\x85Turin\x0c."
    (value,) = objects(inside("tag", "-m", tiny.run, "--format", "jsonl", stdin=text.encode()).out)
    assert value["text"] == text
    assert value["tokens"] == ["Ada", "lives", "in", "Turin", "."]


@pytest.mark.parametrize(
    "text",
    [
        "Ada 👩‍👩‍👧‍👦 lives in New York 🇬🇧 .",
        "\u202eAda\u202c lives in \u200bNew York\u200b .",
        "السيدة Ada عاشت في New York ، שלום",
        "e\u0301 Ada 中文 lives in New York\u00a0!",
        "\tAda  lives   in New  York",
    ],
)
def test_offsets_count_characters_exactly(inside: Inside, tiny: Tiny, text: str):
    (value,) = objects(inside("tag", "-m", tiny.run, "--format", "jsonl", stdin=text.encode()).out)
    assert value["text"] == text
    assert value["entities"]
    for entity in value["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]
        covered = value["tokens"][entity["first_token"] : entity["after_token"]]
        assert entity["text"].startswith(covered[0])
        assert entity["text"].endswith(covered[-1])
        assert "".join(covered) == "".join(entity["text"].split()).replace("\u200b", "")


@pytest.mark.parametrize("budget", [1, 64])
def test_output_does_not_depend_on_the_batches(inside: Inside, tiny: Tiny, tmp_path: Path, budget: int):
    (tmp_path / "in.txt").write_text("".join(line + "\n" for line in sentences(60)))
    words = ("tag", "in.txt", "-m", tiny.run, "--format", "jsonl")
    expected = inside(*words).out
    assert inside(*words, "--batch-tokens", budget).out == expected


def test_output_does_not_depend_on_the_neighbours(inside: Inside, tiny: Tiny):
    lines = sentences(60)
    shuffled = random.Random(3).sample(lines, len(lines))
    words = ("tag", "-m", tiny.run, "--format", "jsonl")
    first, second = (
        inside(*words, stdin="".join(line + "\n" for line in order).encode()).out.decode().splitlines()
        for order in (lines, shuffled)
    )
    assert sorted(first) == sorted(second)
    assert [json.loads(line)["text"] for line in second] == shuffled


def test_confidence_adds_a_column_and_exact_probabilities(inside: Inside, tiny: Tiny):
    columns = inside("tag", "-m", tiny.run, "--confidence", stdin=TEXT.encode()).out.decode()
    rows = [line.split("\t") for line in columns.splitlines() if line]
    assert [row[:2] for row in rows] == [line.split("\t") for line in COLUMNS.splitlines() if line]
    assert all(0 < float(row[2]) <= 1 for row in rows)
    words = ("tag", "-m", tiny.run, "--confidence", "--format", "jsonl")
    (value,) = objects(inside(*words, stdin=TEXT.encode()).out)
    assert [f"{x:.4f}" for x in value["confidence"]] == [row[2] for row in rows]
    # A span is right only if each of its tags is.
    for entity in value["entities"]:
        least = min(value["confidence"][entity["first_token"] : entity["after_token"]])
        assert 0 < entity["confidence"] <= least + 1e-6


def test_min_confidence_takes_back_doubtful_entities(inside: Inside, tiny: Tiny):
    words = ("tag", "-m", tiny.run, "--format", "jsonl", "--confidence")
    text = b"Ada lives in Turin . Edsger in Austin London\n"
    (value,) = objects(inside(*words, stdin=text).out)
    ranked = sorted(entity["confidence"] for entity in value["entities"])
    assert ranked[0] < ranked[-1]
    limit = (ranked[0] + ranked[-1]) / 2
    (fewer,) = objects(inside(*words, "--min-confidence", limit, stdin=text).out)
    kept = [entity for entity in value["entities"] if entity["confidence"] >= limit]
    assert fewer["entities"] == kept
    inside_kept = {i for e in kept for i in range(e["first_token"], e["after_token"])}
    assert {i for i, tag in enumerate(fewer["tags"]) if tag != "O"} == inside_kept
    (none,) = objects(inside(*words, "--min-confidence", 1, stdin=text).out)
    assert none["entities"] == []


def test_kbest_lists_the_likeliest_taggings(inside: Inside, tiny: Tiny):
    (value,) = objects(
        inside("tag", "-m", tiny.run, "--format", "jsonl", "--kbest", 4, stdin=TEXT.encode()).out
    )
    probabilities = [path["probability"] for path in value["alternatives"]]
    assert value["alternatives"][0]["tags"] == value["tags"]
    assert len({tuple(path["tags"]) for path in value["alternatives"]}) == 4
    assert probabilities == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) <= 1 + 1e-6


def test_kbest_columns_are_as_many_in_every_sentence(inside: Inside, tiny: Tiny):
    # A single token has three possible taggings here: O and the two types.
    out = inside("tag", "-m", tiny.run, "--kbest", 5, stdin=b"Ada\nAda lives\n").out.decode()
    first, second, third = [line.split("\t") for line in out.splitlines() if line]
    assert (first[0], first[5:]) == ("Ada", ["_", "_"])
    assert sorted(first[2:5]) == ["B-LOC", "B-PER", "O"]
    assert len(second) == len(third) == 7
    assert "_" not in second


def test_an_input_that_is_no_file_is_a_usage_error(inside: Inside, tiny: Tiny, tmp_path: Path):
    refused(inside("tag", "absent.txt", "-m", tiny.run), 2, "tag", "absent.txt: no such file")
    refused(inside("tag", tmp_path, "-m", tiny.run), 2, "tag", "the folder has no files; name a file")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--device", "cuda"), "--device cuda: this machine has 0 CUDA devices"),
        (("--device", "cuda:7"), "--device cuda:7: this machine has"),
        (("--device", "tpu"), "--device tpu: expected auto, cpu, cuda, cuda:N or mps"),
        (("--precision", "fp64"), "precision fp64: expected"),
    ],
)
def test_a_device_that_is_absent_is_never_replaced(
    inside: Inside, tiny: Tiny, words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    refused(inside("tag", "-m", tiny.run, *words, stdin=b"Ada\n"), 2, "tag", message)
    refused(inside("evaluate", "-m", tiny.run, *words), 2, "evaluate", message)
    # The device is checked before the model, and before the data.
    if words[0] == "--device":
        refused(inside("tag", "absent.txt", "-m", "absent", *words), 2, "tag", message)
