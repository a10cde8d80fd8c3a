"""`seqtool translate` with files as people have them: JSON with other keys, several files, an output file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import TinyTranslator
from tests.cli.running import Inside, Outcome, contents, refused
from tests.translation.tiny_pairs import TEXTS


def translate(inside: Inside, pairs: TinyTranslator, *words: object, stdin: bytes = b"") -> Outcome:
    return inside("translate", *words, "-m", pairs.run, stdin=stdin)


def objects(done: Outcome) -> list[dict[str, Any]]:
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.decode().splitlines()]


def test_json_has_source_text_and_score_of_every_line(inside: Inside, pairs: TinyTranslator) -> None:
    text = pairs.text + b"\n"
    found = objects(translate(inside, pairs, "--format", "jsonl", stdin=text))
    plain = translate(inside, pairs, "--scores", stdin=text).out.decode().splitlines()
    assert [row["source"] for row in found] == text.decode().splitlines()
    assert [row["text"] for row in found] == [line.partition("\t")[2] for line in plain]
    scores = [float(line.partition("\t")[0]) for line in plain]
    assert [row["score"] for row in found] == pytest.approx(scores, abs=1e-4)  # written with four decimals
    assert found[-1] == {"source": "", "text": "", "score": 0.0}


def test_json_has_the_n_best_and_the_alignment(inside: Inside, pairs: TinyTranslator) -> None:
    words = ("--nbest", 2, "--alignments")
    found = objects(translate(inside, pairs, "--format", "jsonl", *words, stdin=pairs.text))
    plain = [
        line.split("\t")
        for line in translate(inside, pairs, *words, stdin=pairs.text).out.decode().splitlines()
    ]
    for number, row in enumerate(found):
        first, second = plain[2 * number : 2 * number + 2]
        assert [each["text"] for each in row["nbest"]] == [first[3], second[3]]
        scores = [float(first[2]), float(second[2])]  # written with four decimals
        assert [each["score"] for each in row["nbest"]] == pytest.approx(scores, abs=1e-4)
        assert row["text"] == row["nbest"][0]["text"]
        assert row["alignment"] == first[4]


def test_other_keys_of_json_come_back(inside: Inside, pairs: TinyTranslator) -> None:
    rows = [
        {"id": 7, "source": TEXTS[0][0], "meta": {"page": 1}},
        {"id": 8, "text": TEXTS[1][0], "score": "old"},
        {"id": 9, "source": ""},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    words = ("--input-format", "jsonl")
    found = objects(translate(inside, pairs, *words, "--format", "jsonl", stdin=text))
    assert [row["id"] for row in found] == [7, 8, 9]
    assert found[0]["meta"] == {"page": 1}
    assert [row["source"] for row in found] == [TEXTS[0][0], TEXTS[1][0], ""]
    assert [row["text"] for row in found] == [TEXTS[0][1], TEXTS[1][1], ""]
    assert translate(inside, pairs, *words, stdin=text).out.decode() == f"{TEXTS[0][1]}\n{TEXTS[1][1]}\n\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": 1}\n', "no 'source' or 'text' among 'id'"),
        (b'{"source": 1}\n', "'source' is 1; expected text"),
        (b"plain\n", "not JSON: "),
        (b'{"source": "Ada", "x": "\\ud800"}\n', 'half of a surrogate pair in "x"; expected text'),
        (b'{"source": "Ada", "x": [1, Infinity]}\n', "a number that JSON does not have (NaN or infinity) in"),
    ],
)
def test_json_without_a_source_is_refused_with_its_line(
    inside: Inside, pairs: TinyTranslator, line: bytes, message: str
) -> None:
    done = translate(inside, pairs, "--input-format", "jsonl", stdin=line)
    refused(done, 3, "translate", f"standard input:1: {message}")


def test_scores_are_in_json_anyway(inside: Inside, pairs: TinyTranslator) -> None:
    plain = translate(inside, pairs, "--format", "jsonl", stdin=pairs.text)
    assert translate(inside, pairs, "--scores", "--format", "jsonl", stdin=pairs.text).out == plain.out


def test_the_ending_of_a_file_says_how_it_is_read(inside: Inside, pairs: TinyTranslator) -> None:
    Path("in.jsonl").write_text(json.dumps({"source": TEXTS[0][0]}) + "\n")
    Path("in.txt").write_text(f"{TEXTS[1][0]}\n")
    done = translate(inside, pairs, "in.jsonl", "in.txt")
    assert done.out.decode().splitlines() == [TEXTS[0][1], TEXTS[1][1]], done.err
    for name in ("t.csv", "t.tsv"):
        Path(name).write_text("yes,ja\n")
        done = translate(inside, pairs, name)
        refused(done, 2, "translate", f"{name}: a {name[1:]} file is not read as sentences; save the sources")
        assert translate(inside, pairs, name, "--input-format", "text").code == 0


def test_given_targets_are_scored_as_json(inside: Inside, pairs: TinyTranslator) -> None:
    words = ("--force-target", pairs.target)
    plain = translate(inside, pairs, *words, stdin=pairs.text).out.decode().splitlines()
    found = objects(translate(inside, pairs, *words, "--format", "jsonl", stdin=pairs.text))
    assert [row["text"] for row in found] == [line.partition("\t")[2] for line in plain]
    scores = [float(line.partition("\t")[0]) for line in plain]
    assert [row["score"] for row in found] == pytest.approx(scores, abs=1e-4)  # written with four decimals


def test_several_files_and_folders_are_one_input(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    lines = pairs.source.read_text().splitlines(keepends=True)
    folder = tmp_path / "texts"
    folder.mkdir()
    (tmp_path / "first.txt").write_text("".join(lines[:3]))
    (folder / "2.txt").write_text("".join(lines[4:]))
    (folder / "1.txt").write_text(lines[3])
    whole = translate(inside, pairs, "--nbest", 2, "--force-prefix", pairs.target, stdin=pairs.text)
    parts = translate(inside, pairs, "first.txt", "texts", "--nbest", 2, "--force-prefix", pairs.target)
    assert (parts.code, parts.out) == (0, whole.out)
    (tmp_path / "short").write_text("".join(lines[:-1]))
    done = translate(inside, pairs, "first.txt", "texts", "--force-prefix", "short")
    assert done.code == 3
    assert f"short: {len(lines) - 1} lines, but texts/2.txt has more; expected the same number" in done.err


def test_an_output_file_is_whole_or_not_there_at_all(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    done = translate(inside, pairs, pairs.source, "-o", "out.txt")
    assert (done.code, done.out) == (0, b"")
    assert (tmp_path / "out.txt").read_bytes() == pairs.answer
    before = contents(tmp_path)
    refused(
        translate(inside, pairs, pairs.source, "-o", "out.txt"), 2, "translate", "out.txt: exists already"
    )
    bad = translate(inside, pairs, "-o", "out.txt", "--overwrite", stdin=pairs.text + b"caf\xe9\n")
    refused(bad, 3, "translate", "not UTF-8")
    assert contents(tmp_path) == before
