"""`seqtool data` from outside."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.program import answer, cells, inside, on_a_terminal, seqtool, tree
from tests.cli.running import start

TRAIN = """Ada\tB-PER
Lovelace\tI-PER
lives\tO

in\tO
Paris\tB-LOC

"""
DEV = """in\tO
Paris\tB-LOC

Ada\tB-ORG
sleeps\tO

"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.conll").write_text(TRAIN)
    (tmp_path / "dev.conll").write_text(DEV)
    return tmp_path


def reports(folder: Path, *arguments: str) -> dict:
    done = inside("data", "check", "--json", *arguments, folder=folder)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_check_counts_what_is_in_a_file(folder):
    report = reports(folder, "train.conll")
    (file,) = report["files"]
    assert report["scheme"] == "iob2"
    assert (file["sentences"], file["tokens"], file["longest"]) == (2, 5, 3)
    assert file["longest_at"] == "train.conll:1"
    assert file["entities"] == {"LOC": 1, "PER": 1}
    assert file["tags"] == {"O": 2, "B-LOC": 1, "B-PER": 1, "I-PER": 1}
    assert file["layout"] == "2 columns, tab-separated: token = 1, tag = 2"
    assert (file["shared"], file["unseen_words"], file["unseen_tags"]) == ({}, None, None)


def test_check_compares_later_files_with_the_first(folder):
    done = inside("data", "check", "--json", "train.conll", "dev.conll", folder=folder)
    file = json.loads(done.out)["files"][1]
    assert file["shared"] == {"train.conll": 1}
    assert file["unseen_words"] == 1 / 4  # sleeps
    assert file["unseen_entities"] == 1 / 2  # Ada occurs only as a person
    assert file["unseen_tags"] == {"B-ORG": 1}
    assert done.err.splitlines() == [
        "warning: dev.conll: 1 of its sentences are also in train.conll",
        "warning: dev.conll: tags that train.conll does not have: B-ORG (1)",
    ]


def test_check_shows_a_table_a_file(folder):
    with gzip.open(folder / "more.conll.gz", "wt") as file:
        file.write("Ada\tO\n\n" * 2)
    done = seqtool("data", "check", "train.conll", "more.conll.gz", folder=folder)
    assert done.code == 0
    first, second = done.out.split("more.conll.gz", 1)
    assert "train.conll" in first and "iob2" in first and "PER" in first
    assert {("sentences", "2"), ("repeated sentences", "1"), ("unseen words", "0.0 %")} <= cells(second)


def test_check_finds_odd_tokens_with_their_places(folder):
    odd = "\u200b", "a\u00a0b", "a\x07", "\ufffd", "e\u0301", "x" * 101
    (folder / "odd.conll").write_text("".join(f"{token}\tO\n" for token in ("fine", *odd)))
    (file,) = reports(folder, "odd.conll")["files"]
    found = {kind: value["places"] for kind, value in file["odd_tokens"].items()}
    assert found == {
        "nothing visible": ["odd.conll:2"],
        "space inside": ["odd.conll:3"],
        "control character": ["odd.conll:4"],
        "replacement character (U+FFFD)": ["odd.conll:5"],
        "not in normal form C": ["odd.conll:6"],
        "longer than 100 characters": ["odd.conll:7"],
    }


def test_check_knows_parts_of_speech_by_their_tags(folder):
    (folder / "pos.conll").write_text("the\tDET\ncat\tNOUN\n\n")
    report = reports(folder, "pos.conll")
    assert report["scheme"] is None
    assert report["files"][0]["entities"] == {}
    assert report["files"][0]["tags"] == {"DET": 1, "NOUN": 1}


def test_check_reads_named_columns(folder):
    (folder / "wide.txt").write_text("B-PER Ada x 1\nO ran y 2\n\n")
    arguments = ("--token-column", "2", "--tag-column", "1", "--feature-columns", "3")
    (file,) = reports(folder, "wide.txt", *arguments)["files"]
    assert file["entities"] == {"PER": 1}
    assert file["layout"] == "4 columns, whitespace-separated: token = 2, tag = 1, features = 3"


def test_check_repairs_on_request_and_counts(folder):
    (folder / "loose.conll").write_text("Ada\tI-PER\n\nran\tO\nParis\tB-LOC\n\n")
    (file,) = reports(folder, "loose.conll", "--scheme", "iob2", "--repair")["files"]
    assert (file["repaired"], file["entities"]) == (1, {"LOC": 1, "PER": 1})


