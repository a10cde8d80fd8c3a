"""`seqtool vocab` from outside."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from seqtool.files import digest
from seqtool.models.folder import save_model_folder
from seqtool.text.vocabulary import Vocabulary
from tests.cli.program import answer, inside, seqtool, tree
from tests.cli.running import start

LINES = [f"the cat number {n} sat on the mat" for n in range(40)] + ["", "Größe  ¿qué?", "the end"]
TEXT = "".join(f"{line}\n" for line in LINES)
KINDS = ("word", "character", "sentencepiece")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def build(folder: Path, kind: str, *arguments: str) -> Path:
    done = inside("vocab", "build", "text.txt", "-o", "v", "--kind", kind, *arguments, folder=folder)
    assert (done.code, done.out) == (0, "v\n"), done.err
    return folder / "v"


def shown(folder: Path, *arguments: str) -> list[dict]:
    done = inside("vocab", "show", "--json", *arguments, folder=folder)
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_encoded_is_decoded_again(folder, kind):
    build(folder, kind)
    ids = inside("vocab", "encode", "text.txt", "-v", "v", folder=folder)
    assert (ids.code, ids.err) == (0, "")
    assert all(word.isdecimal() for word in ids.out.split())
    text = inside("vocab", "decode", "-v", "v", folder=folder, stdin=ids.out)
    expected = TEXT.replace("  ", " ") if kind == "word" else TEXT
    assert (text.code, text.out) == (0, expected)


@pytest.mark.parametrize("arguments", [[], ["--byte-fallback"], ["--model-type", "bpe"]])
def test_sentencepiece_brings_back_symbols_that_stand_in_the_text(folder, arguments):
    text = "<s> old price </s> new price\nkeep <unk> and <pad> here\nsplit \u2581 pack\u2581disk\n"
    (folder / "text.txt").write_text(text * 8)
    build(folder, "sentencepiece", *arguments)
    ids = inside("vocab", "encode", "--vocabulary", "v", "text.txt", folder=folder)
    assert (ids.code, ids.err) == (0, "")
    assert inside("vocab", "decode", "--vocabulary", "v", folder=folder, stdin=ids.out).out == text * 8


def test_words_come_by_frequency_after_the_special_symbols(folder):
    build(folder, "word", "--size", "5", "--symbols", "<2de>")
    (facts,) = shown(folder, "v")
    assert facts["symbols"] == ["<pad>", "<unk>", "<2de>", "the", "cat"]
    assert (facts["size"], facts["kind"], facts["sha256"]) == (5, "word", digest(folder / "v"))


def test_rare_symbols_are_unknown_and_counted(folder):
    build(folder, "word", "--min-count", "2", "--lowercase")
    ids = inside("vocab", "encode", "-v", "v", folder=folder, stdin="THE 17 cat\n")
    assert ids.err == "warning: 1 of 3 symbols are unknown and cannot be decoded\n"
    assert inside("vocab", "decode", "-v", "v", folder=folder, stdin=ids.out).out == "the <unk> cat\n"


def test_reserved_symbols_are_never_split(folder):
    for kind in ("character", "sentencepiece"):
        build(folder, kind, "--symbols", "<2de>", "--symbols", "<2fr>", "--overwrite")
        symbols = shown(folder, "v", "--top", "1000")[0]["symbols"]
        ids = inside("vocab", "encode", "-v", "v", folder=folder, stdin="<2fr>cat\n").out.split()
        assert str(symbols.index("<2fr>")) in ids
        assert (symbols.index("<2fr>"), symbols[:2]) == (symbols.index("<2de>") + 1, ["<pad>", "<unk>"])


def test_byte_fallback_leaves_nothing_unknown(folder):
    build(folder, "sentencepiece", "--byte-fallback", "--model-type", "bpe")
    text = "日本\u2028 👩\u200d🔬\n"
    ids = inside("vocab", "encode", "-v", "v", folder=folder, stdin=text)
    assert ids.err == ""
    assert inside("vocab", "decode", "-v", "v", folder=folder, stdin=ids.out).out == text


def test_sentencepiece_is_deterministic_and_quiet(folder):
    for name in ("a", "b"):
        done = seqtool("vocab", "build", "text.txt", "-o", name, "--kind", "sentencepiece", folder=folder)
        assert (done.code, done.out) == (0, f"{name}\n")
        assert len(done.err.splitlines()) == 1 and done.err.startswith("43 lines, ")
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()


def test_sentencepiece_has_the_size_asked_for(folder):
    build(folder, "sentencepiece", "--size", "35")
    assert shown(folder, "v")[0]["size"] == 35


def test_sentencepiece_folds_case_on_request(folder):
    build(folder, "sentencepiece", "--lowercase")
    ids = inside("vocab", "encode", "-v", "v", folder=folder, stdin="THE Cat\n")
    assert inside("vocab", "decode", "-v", "v", folder=folder, stdin=ids.out).out == "the cat\n"


def test_build_reads_several_files_and_a_pipe(folder):
    with gzip.open(folder / "more.txt.gz", "wt") as file:
        file.write("alpha\n")
    arguments = ("vocab", "build", "more.txt.gz", "-", "-o", "v", "--kind", "word")
    done = inside(*arguments, folder=folder, stdin="beta\n")
    assert done.err == "2 lines, 4 symbols, 100.00 % of the text covered\n"
    assert shown(folder, "v")[0]["symbols"] == ["<pad>", "<unk>", "alpha", "beta"]


def test_encode_answers_a_slow_pipe_at_once(folder):
    build(folder, "word")
    with start("vocab", "encode", "-v", "v", cwd=folder, env={"PYTHONUNBUFFERED": ""}) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(2):
            assert answer(process, b"the cat\n") == b"2 3\n"
        process.stdin.write(b"the\n\xff\n")
        process.stdin.close()
        assert process.stdout.read() == b"2\n"
        assert process.wait(timeout=60) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("text.txt", "--kind", "sentencepiece", "--size", "5000"), 2, "--size 5000: this text yields "),
        (("text.txt", "--kind", "sentencepiece", "--size", "9"), 2, "--size 9: this text needs more than "),
        (("text.txt", "--kind", "sentencepiece", "--min-count", "2"), 2, "--min-count has no effect with"),
        (
            ("text.txt", "--kind", "word", "--byte-fallback"),
            2,
            "--byte-fallback has no effect with --kind word",
        ),
        (("text.txt", "--kind", "word", "--model-type", "bpe"), 2, "--model-type has no effect with"),
        (("text.txt", "--kind", "word", "--size", "2"), 2, "--size 2: 2 symbols are special"),
        (("text.txt", "--kind", "word", "--symbols", "a b"), 2, "--symbols 'a b': expected text without"),
        (("text.txt", "--kind", "word", "--symbols", "<pad>"), 2, "--symbols <pad>: the vocabulary has"),
        (("text.txt", "--kind", "words"), 2, "'words' is not one of"),
        (("none.txt", "--kind", "word"), 2, "none.txt: no such file"),
        (
            ("-", "text.txt", "-", "--kind", "word"),
            2,
            "-: standard input can be read only once; name it once",
        ),
        (("none.txt", "--kind", "sentencepiece"), 2, "none.txt: no such file"),
        (("blank.txt", "--kind", "word"), 3, "no text: every line is blank"),
        (("blank.txt", "--kind", "sentencepiece"), 3, "no text: every line is blank"),
        (("bad.txt", "--kind", "sentencepiece"), 3, "build: error: bad.txt:2: not UTF-8 at byte 2 (0xff)"),
    ],
)
def test_a_failed_build_says_why_and_writes_nothing(folder, arguments, code, message):
    (folder / "blank.txt").write_text("\n \n")
    (folder / "bad.txt").write_bytes(b"a\n\xff\n")
    before = tree(folder)
    done = inside("vocab", "build", *arguments, "-o", "v", folder=folder)
    assert (done.code, done.out) == (code, "")
    assert message in done.err and len(done.err.splitlines()) == 1
    assert tree(folder) == before


def test_build_overwrites_only_on_request(folder):
    (folder / "v").write_text("mine")
    done = inside("vocab", "build", "text.txt", "-o", "v", "--kind", "word", folder=folder)
    assert (done.code, (folder / "v").read_text()) == (2, "mine")
    assert done.err == (
        "seqtool vocab build: error: v: exists already; replace it with --overwrite, or give another name\n"
    )


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("2 x", "'x' is not an id; expected 0 to "),
        ("30", "'30' is not an id; expected 0 to 29"),
        ("9999", "'9999' is not an id"),
        ("-1", "'-1' is not an id"),
    ],
)
def test_decode_names_the_line_of_a_bad_id(folder, ids, message):
    build(folder, "word", "--size", "30")
    done = inside("vocab", "decode", "-v", "v", folder=folder, stdin=f"2\n{ids}\n")
    assert (done.code, done.out) == (3, "the\n")
    assert f"error: standard input:2: {message}" in done.err


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"plain text", 4, "v: neither a vocabulary of `vocab build` nor a SentencePiece model"),
        (b"", 4, "v: neither a vocabulary"),
        (b'{"kind": "word", "kind": "word"}\n', 4, "v: damaged or foreign: duplicate key 'kind'"),
        (b'{"kind": "word", "lowercase": false, "format": 2}\n', 4, "v: made by another seqtool (format 2"),
        (
            b'{"kind": "word", "lowercase": false, "format": 1}\n"a"\n',
            4,
            "first symbols <pad> <unk>",
        ),
        (b'{"kind": "word", "lowercase": false, "format": 1}\n\xff', 4, "v: damaged: "),
        (b'{"tokens": []}\n', 4, "v: not a vocabulary of `vocab build`"),
        (None, 2, "v: no such vocabulary file; `seqtool vocab build` makes one"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(folder, content, code, message):
    if content is not None:
        (folder / "v").write_bytes(content)
    done = inside("vocab", "encode", "-v", "v", folder=folder, stdin="a\n")
    assert (done.code, done.out) == (code, "")
    assert message in done.err and len(done.err.splitlines()) == 1


def test_show_lists_what_is_bundled_and_finds_it_by_short_names(folder):
    names = {facts["name"]: facts["size"] for facts in shown(folder)}
    assert names["tags/upos.txt"] == 17 and names["tags/conll2003.txt"] == 4
    for name in ("upos", "tags/upos", "tags/upos.txt"):
        (facts,) = shown(folder, name, "--top", "2")
        assert (facts["name"], facts["symbols"]) == ("tags/upos.txt", ["ADJ", "ADP"])
    done = inside("vocab", "show", "uposs", folder=folder)
    assert done.code == 2 and "did you mean 'upos'?" in done.err
    assert "PROPN" in inside("vocab", "show", "upos", folder=folder).out


def test_show_reads_the_vocabularies_of_a_model(folder):
    words, tags = Vocabulary(["<unk>", "a", " "]), Vocabulary(["O", "B-X"])
    texts = {"words.txt": words.to_text(), "tags.txt": tags.to_text(), "entities.jsonl": ""}
    save_model_folder(folder / "model", task="ner", config={}, tensors={}, texts=texts, card="")
    expected = {
        "tags.txt": (2, tags.digest, ["O", "B-X"]),
        "words.txt": (3, words.digest, ["<unk>", "a", " "]),
    }
    found = {
        facts["name"]: (facts["size"], facts["sha256"], facts["symbols"]) for facts in shown(folder, "model")
    }
    assert found == expected
    (facts,) = shown(folder, "model/words.txt")
    assert (facts["size"], facts["sha256"], facts["symbols"]) == expected["words.txt"]
    assert "' '" in inside("vocab", "show", "model", folder=folder).out
