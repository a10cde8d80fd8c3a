"""`seqtool tag` with files as people have them: what came in comes back, several files, an output file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seqtool.cli.reports.tagged_sentences import writer
from seqtool.text.columns import TaggedSentence
from seqtool.text.tagging_input import TaggingInput
from tests.cli.conftest import Tiny, conll, tiny_settings
from tests.cli.running import Inside, contents, refused

TEXT = "Ada lives in New York .\n"
COLUMNS = "Ada\tB-PER\nlives\tO\nin\tO\nNew\tB-LOC\nYork\tI-LOC\n.\tO\n\n"
UNIVERSAL = (
    "# sent_id = s1\n# text = Ada's in Turin\n"
    "1-2\tAda's\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "1\tAda\tAda\tPROPN\t_\tCase=Nom\t2\tnsubj\t_\tSpaceAfter=No\n"
    "2\t's\tbe\tAUX\t_\t_\t0\troot\t_\t_\n"
    "2.1\tgone\tgo\tVERB\t_\t_\t_\t_\t_\t_\n"
    "3\tin\tin\tADP\t_\t_\t4\tcase\t_\t_\n"
    "4\tTurin\tTurin\tPROPN\t_\t_\t2\tobl\t_\t_\n\n"
)


def jsonl(inside: Inside, tiny: Tiny, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    words = ("--input-format", "jsonl", "--format", "jsonl")
    done = inside("tag", "-m", tiny.run, *words, stdin=text)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.decode().splitlines()]


def test_other_keys_text_and_offsets_of_json_come_back_and_an_empty_text_is_answered(
    inside: Inside, tiny: Tiny
) -> None:
    rows = [
        {"id": "d1", "meta": {"page": 3}, "text": "Ada lives in  New York ."},
        {"id": "d2", "text": ""},
        {"id": "d3", "text": "Ada left ."},
    ]
    found = jsonl(inside, tiny, *rows)
    assert [{key: row[key] for key in given} for given, row in zip(rows, found, strict=True)] == rows
    assert found[1] == {"id": "d2", "text": "", "tokens": [], "tags": [], "entities": []}
    for row in (found[0], found[2]):
        for entity in row["entities"]:
            assert row["text"][entity["start"] : entity["end"]] == entity["text"]
    assert found[0]["entities"][1]["start"] == 14


def test_tokens_beside_their_text_have_offsets_in_it(inside: Inside, tiny: Tiny) -> None:
    given = {
        "text": "in New  York",
        "tokens": ["in", "New", "York"],
        "tags": ["X", "X", "X"],
        "confidence": 1,
    }
    (found,) = jsonl(inside, tiny, given)
    assert found["tokens"] == given["tokens"]
    assert found["tags"] != given["tags"]
    assert "confidence" not in found
    for entity in found["entities"]:
        assert given["text"][entity["start"] : entity["end"]] == entity["text"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": 1}\n', 'neither "tokens" nor "text"; expected one of them'),
        (b'{"text": 7}\n', '7 in "text"; expected text'),
        (b'{"tokens": ["a", " "]}\n', "' ' in \"tokens\"; expected text that is not empty"),
        (b"[1]\n", "not a JSON object; expected one object per line"),
        (b'{"tokens": ["Ada"], "x": "\\ud800"}\n', 'half of a surrogate pair in "x"; expected text'),
        (b'{"tokens": ["Ada"], "\\ud800": "x"}\n', "half of a surrogate pair; expected text"),
        (b'{"tokens": ["Ada"], "x": NaN}\n', "a number that JSON does not have (NaN or infinity) in"),
    ],
)
def test_an_object_without_text_is_refused_with_its_line(
    inside: Inside, tiny: Tiny, line: bytes, message: str
) -> None:
    done = inside("tag", "-m", tiny.run, "--input-format", "jsonl", stdin=line)
    refused(done, 3, "tag", f"standard input:1: {message}")


def test_comments_of_columns_stay_before_their_sentence(inside: Inside, tiny: Tiny) -> None:
    text = "# id = 7\n# newdoc\nAda\tO\nlives\tO\n\n# id = 8\nEdsger\tO\nlives\tO\n"
    done = inside("tag", "-m", tiny.run, "--input-format", "conll", stdin=text.encode())
    expected = "# id = 7\n# newdoc\nAda\tB-PER\nlives\tO\n\n# id = 8\nEdsger\tB-PER\nlives\tO\n\n"
    assert done.out.decode() == expected
    words = ("--input-format", "conll", "--format", "jsonl")
    out = inside("tag", "-m", tiny.run, *words, stdin=text.encode()).out.decode()
    assert [json.loads(line)["comments"] for line in out.splitlines()] == [
        ["# id = 7", "# newdoc"],
        ["# id = 8"],
    ]


def test_conll_u_keeps_comments_numbers_and_columns_and_has_entities_in_the_last(
    inside: Inside, tiny: Tiny
) -> None:
    done = inside("tag", "-m", tiny.run, "--input-format", "conll", stdin=(UNIVERSAL * 2).encode())
    lines, given = done.out.decode().splitlines(), (UNIVERSAL * 2).splitlines()
    assert len(lines) == len(given)
    changed = [(old, new) for old, new in zip(given, lines, strict=True) if old != new]
    assert [old.split("\t")[0] for old, _ in changed] == ["1", "2", "3", "4"] * 2
    assert all(new.split("\t")[:9] == old.split("\t")[:9] for old, new in changed)
    assert changed[0][1].endswith("\tSpaceAfter=No|ner=B-PER")
    assert changed[2][1].endswith("\tner=O")
    words = ("--input-format", "conll", "--format", "jsonl")
    value = json.loads(inside("tag", "-m", tiny.run, *words, stdin=UNIVERSAL.encode()).out)
    assert (value["ids"], value["tokens"]) == (["1", "2", "3", "4"], ["Ada", "'s", "in", "Turin"])
    assert value["comments"] == ["# sent_id = s1", "# text = Ada's in Turin"]


@pytest.mark.parametrize(("token", "tag"), [(1, -1), (1, 2), (11, 12)])
def test_the_columns_of_other_training_files_mean_nothing_in_conll_u(
    inside: Inside, token: int, tag: int
) -> None:
    rows = [["w"] * max(tag, 2) for _ in range(2)]
    for row, word, label in zip(rows, ("Ada", "lives"), ("B-PER", "O"), strict=True):
        row[token - 1], row[tag - 1 if tag > 0 else tag] = word, label
    text = "".join("\t".join(row) + "\n" for row in rows) + "\n"
    Path("wide.conll").write_text(text * 4)
    words = ("train", "ner", "--train", "wide.conll", "--dev", "wide.conll", "-o", "run", "--epochs", 1)
    done = inside(*words, "--token-column", token, "--tag-column", tag, *tiny_settings())
    assert done.code == 0, done.err
    done = inside("tag", "-m", "run", "--input-format", "conll", stdin=UNIVERSAL.encode())
    assert done.code == 0, done.err
    for old, new in zip(UNIVERSAL.splitlines(), done.out.decode().splitlines(), strict=True):
        before, after = old.split("\t"), new.split("\t")
        assert before[:9] == after[:9]
        assert before[-1] == after[-1] or after[-1].removeprefix("SpaceAfter=No|").startswith("ner=")
    words = ("--input-format", "conll", "--format", "jsonl")
    tokens = json.loads(inside("tag", "-m", "run", *words, stdin=UNIVERSAL.encode()).out)["tokens"]
    assert tokens == ["Ada", "'s", "in", "Turin"]


@pytest.mark.parametrize(("column", "written"), [(None, 4), (4, 4), (5, 5), (2, 4), (-1, 4)])
def test_parts_of_speech_go_where_they_were_learned_if_that_is_a_column_for_them(
    column: int | None, written: int
) -> None:
    data = SimpleNamespace(token_column=None, tag_column=column)
    tagger: Any = SimpleNamespace(scheme=None, description=SimpleNamespace(data=data))
    prediction: Any = SimpleNamespace(tags=["NEW"])
    row = "1\tAda\tAda\tU\tX\t_\t0\troot\t_\tSpaceAfter=No"
    item = TaggingInput(TaggedSentence(("Ada",)), rows=(row,))
    line = writer("conll", tagger, confidence=False, kbest=0)(item, prediction)
    cells = row.split("\t")
    cells[written - 1] = "NEW"
    assert line == "\t".join(cells) + "\n\n"


def test_parts_of_speech_go_into_their_column_of_conll_u(inside: Inside, tmp_path: Path) -> None:
    rows = [[("Ada", "PROPN"), ("lives", "VERB")], [("Turin", "PROPN"), ("waits", "VERB")]] * 5
    (tmp_path / "pos.conll").write_text(conll(rows))
    words = ("train", "pos", "--train", "pos.conll", "--dev", "pos.conll", "-o", "run", "--epochs", 1)
    assert inside(*words, *tiny_settings()[:-2]).code == 0
    text = "# sent_id = 1\n1\tAda\t_\tX\t_\t_\t_\t_\t_\t_\n\n"
    done = inside("tag", "-m", "run", "--input-format", "conll", "--confidence", stdin=text.encode())
    comment, row, _ = done.out.decode().split("\n", 2)
    assert comment == "# sent_id = 1"
    assert row.split("\t")[3] in ("PROPN", "VERB")
    assert row.split("\t")[9].startswith("confidence=0.")


def test_several_files_and_folders_are_tagged_one_after_the_other(
    inside: Inside, tiny: Tiny, tmp_path: Path
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("b.txt", "a.txt", ".hidden"):
        (folder / name).write_text(f"{name[0]} lives\n")
    (tmp_path / "c.txt").write_text("Edsger lives\n")
    done = inside("tag", "c.txt", "texts", "-", "-m", tiny.run, "--format", "jsonl", stdin=b"last\n")
    assert done.code == 0
    values = [json.loads(line) for line in done.out.decode().splitlines()]
    assert [value["text"] for value in values] == ["Edsger lives", "a lives", "b lives", "last"]
    assert done.err.startswith("4 sentences, 7 tokens, ")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (("-", "-"), "-: standard input can be read only once"),
        (("a.txt", "absent.txt"), "absent.txt: no such file"),
        (("empty",), "empty: the folder has no files"),
    ],
)
def test_inputs_are_looked_at_before_anything_is_written(
    inside: Inside, tiny: Tiny, tmp_path: Path, inputs: tuple[str, ...], message: str
) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "empty").mkdir()
    refused(inside("tag", *inputs, "-m", tiny.run), 2, "tag", message)


def test_an_output_file_is_whole_or_not_there_at_all(inside: Inside, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text(TEXT)
    done = inside("tag", "in.txt", "-m", tiny.run, "-o", "out.conll")
    assert (done.code, done.out) == (0, b"")
    assert (tmp_path / "out.conll").read_text() == COLUMNS
    refused(inside("tag", "in.txt", "-m", tiny.run, "-o", "out.conll"), 2, "tag", "out.conll: exists already")
    before = contents(tmp_path)
    (tmp_path / "bad.txt").write_bytes(TEXT.encode() + b"caf\xe9\n")
    for words in (("-o", "new.conll"), ("-o", "out.conll", "--overwrite")):
        refused(inside("tag", "bad.txt", "-m", tiny.run, *words), 3, "tag", "bad.txt:2: not UTF-8")
    (tmp_path / "bad.txt").unlink()
    assert contents(tmp_path) == before
    done = inside("tag", "-m", tiny.run, "-o", "out.conll", "--overwrite", stdin=b"Ada lives\n")
    assert done.code == 0
    assert (tmp_path / "out.conll").read_text() == "Ada\tB-PER\nlives\tO\n\n"


def test_overwrite_needs_an_output_file(inside: Inside, tiny: Tiny) -> None:
    refused(inside("tag", "-m", tiny.run, "--overwrite"), 2, "tag", "--overwrite replaces the file of -o")


def test_the_ending_of_a_file_names_its_format_and_an_option_overrules_it(
    inside: Inside, tiny: Tiny, tmp_path: Path
):
    (tmp_path / "a.conll").write_text(COLUMNS)
    (tmp_path / "b.CONLLU.gz").write_bytes(gzip.compress(UNIVERSAL.encode()))
    (tmp_path / "c.jsonl").write_text('{"tokens": ["Ada", "lives"]}\n')
    columns = inside("tag", "a.conll", "-m", tiny.run)
    assert (columns.out.decode(), "warning" in columns.err) == (COLUMNS, False)
    for name, kind in (("b.CONLLU.gz", "conll"), ("c.jsonl", "jsonl")):
        told = inside("tag", name, "-m", tiny.run, "--input-format", kind)
        assert inside("tag", name, "-m", tiny.run).out == told.out
    as_text = inside("tag", "a.conll", "-m", tiny.run, "--input-format", "text")
    assert len(as_text.out.split(b"\n\n")) > len(columns.out.split(b"\n\n"))


def test_text_that_looks_like_columns_is_a_warning(inside: Inside, tiny: Tiny):
    warning = "warning: standard input: read as plain text, one sentence per line, but it looks like columns"
    columns = inside("tag", "-m", tiny.run, stdin=COLUMNS.encode() * 3)
    assert columns.err.count(warning) == 1 and "if so, use --input-format conll" in columns.err
    for text in (b"Ada\tlives\n\nAda lives\n", b"1\tAda lives\n2\tAda lives\n"):
        assert warning not in inside("tag", "-m", tiny.run, stdin=text).err


def test_tokens_stay_as_they_are(inside: Inside, tiny: Tiny):
    words = ("tag", "-m", tiny.run, "--input-format", "tokens")
    rows = inside(*words, stdin=b"Ada didn't live in New-York.\n\nAda\n").out.decode()
    assert [line.partition("\t")[0] for line in rows.splitlines()] == [
        *("Ada", "didn't", "live", "in", "New-York."),
        *("", "", "Ada", ""),
    ]
    found = json.loads(inside(*words, "--format", "jsonl", stdin=b"Ada lives\n").out)
    assert (found["text"], found["tokens"]) == ("Ada lives", ["Ada", "lives"])