def test_check_counts_sentences_annotated_in_part(folder):
    (folder / "part.conll").write_text("Ada\tB-PER|B-ORG\nran\tO\n\nParis\tB-LOC\n\n")
    (file,) = reports(folder, "part.conll")["files"]
    assert (file["partial"], file["entities"]) == (1, {"LOC": 1})


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (
            b"a\tO\nb\tO\tX\n\n",
            3,
            "bad.conll:2: 3 columns, expected 2; check that the separator is a tab, and that no "
            "column is too many",
        ),
        (b"", 3, "bad.conll: no sentences; expected at least one"),
        (b" \n\t\n", 3, "bad.conll: no sentences; expected at least one"),
        (b"a\tO\n\nb\tO\n\xff\tO\n", 3, "bad.conll:4: not UTF-8 at byte 9 (0xff); convert the file to UTF-8"),
        (b"\xff\xfea\0", 3, "bad.conll:1: this is UTF-16 text; convert it to UTF-8"),
        (b"a\0\tO\n", 3, "bad.conll:1: a NUL byte at byte 1; expected UTF-8 text, not binary data"),
        (b"\tO\na\tO\n", 3, "bad.conll:1: the token is empty; expected text between the separators"),
    ],
)
def test_check_says_what_is_wrong_and_where(folder, content, code, message):
    (folder / "bad.conll").write_bytes(content)
    done = inside("data", "check", "train.conll", "bad.conll", folder=folder)
    assert (done.code, done.out) == (code, "")
    assert done.err == f"seqtool data check: error: {message}\n"


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("train.conll", "mixed.conll"), "mixed.conll:2: "),
        (("--scheme", "iob2", "mixed.conll"), "mixed.conll:2: invalid iob2 sequence"),
        (("typo.conll",), "typo.conll:3: 'BPER' is not a tag of a span"),
        (("lines.jsonl",), "lines.jsonl:2: token 2: "),
        (("--scheme", "bilou", "--strict", "train.conll"), "train.conll:3: invalid bilou sequence"),
    ],
)
def test_check_names_the_line_of_a_bad_tag(folder, arguments, place):
    (folder / "mixed.conll").write_text("in\tO\nAda\tS-PER\nParis\tB-LOC\nx\tI-LOC\ny\tO\n\n")
    (folder / "typo.conll").write_text("in\tB-X\n\nAda\tBPER\nran\tO\n\n")
    rows = [{"tokens": ["a"], "tags": ["B-X"]}, {"tokens": ["a", "b"], "tags": ["O", "Q-X"]}]
    (folder / "lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = inside("data", "check", *arguments, folder=folder)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"seqtool data check: error: {place}")
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.conll",), "none.conll: no such file"),
        ((".",), ".: is a folder; expected a file"),
        (("train.conll", "--tag-column", "5"), "there is no column 5 for the tag; expected 1 to 2"),
        (("train.conll", "--token-column", "0"), "--token-column 0: expected 1 or more"),
        (("train.conll", "--scheme", "iob3"), "'iob3' is not one of"),
    ],
)
def test_check_refuses_what_cannot_be_meant(folder, arguments, message):
    done = inside("data", "check", *arguments, folder=folder)
    assert (done.code, done.out) == (2, "")
    assert message in done.err and len(done.err.splitlines()) == 1


def test_escape_sequences_in_data_cannot_steer_a_terminal(folder):
    (folder / "evil.conll").write_text("a\x1b]0;evil\x07\tB-\x1b[31mX\n\n")
    shown = on_a_terminal("data", "check", "--scheme", "iob2", "evil.conll", folder=folder)
    assert "\\x1b[31mX" in shown and "\x1b[31mX" not in shown
    converted = on_a_terminal("data", "convert", "evil.conll", "-", folder=folder)
    assert converted.splitlines()[0] == "a\\x1b]0;evil\\x07\tB-\\x1b[31mX"
    piped = seqtool("data", "convert", "evil.conll", "-", folder=folder)
    assert piped.out == "a\x1b]0;evil\x07\tB-\x1b[31mX\n\n"


