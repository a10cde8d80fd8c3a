"""Columns and JSON lines: detecting layouts, reading and writing sentences, naming faults."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtool.errors import DataError, UsageError
from seqtool.text import columns
from seqtool.text.columns import (
    ColumnFormat,
    TaggedSentence,
    detect_format,
    detect_stream,
    format_conll,
    format_jsonl,
    read_sentences,
    require_sentences,
)
from seqtool.text.inline import format_inline
from seqtool.text.tag_scheme import Scheme, inventory, spans

TABS = ColumnFormat("conll", "tab", 2, 1, 2)
CONLLU = """\
# sent_id = 1
# text = Today's sun
1-2	Today's	_	_	_	_	_	_	_	_
1	Today	today	NOUN	NN	_	3	x	_	_
2	's	's	PART	POS	_	1	x	_	_
2.1	was	be	VERB	VBD	_	_	_	_	_
3	sun	sun	NOUN	NN	_	0	root	_	_

# sent_id = 2
1	#	#	SYM	NFP	_	0	root	_	_

"""


def read(text: str, layout: ColumnFormat = TABS) -> Iterator[TaggedSentence]:
    """The sentences of a stream whose columns are known."""
    stream = io.BytesIO(text.encode())
    if layout.kind == "jsonl":
        return detect_stream(stream, "data.jsonl")[1]
    known = {"token": layout.token, "tag": layout.tag or 0, "features": layout.features}
    name = "data.conllu" if layout.kind == "conllu" else "data"
    return detect_stream(stream, name, **known)[1]  # type: ignore[arg-type]


def sentences(text: str, layout: ColumnFormat = TABS) -> list[tuple[list[str], list[str]]]:
    return [(list(s.tokens), list(s.tags or ())) for s in read(text, layout)]


def detected(text: str, **options: int | tuple[int, ...]) -> ColumnFormat:
    return detect_stream(io.BytesIO(text.encode()), "data", **options)[0]  # type: ignore[arg-type]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# Detection


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tO\nb\tO\n\n", ColumnFormat("conll", "tab", 2, 1, 2)),
        ("a b\tO\n\n", ColumnFormat("conll", "tab", 2, 1, 2)),
        ("EU NNP I-NP I-ORG\nrejects VBZ I-VP O\n", ColumnFormat("conll", "whitespace", 4, 1, 4)),
        ("EU  NNP \t I-ORG \n", ColumnFormat("conll", "tab", 2, 1, 2)),
        ("EU  NNP I-ORG\nof IN\tO\nthe DT O\n", ColumnFormat("conll", "whitespace", 3, 1, 3)),
        ("-DOCSTART- -X- -X- O O\n\nEU NNP I-ORG\n", ColumnFormat("conll", "whitespace", 3, 1, 3)),
        ("# text = a b c d\na\tO\n", ColumnFormat("conll", "tab", 2, 1, 2)),
        ("#\tO\n", ColumnFormat("conll", "tab", 2, 1, 2)),
        ("a\nb\n", ColumnFormat("conll", "whitespace", 1, 1, None)),
        ("\u00a0\tO\n", ColumnFormat("conll", "tab", 2, 1, 2)),
        (CONLLU, ColumnFormat("conllu", "tab", 10, 2, 4)),
        ('{"tokens": ["a"], "tags": ["O"]}\n', ColumnFormat("jsonl")),
        ('{"text": "a"}\n', ColumnFormat("jsonl")),
        ("{ O\na O\n", ColumnFormat("conll", "whitespace", 2, 1, 2)),
    ],
)
def test_layout_is_found(tmp_path: Path, text: str, expected: ColumnFormat):
    assert detect_format(write(tmp_path / "data", text)) == expected


def test_columns_may_count_from_the_end_and_be_left_out():
    text = "a b c d\n"
    assert detected(text, token=2, tag=-2, features=(1, -1)) == ColumnFormat(
        "conll", "whitespace", 4, 2, 3, (1, 4)
    )
    assert detected(text, tag=0).tag is None
    assert detected(CONLLU, tag=5, features=(3,)) == ColumnFormat("conllu", "tab", 10, 2, 5, (3,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tag": 5}, "data: there is no column 5 for the tag; expected 1 to 4"),
        ({"token": -5}, "data: there is no column -5 for the token; expected 1 to 4"),
        ({"token": 0}, "data: there is no column 0 for the token; expected 1 to 4"),
        ({"features": (9,)}, "data: there is no column 9 for the feature; expected 1 to 4"),
        ({"token": 4}, "data: token and tag are both column 4; expected two columns"),
    ],
)
def test_absent_columns_are_usage_errors(options: dict[str, int | tuple[int, ...]], message: str):
    with pytest.raises(UsageError) as caught:
        detected("a b c d\n", **options)
    assert str(caught.value) == message


def test_json_lines_have_no_columns():
    with pytest.raises(UsageError, match=r"^data: this format has no columns"):
        detected('{"tokens": ["a"]}', tag=2)


@pytest.mark.parametrize("text", ["", "\n\n", " \t\n\t\n"])
def test_blank_files_have_no_sentences(tmp_path: Path, text: str):
    path = write(tmp_path / "blank.conll", text)
    with pytest.raises(DataError, match=r"blank.conll: no sentences; expected at least one$"):
        detect_format(path)
    with pytest.raises(DataError, match=r"^blank: no sentences; expected at least one$"):
        list(require_sentences(read_sentences(path, TABS), "blank"))


def test_required_sentences_pass_through():
    assert list(require_sentences(iter([1, 2]), "data")) == [1, 2]


def test_detection_reads_a_bounded_prefix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(columns, "DETECTION_LINES", 3)
    # The bad byte on the fifth line is never reached.
    (tmp_path / "long.conll").write_bytes(b"a\tO\n" * 4 + b"\xff\n")
    assert detect_format(tmp_path / "long.conll") == TABS


def test_extension_decides_where_content_does_not_show(tmp_path: Path):
    assert detect_format(write(tmp_path / "a.jsonl", "broken\n")).kind == "jsonl"
    assert detect_format(write(tmp_path / "a.conllu", "x\tO\n")).kind == "conllu"
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"broken\n"))
    assert detect_format(tmp_path / "a.jsonl.gz").kind == "jsonl"


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        (ColumnFormat("conll", "tab", 4, 1, 4), "4 columns, tab-separated: token = 1, tag = 4"),
        (ColumnFormat("conll", "whitespace", 1, 1, None), "1 column, whitespace-separated: token = 1"),
        (
            ColumnFormat("conllu", "tab", 10, 2, 4, (3, 5)),
            "CoNLL-U, tab-separated: token = 2, tag = 4, features = 3, 5",
        ),
        (ColumnFormat("jsonl"), "JSON lines"),
    ],
)
def test_layout_is_described_in_words(layout: ColumnFormat, text: str):
    assert layout.describe() == text


# Reading columns


def test_sentences_come_with_source_line_and_features(tmp_path: Path):
    path = write(tmp_path / "data.conll", "\n\na x O\nb y O\n\n\t\nc z O")
    layout = ColumnFormat("conll", "whitespace", 3, 1, 3, (2,))
    assert list(read_sentences(path, layout)) == [
        TaggedSentence(("a", "b"), ("O", "O"), (("x", "y"),), str(path), 3),
        TaggedSentence(("c",), ("O",), (("z",),), str(path), 7),
    ]


def test_hash_is_a_token_where_it_has_its_columns_and_a_comment_where_not():
    text = "# a comment\n# id = 7\n#\tO\n#tag\tO\n# \tO\n\n# next\nb\tO\n"
    assert sentences(text) == [(["#", "#tag", "#"], ["O"] * 3), (["b"], ["O"])]


def test_comment_inside_a_sentence_is_a_ragged_line():
    with pytest.raises(DataError, match=r"^data:2: 1 column, expected 2; "):
        sentences("a\tO\n# not a comment\n")


def test_lines_of_tabs_and_spaces_end_sentences():
    assert sentences("a\tO\n\t\nb\tO\n \t \nc\tO\n") == [(["a"], ["O"]), (["b"], ["O"]), (["c"], ["O"])]


@pytest.mark.parametrize("token", ["\u00a0", "\u2028", "\u3000", "\x85", "\u200b", "a\u00a0b"])
def test_odd_spaces_are_tokens(token: str):
    assert sentences(f"{token}\tO\n") == [([token], ["O"])]
    spaced = ColumnFormat("conll", "whitespace", 2, 1, 2)
    assert sentences(f"{token}  O \n", spaced) == [([token], ["O"])]


def test_document_starts_part_sentences_and_are_no_words():
    layout = ColumnFormat("conll", "whitespace", 2, 1, 2)
    text = "-DOCSTART- -X- O\n\na O\n-DOCSTART-\nb O\n-DOCSTART-x O\n"
    assert sentences(text, layout) == [(["a"], ["O"]), (["b", "-DOCSTART-x"], ["O", "O"])]


def test_conllu_words_leave_out_comments_ranges_and_empty_nodes():
    layout = detected(CONLLU)
    assert sentences(CONLLU, layout) == [
        (["Today", "'s", "sun"], ["NOUN", "PART", "NOUN"]),
        (["#"], ["SYM"]),
    ]
    assert [s.line for s in read(CONLLU, layout)] == [4, 10]


@pytest.mark.parametrize(
    ("layout", "text", "message"),
    [
        (
            ColumnFormat("conll", "tab", 4, 1, 4),
            "a\tb\tc\tO\na\tb\tO\n",
            "data:2: 3 columns, expected 4; "
            "check that the separator is a tab, and that neither the token nor its tag is missing",
        ),
        (
            ColumnFormat("conll", "whitespace", 2, 1, 2),
            "\na O\nb\n",
            "data:3: 1 column, expected 2; "
            "check that the separator is not a tab, and that neither the token nor its tag is missing",
        ),
        (
            ColumnFormat("conll", "whitespace", 2, 1, 2),
            "a O\nNew York O\n",
            "data:2: 3 columns, expected 2; "
            "check that the separator is not a tab, "
            "and that no token holds a space and no column is too many",
        ),
        (TABS, "a\tO\n\tO\n", "data:2: the token is empty; expected text between the separators"),
        (TABS, " \tO\n", "data:1: the token is empty; expected text between the separators"),
        (TABS, "a\t\n", "data:1: column 2 is empty; expected text between the separators"),
        (
            ColumnFormat("conllu", "tab", 10, 2, 4),
            "x" + "\ta" * 9 + "\n",
            "data.conllu:1: 'x' is not a word number; expected the ten columns of CoNLL-U",
        ),
    ],
)
def test_bad_rows_are_named_by_line(layout: ColumnFormat, text: str, message: str):
    with pytest.raises(DataError) as caught:
        sentences(text, layout)
    assert str(caught.value) == message


def test_file_without_blank_lines_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(columns, "SENTENCE_LIMIT", 10)
    assert len(sentences("a\tO\n" * 10)) == 1
    with pytest.raises(DataError, match=r"^data:2: a sentence of more than 10 tokens; "):
        sentences("\n" + "a\tO\n" * 11)


@pytest.mark.parametrize("text", ["token\tner\nAda\tB-PER\n", "Word\tPOS\nthe\tDET\n", "token\nAda\n"])
def test_a_header_row_is_found_where_no_tags_are_read(text: str):
    layout, found = detect_stream(io.BytesIO(text.encode()), "data", tag=0)
    assert layout.header
    assert [len(sentence.tokens) for sentence in found] == [1]


@pytest.mark.parametrize("text", ["Form\tO\nis\tO\n", "Word\nof\nmouth\n", "Word\tB-X\nis\tO\n"])
def test_a_word_is_no_header_though_it_could_name_a_column(text: str):
    layout, found = detect_stream(io.BytesIO(text.encode()), "data", tag=0)
    assert not layout.header
    assert next(found).tokens[0] in ("Form", "Word")


# Pipes


def test_sentence_is_yielded_at_its_blank_line_not_later():
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb", buffering=0) as sink:
        sink.write(b"a\tO\n\n")
        _, found = detect_stream(stream, "pipe")
        assert next(found).tokens == ("a",)
        sink.write(b"b\tO\n\n")
        assert next(found).tokens == ("b",)


@pytest.mark.parametrize("first", ["a\tO\n\n", "\n\na\tO\n\n", '{"tokens": ["a"], "tags": ["O"]}\n', CONLLU])
def test_layout_of_a_stream_needs_only_its_first_sentence(first: str):
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb", buffering=0) as sink:
        sink.write(first.encode())
        layout, found = detect_stream(stream, "pipe")
        assert layout == detected(first)
        assert next(found).tokens in [("a",), ("Today", "'s", "sun")]


def test_stream_with_found_layout_loses_nothing():
    text = "\n".join(f"w{n}\tO\n" for n in range(50))
    _, found = detect_stream(io.BytesIO(text.encode()), "data")
    assert [s.tokens[0] for s in found] == [f"w{n}" for n in range(50)]


# JSON lines


@pytest.mark.parametrize("key", ["tags", "ner_tags", "labels"])
def test_json_lines_hold_tokens_and_tags(key: str):
    line = json.dumps({"id": 7, "tokens": ["New York", "is"], key: ["B-LOC", "O"]})
    assert sentences(f"\n{line}\n", ColumnFormat("jsonl")) == [(["New York", "is"], ["B-LOC", "O"])]


def test_json_lines_without_tags_have_none():
    found = list(read('\n{"tokens": ["a"]}\n{"text": "b c"}', ColumnFormat("jsonl")))
    assert found == [
        TaggedSentence(("a",), None, source="data.jsonl", line=2),
        TaggedSentence(("b", "c"), None, source="data.jsonl", line=3),
    ]


@pytest.mark.parametrize("key", ["spans", "entities"])
def test_character_spans_become_tags_and_cut_tokens(key: str):
    text = "A New York-based firm, Ada's"
    marked = [(23, 26, "PER"), (2, 10, "LOC")]
    line = json.dumps({"text": text, key: [{"start": s, "end": e, "label": x} for s, e, x in marked]})
    assert sentences(line, ColumnFormat("jsonl")) == [
        (
            ["A", "New", "York", "-", "based", "firm", ",", "Ada", "'s"],
            ["O", "B-LOC", "I-LOC", "O", "O", "O", "O", "B-PER", "O"],
        )
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "data.jsonl:1: not a JSON object; expected one object per line"),
        ("{", "data.jsonl:1: not JSON: "),
        ("[" * 100_000, "data.jsonl:1: nested too deeply; "),
        ('{"words": []}', 'data.jsonl:1: neither "tokens" nor "text"; expected one of them'),
        ('{"tokens": []}', "data.jsonl:1: no tokens; expected at least one"),
        ('{"text": "\\u200b"}', "data.jsonl:1: no tokens; expected at least one"),
        ('{"tokens": "a"}', 'data.jsonl:1: "tokens" is not a list; expected a list of texts'),
        ('{"tokens": ["a", ""]}', "data.jsonl:1: '' in \"tokens\"; expected text that is not empty"),
        (
            '{"tokens": ["a"], "ner_tags": [3]}',
            'data.jsonl:1: 3 in "ner_tags"; expected text that is not empty',
        ),
        ('{"tokens": ["\\ud800"]}', 'data.jsonl:1: half of a surrogate pair in "tokens"; expected text'),
        ('{"tokens": ["a"], "x": [{"y": "\\ud800"}]}', 'data.jsonl:1: half of a surrogate pair in "x"; '),
        ('{"tokens": ["a"], "\\udfff": 1}', "data.jsonl:1: half of a surrogate pair; expected text"),
        (
            '{"tokens": ["a"], "x": [NaN]}',
            "data.jsonl:1: a number that JSON does not have (NaN or infinity) in ",
        ),
        ('{"tokens": ["a"], "x": {"y": -1e999}}', "data.jsonl:1: a number that JSON does not have "),
        ('{"tokens": ["a", "b"], "tags": ["O"]}', "data.jsonl:1: 1 tag for 2 tokens; expected one per token"),
        ('{"text": "a", "spans": {}}', 'data.jsonl:1: "spans" is not a list; expected a list of spans'),
        (
            '{"text": "a", "spans": [{"start": 0, "end": 2, "label": "X"}]}',
            'data.jsonl:1: span {"start": 0, "end": 2, "label": "X"} in a text of 1 characters; ',
        ),
        (
            '{"text": "a b", "spans": [{"start": 1, "end": 2, "label": "X"}]}',
            "data.jsonl:1: the span 1 to 2 has no token; expected text in it",
        ),
        (
            '{"text": "a b", "spans": [{"start": 0, "end": 3, "label": "X"}, '
            '{"start": 2, "end": 3, "label": "Y"}]}',
            "data.jsonl:1: span 1 to 2 (Y) in a sentence of 2 tokens; expected spans that lie inside it",
        ),
    ],
)
def test_bad_json_lines_are_named(line: str, message: str):
    with pytest.raises(DataError) as caught:
        sentences(line, ColumnFormat("jsonl"))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "value", ['"\\\\ud800"', '"\\ud83d\\ude00"', '"NaN, Infinity, 1e999"', "1e100", "9" * 300]
)
def test_values_that_only_look_odd_are_read(value: str):
    assert sentences(f'{{"tokens": ["a"], "x": {value}}}', ColumnFormat("jsonl")) == [(["a"], [])]


def test_an_odd_value_in_an_array_is_named_by_the_number_of_its_example(tmp_path: Path):
    path = write(tmp_path / "a.json", '[{"text": "a"}, {"text": "b", "score": NaN}]')
    with pytest.raises(DataError, match=re.escape(f"{path}: item 2: a number that JSON does not have")):
        list(read_sentences(path, detect_format(path)))


# Writing

CELL = (
    st.text(st.characters(exclude_characters="\t\n\r\0\ufeff", exclude_categories=["Cs"]), min_size=1)
    .map(lambda text: text.strip(" "))
    .filter(lambda cell: bool(cell) and not cell.startswith(("-DOCSTART-", "# ")))
)
ROWS = st.lists(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=5), min_size=1, max_size=4)


@given(ROWS)
def test_written_columns_read_back(corpus: list[list[tuple[str, str, str]]]):
    layout = ColumnFormat("conll", "tab", 3, 1, 2, (3,))
    text = "".join(format_conll(*zip(*rows, strict=True)) for rows in corpus)
    found = list(read(text, layout))
    assert [list(zip(s.tokens, s.tags or (), *s.features, strict=True)) for s in found] == corpus


@given(ROWS)
def test_written_columns_are_recognised(corpus: list[list[tuple[str, str, str]]]):
    text = "".join(format_conll(*zip(*rows, strict=True)) for rows in corpus)
    assert detected(text, tag=2, features=(3,)) == ColumnFormat("conll", "tab", 3, 1, 2, (3,))


@given(st.lists(st.lists(CELL.filter(lambda cell: " " not in cell), min_size=1), min_size=1, max_size=4))
def test_single_column_reads_back(corpus: list[list[str]]):
    text = "".join(format_conll(tokens, None) for tokens in corpus)
    layout = ColumnFormat("conll", "whitespace", 1, 1, None)
    found = read(text, layout)
    assert [list(s.tokens) for s in found] == corpus


@pytest.mark.parametrize("cell", ["", " ", "a\tb", "a\nb", "a\r", "a\0", " a", "-DOCSTART-"])
def test_cells_that_would_not_read_back_are_refused(cell: str):
    with pytest.raises(DataError, match=r"cannot stand in a column"):
        format_conll([cell], ["O"])
    with pytest.raises(DataError, match=r"cannot stand in a column"):
        format_conll(["a"], [cell])


def test_single_column_refuses_spaces():
    with pytest.raises(DataError, match=r"^'a b' cannot stand in a column"):
        format_conll(["a b"], None)


JSON_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda t: bool(t.strip(" ")))


@given(st.lists(st.lists(st.tuples(JSON_TEXT, JSON_TEXT), min_size=1), min_size=1, max_size=4))
def test_written_json_lines_read_back(corpus: list[list[tuple[str, str]]]):
    text = "".join(format_jsonl(*zip(*rows, strict=True)) for rows in corpus)
    layout, found = detect_stream(io.BytesIO(text.encode()), "data")
    assert layout == ColumnFormat("jsonl")
    assert [list(zip(s.tokens, s.tags or (), strict=True)) for s in found] == corpus


def test_json_lines_leave_out_absent_tags_and_take_extra_keys():
    assert format_jsonl(["é"], None, {"score": 0.5}) == '{"tokens": ["é"], "score": 0.5}\n'


WORD = st.text("ab[]\\/- ", min_size=1).map(lambda text: text.replace(" ", "x"))


def read_inline(line: str) -> tuple[list[str], list[tuple[int, int, str]]]:
    """A reader that shares nothing with the writer: one regular expression for marks and words."""
    tokens: list[str] = []
    found = []
    for opening, word, closing in re.findall(r"(?:\[(\S+) )?((?:\\.|[^\\\[\] ])+)(\]?)", line.rstrip("\n")):
        if opening:
            start, kind = len(tokens), opening
        tokens.append(re.sub(r"\\(.)", r"\1", word))
        if closing:
            found.append((start, len(tokens), kind))
    return tokens, found


@given(st.data(), st.sampled_from(["iob2", "iobes", "bilou"]))
def test_inline_text_shows_tokens_and_spans(data: st.DataObject, scheme: Scheme):
    rows = data.draw(
        st.lists(st.tuples(WORD, st.sampled_from(inventory(["PER", "LOC"], scheme))), min_size=1)
    )
    tokens, tags = zip(*rows, strict=True)
    line = format_inline(tokens, tags, scheme)
    assert read_inline(line) == (list(tokens), [tuple(span) for span in spans(tags, scheme)])


def test_inline_examples():
    tokens = ["Ada", "Lovelace", "lives", "in", "London", "."]
    tags = ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]
    assert format_inline(tokens, tags, "iob2") == "[PER Ada Lovelace] lives in [LOC London] .\n"
    assert format_inline(["and/or", "[1]"], ["CCONJ", "X"], None) == "and\\/or/CCONJ [1]/X\n"
    assert format_inline(["[1]", "and/or"], ["O", "O"], "iob2") == "\\[1\\] and/or\n"


# Real data

SHARED = Path(os.environ.get("SEQTOOL_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


@pytest.mark.real
@pytest.mark.parametrize(
    ("path", "count", "description"),
    [
        ("wnut17/wnut17train.conll", 3394, "2 columns, tab-separated: token = 1, tag = 2"),
        ("wnut17/emerging.dev.conll", 1009, "2 columns, tab-separated: token = 1, tag = 2"),
        ("wnut17/emerging.test.annotated", 1287, "2 columns, tab-separated: token = 1, tag = 2"),
        ("ncbi_disease/train.tsv", 5424, "2 columns, tab-separated: token = 1, tag = 2"),
        ("ud_english_ewt/en_ewt-ud-train.conllu", 12544, "CoNLL-U, tab-separated: token = 2, tag = 4"),
    ],
)
def test_real_files_have_their_published_number_of_sentences(path: str, count: int, description: str):
    if not (SHARED / path).is_file():
        pytest.skip(f"{path} is not there; SEQTOOL_DATA names the folder of the real data")
    layout = detect_format(SHARED / path)
    assert layout.describe() == description
    assert sum(1 for _ in read_sentences(SHARED / path, layout)) == count