def test_convert_there_and_back_changes_nothing(folder):
    assert seqtool("data", "convert", "train.conll", "train.jsonl", folder=folder).code == 0
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    assert rows[0] == {"tokens": ["Ada", "Lovelace", "lives"], "tags": ["B-PER", "I-PER", "O"]}
    back = seqtool("data", "convert", "train.jsonl", "-", "--to", "conll", folder=folder)
    assert back.out == TRAIN
    bilou = seqtool("data", "convert", "train.conll", "-", "--scheme-to", "bilou", folder=folder)
    assert "Paris\tU-LOC" in bilou.out
    arguments = ("--from-scheme", "bilou", "--scheme-to", "iob2")
    again = seqtool("data", "convert", "-", "-", *arguments, folder=folder, stdin=bilou.out)
    assert again.out == TRAIN


def test_convert_keeps_feature_columns_before_the_tag(folder):
    (folder / "wide.conll").write_text("Ada\tNNP\tx\tB-PER\nran\tVBD\ty\tO\n\n")
    done = inside("data", "convert", "wide.conll", "-", "--feature-columns", "2", folder=folder)
    assert done.out == "Ada\tNNP\tB-PER\nran\tVBD\tO\n\n"


def test_convert_inline_shows_spans_or_tags(folder):
    done = inside("data", "convert", "train.conll", "-", "--to", "inline", folder=folder)
    assert done.out == "[PER Ada Lovelace] lives\nin [LOC Paris]\n"
    (folder / "pos.conll").write_text("the\tDET\ncat\tNOUN\n\n")
    done = inside("data", "convert", "pos.conll", "-", "--to", "inline", folder=folder)
    assert done.out == "the/DET cat/NOUN\n"


def test_convert_answers_a_slow_pipe_at_once(folder):
    with start(
        "data", "convert", "-", "-", "--to", "jsonl", cwd=folder, env={"PYTHONUNBUFFERED": ""}
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert json.loads(answer(process, b"a\tO\n\n")) == {"tokens": ["a"], "tags": ["O"]}
        process.stdin.write(b"b\tO\n\nc\tO\tbad\n\n")
        process.stdin.close()
        assert json.loads(process.stdout.read()) == {"tokens": ["b"], "tags": ["O"]}
        assert process.wait(timeout=60) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-", "-", "--scheme-to", "bilou"), 2, "the tag scheme of a pipe cannot be detected"),
        (("train.conll", "dev.conll"), 2, "dev.conll: exists already; replace it with --overwrite"),
        (("train.conll", "no/such.conll"), 2, "there is no folder no; make it with: mkdir -p no"),
        (
            ("loose.conll", "new.conll", "--scheme-to", "bilou", "--scheme", "iob2", "--strict"),
            3,
            "loose.conll:4: ",
        ),
        (("loose.conll", "new.conll", "--scheme-to", "bilou"), 3, "loose.conll:6: "),
        (("pos.conll", "new.conll", "--scheme-to", "bilou"), 3, "pos.conll: its tags mark no spans"),
        (("bare.conll", "new.txt", "--to", "inline"), 3, "bare.conll:1: no tags"),
        (("tab.jsonl", "new.conll"), 3, "tab.jsonl:1: 'a\\tb' cannot stand in a column"),
    ],
)
def test_a_failed_conversion_leaves_every_file_as_it_was(folder, arguments, code, message):
    (folder / "loose.conll").write_text("x\tO\n\nin\tO\nAda\tI-PER\n\nB\tS-X\n\n")
    (folder / "pos.conll").write_text("the\tDET\n\n")
    (folder / "bare.conll").write_text("the\n\n")
    (folder / "tab.jsonl").write_text('{"tokens": ["a\\tb"], "tags": ["O"]}\n')
    before = tree(folder)
    done = inside("data", "convert", *arguments, folder=folder, stdin="a\tO\n\n")
    assert (done.code, done.out) == (code, "")
    assert message in done.err and len(done.err.splitlines()) == 1
    assert tree(folder) == before


def test_convert_overwrites_and_repairs_on_request(folder):
    (folder / "loose.conll").write_text("Ada\tI-PER\n\n")
    arguments = ("--overwrite", "--repair", "--from-scheme", "iob2", "--scheme-to", "iobes")
    done = inside("data", "convert", "loose.conll", "loose.conll", *arguments, folder=folder)
    assert (folder / "loose.conll").read_text() == "Ada\tS-PER\n\n"
    assert done.err == "1 sentence, 1 tag repaired\n"


def test_convert_writes_into_a_device_and_leaves_it_there(folder):
    assert inside("data", "convert", "train.conll", "/dev/null", folder=folder).code == 0
    assert Path("/dev/null").is_char_device()
    assert inside("data", "convert", "train.conll", "/dev/full", folder=folder).code == 5
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("value", ['"\\ud800"', "NaN"])
def test_values_that_could_not_be_written_are_refused_with_their_line(folder, value):
    rows = [f'{{"tokens": ["w{n}"], "tags": ["O"], "x": {value if n == 7 else n}}}\n' for n in range(10)]
    (folder / "all.jsonl").write_text("".join(rows))
    (folder / "all.json").write_text(f"[{', '.join(rows)}]")
    for name, where in (("all.jsonl", "all.jsonl:8: "), ("all.json", "all.json: item 8: ")):
        for words in (("convert", name, "new.conll"), ("split", name, "-o", "new")):
            done = inside("data", *words, folder=folder)
            assert (done.code, done.out) == (3, ""), done
            assert f"error: {where}" in done.err and 'in "x"' in done.err


def corpus(count: int) -> str:
    return "".join(f"# sent_id = {n}\nword{n}\tO\nend\tB-X\n\n" for n in range(count))


def test_split_gives_each_sentence_to_one_part(folder):
    (folder / "all.conll").write_text("-DOCSTART-\tO\n\n" + corpus(50))
    done = inside("data", "split", "all.conll", "-o", "parts", "--dev", "0.2", folder=folder)
    assert done.out.splitlines() == [f"parts/{part}.conll" for part in ("train", "dev", "test")]
    parts = [(folder / name).read_text() for name in done.out.splitlines()]
    blocks = [part.removesuffix("\n\n").split("\n\n") for part in parts]
    assert [len(part) for part in blocks] == [35, 10, 5]
    assert Counter(block for part in blocks for block in part) == Counter(
        corpus(50).removesuffix("\n\n").split("\n\n")
    )
    assert parts[2] != corpus(50)[-len(parts[2]) :]  # not simply the end


def test_split_is_a_function_of_the_seed(folder):
    (folder / "all.conll").write_text(corpus(30))
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        assert inside("data", "split", "all.conll", "-o", name, "--seed", seed, folder=folder).code == 0
    assert tree(folder / "a") == tree(folder / "b") != tree(folder / "c")


def test_split_writes_a_header_row_at_the_top_of_each_part(folder):
    rows = "".join(f"word{n}\tB-PER\tx\nend\tO\tx\n\n" for n in range(10))
    (folder / "all.conll").write_text(f"token\tner\tlemma\n{rows}")  # the tags are not in the last column
    done = inside("data", "split", "all.conll", "-o", "parts", folder=folder)
    parts = [(folder / name).read_text() for name in done.out.splitlines()]
    assert [part.partition("\n")[0] for part in parts] == ["token\tner\tlemma"] * 3
    assert sum(part.count("token\tner") for part in parts) == 3
    layouts = [file["layout"] for file in reports(folder, *done.out.splitlines())["files"]]
    assert layouts == ["3 columns, tab-separated: token = 1, tag = 2"] * 3


@pytest.mark.parametrize("name", ["-", "pipe"])
def test_split_refuses_what_can_be_read_only_once(folder, name):
    os.mkfifo(folder / "pipe")
    done = inside("data", "split", name, "-o", "parts", folder=folder, stdin=corpus(10))
    assert (done.code, done.out) == (2, "")
    assert "a pipe can be read only once; save it as a file first, as in: cat > all.conll" in done.err
    assert not (folder / "parts").exists()


def test_split_in_order_takes_the_end_and_keeps_documents(folder):
    document = "-DOCSTART-\tO\n\n"
    (folder / "all.conll").write_text(document + corpus(8) + document + "z\tO\nend\tO\n\ny\tO\nend\tO")
    arguments = ("--keep-order", "--dev", "0", "--test", "0.2")
    assert inside("data", "split", "all.conll", "-o", "parts", *arguments, folder=folder).code == 0
    assert tree(folder / "parts") == {
        "train.conll": (document + corpus(8)).encode(),
        "test.conll": (document + "z\tO\nend\tO\n\ny\tO\nend\tO\n\n").encode(),
    }


def test_split_of_json_lines_and_gzip_keeps_the_lines(folder):
    rows = [f'{{"tokens":  ["w{n}"], "note": {n}}}\n' for n in range(10)]
    with gzip.open(folder / "all.jsonl.gz", "wt") as file:
        file.write("".join(rows))
    done = inside("data", "split", "all.jsonl.gz", "-o", "parts", folder=folder)
    written = [(folder / name).read_text() for name in done.out.splitlines()]
    assert sorted("".join(written).splitlines(keepends=True)) == rows
    assert [len(text.splitlines()) for text in written] == [8, 1, 1]


def test_split_keeps_the_examples_of_an_array_and_of_annotation_tools_whole(folder):
    items = [{"id": n, "text": f"Ada saw town {n}.\nIt rained.", "label": [[0, 3, "PER"]]} for n in range(10)]
    (folder / "all.json").write_text(json.dumps(items))
    done = inside("data", "split", "all.json", "-o", "parts", folder=folder)
    assert done.out.splitlines() == [f"parts/{part}.jsonl" for part in ("train", "dev", "test")], done.err
    parts = [(folder / name).read_text().splitlines() for name in done.out.splitlines()]
    assert sorted((json.loads(line) for part in parts for line in part), key=lambda item: item["id"]) == items
    assert inside("data", "check", "parts/train.jsonl", folder=folder).code == 0
    assert done.err.startswith("20 sentences: 16 in train, 2 in dev, 2 in test\n")  # two of each text
    assert "parts/dev.jsonl: 1 of its sentences are also in parts/train.jsonl" in done.err
    rejected = [{**item, "answer": "reject" if item["id"] % 2 else "accept"} for item in items]
    (folder / "some.jsonl").write_text("".join(json.dumps(item) + "\n" for item in rejected))
    done = inside("data", "split", "some.jsonl", "-o", "kept", folder=folder)
    lines = [line for name in done.out.splitlines() for line in (folder / name).read_text().splitlines()]
    assert sorted(map(json.loads, lines), key=lambda item: item["id"]) == rejected


def test_split_warns_of_sentences_that_stand_in_train_too(folder):
    (folder / "all.conll").write_text("same\tO\n\n" * 10)
    done = inside("data", "split", "all.conll", "-o", "parts", "--test", "0", folder=folder)
    assert "warning: parts/dev.conll: 1 of its sentences are also in parts/train.conll" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("train.conll", "-o", "parts"), 2, "parts/dev.conll: exists already; replace it with --overwrite"),
        (("train.conll", "-o", ".", "--overwrite"), 2, "train.conll: is the file to split"),
        (("train.conll", "-o", "new"), 3, "train.conll: 2 sentences, too few for 3 parts"),
        (("train.conll", "-o", "new", "--dev", "0.5", "--test", "0.5"), 2, "that add up to less than 1"),
        (("train.conll", "-o", "new", "--dev", "nan"), 2, "Invalid value for '--dev'"),
        (("none.conll", "-o", "new"), 2, "none.conll: no such file"),
        (("dev.conll", "-o", "train.conll"), 2, "train.conll: is a file; expected a folder"),
    ],
)
def test_a_refused_split_changes_nothing(folder, arguments, code, message):
    (folder / "parts").mkdir()
    (folder / "parts" / "dev.conll").write_text("mine\tO\n")
    before = tree(folder)
    done = inside("data", "split", *arguments, folder=folder)
    assert (done.code, done.out) == (code, "")
    assert message in done.err and len(done.err.splitlines()) == 1
    assert tree(folder) == before and not (folder / "new").exists()


def test_split_overwrites_and_removes_a_part_that_is_not_wanted_any_more(folder):
    (folder / "all.conll").write_text(corpus(10))
    assert inside("data", "split", "all.conll", "-o", "parts", folder=folder).code == 0
    arguments = ("--overwrite", "--test", "0")
    assert inside("data", "split", "all.conll", "-o", "parts", *arguments, folder=folder).code == 0
    assert sorted(tree(folder / "parts")) == ["dev.conll", "train.conll"]


def test_check_takes_tags_for_what_the_task_says(folder):
    (folder / "pos.conll").write_text("the\tDET\ncat\tNOUN\n\n")
    assert reports(folder, "train.conll", "--task", "ner")["scheme"] == "iob2"
    report = reports(folder, "train.conll", "--task", "pos")
    assert (report["scheme"], report["files"][0]["entities"]) == (None, {})
    assert report["files"][0]["tags"]["B-PER"] == 1
    for words, code, message in (
        (("pos.conll", "--task", "ner"), 3, "pos.conll: its tags mark no entities; check it with --task pos"),
        (("train.conll", "--task", "pos", "--repair"), 2, "--repair has no effect with --task pos"),
        (("train.conll", "--task", "pos", "--scheme", "iob2"), 2, "--scheme has no effect with --task pos"),
    ):
        done = inside("data", "check", *words, folder=folder)
        assert (done.code, done.out) == (code, "") and message in done.err


@pytest.mark.parametrize("option", [("--tag-names", "O,B-PER"), ("--misaligned", "drop")])
def test_convert_refuses_options_of_json_where_there_are_columns(folder, option):
    for source in ("train.conll", "-"):
        done = inside("data", "convert", source, "new.jsonl", *option, folder=folder, stdin=TRAIN)
        assert (done.code, done.out) == (2, "")
        assert (
            f"{option[0]}" in done.err and f"is for JSON, and {source} has columns; leave it out" in done.err
        )
        assert not (folder / "new.jsonl").exists()


def test_running_text_is_called_so(folder):
    (folder / "text.txt").write_text(
        "The cat sat on the mat .\nIt was black .\nNobody really knew whose cat it was .\n"
    )
    done = inside("data", "check", "text.txt", folder=folder)
    assert (done.code, done.out) == (3, "")
    assert "error: text.txt: the lines look like plain text, not like columns; expected one token" in done.err
    rows = "the DT B-NP O O\ncat NN I-NP O O\nsat VBD B-VP O\n"  # one cell is missing
    (folder / "wide.conll").write_text(rows)
    assert "wide.conll:3: 4 columns, expected 5; " in inside("data", "check", "wide.conll", folder=folder).err


def test_the_table_says_which_file_is_taken_for_training(folder):
    rows = cells(inside("data", "check", "train.conll", "dev.conll", folder=folder).out)
    assert ("taken for", "training; the others are compared with it") in rows
    assert ("taken for", "compared with train.conll") in rows
    assert "taken for" not in inside("data", "check", "train.conll", folder=folder).out


@pytest.mark.parametrize(
    ("tag", "meant"), [("B_Disease", "B-Disease"), ("b-PER", "B-PER"), ("I:PER", "I-PER"), ("o", "O")]
)
def test_a_misspelt_tag_is_not_promised_a_repair(folder, tag, meant):
    (folder / "bad.conll").write_text(f"a\tO\nb\tI-X\n\nin\tB-X\nc\t{tag}\n\n" + "d\tO\n\n" * 3)
    for words in ((), ("--scheme", "iob1"), ("--scheme", "iob1", "--repair")):
        done = inside("data", "check", "bad.conll", *words, folder=folder)
        assert (done.code, done.out) == (3, "")
        assert done.err.startswith("seqtool data check: error: bad.conll:5: ")
        assert f"{tag!r} is not a tag of a span; " in done.err and f"did you mean {meant!r}?" in done.err
        assert "--scheme" not in done.err


def test_the_first_invalid_tag_is_named_with_the_scheme_that_fits_best(folder):
    (folder / "bad.conll").write_text("a\tB-X\nb\tI-Y\n\n")
    done = inside("data", "check", "bad.conll", "--strict", folder=folder)
    assert (done.code, done.out) == (3, "")
    assert (
        "bad.conll:2: I-Y after B-X is not valid in iob2; this is the first invalid tag in iob2, the "
        in done.err
    )
    assert "--scheme iob2 --repair" in done.err


def test_a_file_of_forms_is_checked_as_pairs_without_being_told(tmp_path: Path) -> None:
    (tmp_path / "forms").write_text("go\twent\tV;PST\ngo\tgoes\tV;PRS;3\nsee\tsaw\tV;PST\n")
    done = inside("data", "check", "forms", folder=tmp_path)
    assert done.code == 0 and "pairs\t3\n" in done.out
    assert "read as pairs with features, as with --task translate" in done.err
    assert done.out == inside("data", "check", "forms", "--task", "translate", folder=tmp_path).out
