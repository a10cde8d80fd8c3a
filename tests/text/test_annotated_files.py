"""Annotated files as people have them: comments, headers, exports of tools, invalid tags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seqtool.errors import DataError
from seqtool.text.annotation import AnnotatedFile, Columns, TagReading, read_annotated
from seqtool.text.columns import detect_format
from seqtool.text.conversion import Conversion
from seqtool.text.corpus_check import check_corpus
from seqtool.text.json_lines import JsonReading

TEXT = "Susan went to Oslo."
TOKENS = ["Susan", "went", "to", "Oslo", "."]
BOTH = ["B-PER", "O", "O", "B-LOC", "O"]


def read(path: Path, content: str, columns: Columns | None = None) -> AnnotatedFile:
    path.write_text(content, encoding="utf-8")
    return read_annotated(path, columns or Columns())


def rows(file: AnnotatedFile) -> list[list[tuple[str, str]]]:
    return [list(zip(s.tokens, s.tags or (), strict=True)) for s in file.sentences]


# Comments and headers


@pytest.mark.parametrize(
    ("content", "columns", "expected"),
    [
        (
            "# sent_id = 12\nUlla NNP B-NP NOUN\nleft VBD B-VP VERB\n\n# sent_id = 13\nHe PRP B-NP PRON\n\n",
            Columns(),
            [[("Ulla", "NOUN"), ("left", "VERB")], [("He", "PRON")]],
        ),
        (
            "# hello\nUlla B-PER\nleft O\n\n# by\nHe O\n",
            Columns(),
            [[("Ulla", "B-PER"), ("left", "O")], [("He", "O")]],
        ),
        (
            "#\thttp://x.y\t[2009-10-17]\n1\tUlla\tB-PER\tO\n2\tKron\tI-PER\tB-LOCpart\n\n",
            Columns(),
            [[("Ulla", "B-PER"), ("Kron", "I-PER")]],
        ),
        (
            "TOKEN\tNE-COARSE-LIT\tMISC\n# hipe2022:id = x\nUlla\tB-pers\t_\nleft\tO\tNoSpaceAfter\n",
            Columns(),
            [[("Ulla", "B-pers"), ("left", "O")]],
        ),
        (
            "# id 123-abc\tdomain=train\nulla _ _ B-PER\n\n# id 124\tdomain=train\nhe _ _ O\n# _ _ O\n",
            Columns(),
            [[("ulla", "B-PER")], [("he", "O"), ("#", "O")]],
        ),
        ("#\tO\nwin\tO\n\n#\tO\n", Columns(), [[("#", "O"), ("win", "O")], [("#", "O")]]),
        ("# SYM\nby ADP\n\n", Columns(), [[("#", "SYM"), ("by", "ADP")]]),
        ("Ulla\tB-PER\n\n\ufeffPeter\tB-PER\n", Columns(), [[("Ulla", "B-PER")], [("Peter", "B-PER")]]),
    ],
)
def test_comments_headers_and_marks_are_no_words(
    tmp_path: Path, content: str, columns: Columns, expected: list[list[tuple[str, str]]]
):
    assert rows(read(tmp_path / "a.conll", content, columns)) == expected


def test_a_column_of_numbers_is_not_taken_for_the_words(tmp_path: Path):
    (tmp_path / "a.tsv").write_text("1\tUlla\tO\n2\tleft\tO\n\n1\tHe\tO\n")
    assert detect_format(tmp_path / "a.tsv").describe() == "3 columns, tab-separated: token = 2, tag = 3"
    (tmp_path / "four.tsv").write_text("1\tUlla\tNNP\tB-PER\n2\tleft\tVBD\tO\n")
    assert detect_format(tmp_path / "four.tsv").tag == 4
    (tmp_path / "b.tsv").write_text("1\tone\tO\n5\tfive\tO\n")
    assert detect_format(tmp_path / "b.tsv").token == 1


# Exports of annotation tools

DOCCANO = {"id": 1, "text": TEXT, "label": [[0, 5, "PER"], [14, 18, "LOC"]]}
STUDIO: dict[str, Any] = {
    "id": 7,
    "data": {"text": TEXT},
    "annotations": [
        {
            "was_cancelled": False,
            "result": [
                {"type": "labels", "value": {"start": 0, "end": 5, "text": "Susan", "labels": ["PER"]}},
                {"type": "labels", "value": {"start": 14, "end": 18, "text": "Oslo", "labels": ["LOC"]}},
            ],
        }
    ],
}


@pytest.mark.parametrize(
    "example",
    [
        DOCCANO,
        {"text": TEXT, "labels": [[0, 5, "PER"], [14, 18, "LOC"]]},
        {"data": TEXT, "label": [[0, 5, "PER"], [14, 18, "LOC"]]},
        {
            "text": TEXT,
            "entities": [
                {"id": 3, "label": "PER", "start_offset": 0, "end_offset": 5},
                {"id": 4, "label": "LOC", "start_offset": 14, "end_offset": 18},
            ],
            "relations": [],
        },
        {"text": TEXT, "entities": [[0, 5, "PER"], [14, 18, "LOC"]]},
        [TEXT, {"entities": [[0, 5, "PER"], [14, 18, "LOC"]]}],
        {
            "text": TEXT,
            "ents": [{"start": 0, "end": 5, "label": "PER"}, {"start": 14, "end": 18, "label": "LOC"}],
            "tokens": [
                {"id": i, "start": s, "end": s + n}
                for i, (s, n) in enumerate([(0, 5), (6, 4), (11, 2), (14, 4), (18, 1)])
            ],
        },
        STUDIO,
        {
            "text": TEXT,
            "label": [{"start": 0, "end": 5, "labels": ["PER"]}, {"start": 14, "end": 18, "labels": ["LOC"]}],
        },
    ],
)
def test_exports_of_annotation_tools_are_read_by_line_and_as_an_array(tmp_path: Path, example: Any):
    expected = [list(zip(TOKENS, BOTH, strict=True))]
    assert rows(read(tmp_path / "a.jsonl", json.dumps(example) + "\n")) == expected
    array = read(tmp_path / "a.json", json.dumps([example, example]))
    assert (rows(array), array.layout.describe()) == (expected * 2, "JSON array")
    assert rows(read(tmp_path / "b.json", json.dumps([example], indent=2))) == expected


def test_of_several_annotations_of_a_text_the_first_is_read_and_that_is_said(tmp_path: Path):
    twice: dict[str, Any] = {**STUDIO, "annotations": STUDIO["annotations"] * 2}
    cancelled = {**STUDIO, "annotations": [{"was_cancelled": True, "result": []}, *STUDIO["annotations"]]}
    file = read(tmp_path / "a.json", json.dumps([twice, cancelled, STUDIO]))
    assert rows(file) == rows(read(tmp_path / "b.json", json.dumps([STUDIO] * 3)))
    assert file.remark_lines() == [
        f"{tmp_path}/a.json: 1 text annotated more than once; the first annotation of each is read"
    ]


def test_an_array_may_be_one_line_of_any_length(tmp_path: Path):
    file = read(tmp_path / "a.json", json.dumps([STUDIO] * 6000))
    assert (tmp_path / "a.json").stat().st_size > 1_000_000
    assert len(file.sentences) == 6000


def test_tokens_of_prodigy_are_kept_and_rejected_answers_are_no_examples(tmp_path: Path):
    tokens = [
        {"text": "Susan", "start": 0, "end": 5, "id": 0},
        {"text": "went", "start": 6, "end": 10, "id": 1},
    ]
    spans = [{"start": 0, "end": 5, "token_start": 0, "token_end": 0, "label": "PER"}]
    lines = [
        {"text": TEXT, "tokens": tokens, "spans": spans, "answer": "accept"},
        {"text": TEXT, "spans": spans, "answer": "reject"},
        {"text": "Nobody went.", "answer": "accept"},
    ]
    file = read(tmp_path / "p.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert rows(file) == [
        [("Susan", "B-PER"), ("went", "O")],
        [("Nobody", "O"), ("went", "O"), (".", "O")],
    ]
    assert file.remark_lines() == [f"{tmp_path}/p.jsonl: 1 rejected examples are left out"]


def test_texts_without_annotation_are_counted(tmp_path: Path):
    file = read(tmp_path / "a.jsonl", json.dumps(DOCCANO) + "\n" + json.dumps({"text": "Later."}) + "\n")
    assert [s.tags is None for s in file.sentences] == [False, True]
    assert file.remark_lines() == [f"{tmp_path}/a.jsonl: 1 text without annotation"]


def test_tags_that_are_numbers_need_their_names(tmp_path: Path):
    line = '{"tokens":["Susan","went"],"ner_tags":[1,0]}\n'
    with pytest.raises(
        DataError, match=r"""a.jsonl:1: "ner_tags" holds numbers; .*--tag-names O,B-PER,I-PER"""
    ):
        read(tmp_path / "a.jsonl", line)
    named = Columns(reading=JsonReading(tag_names=("O", "B-PER"), annotated=True))
    assert rows(read(tmp_path / "a.jsonl", line, named)) == [[("Susan", "B-PER"), ("went", "O")]]
    with pytest.raises(DataError, match=r'a.jsonl:1: 2 in "ner_tags"; there are names only for 0 to 1'):
        read(tmp_path / "a.jsonl", line.replace("1,0", "2,0"), named)
    info = {"features": {"ner_tags": {"feature": {"names": ["O", "B-PER"]}}}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    assert rows(read(tmp_path / "a.jsonl", line)) == [[("Susan", "B-PER"), ("went", "O")]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "Ada ran", "my_ents": [[0, 3, "PER"]]}\n', '"my_ents" looks like annotation'),
        ("a.jsonl", '{"tokens": ["Ada", "ran"], "gold": ["B-PER", "O"]}\n', '"gold" looks like annotation'),
        ("a.jsonl", '{"text": "Ada ran", "label": ["positive"]}\n', '"label" labels the whole text'),
        ("a.ann", "T1\tPerson 0 5\tSusan\n", "is missing; brat keeps both side by side"),
        ("x", "T1\tPerson 0 5\tSusan\nR1\tWorks Arg1:T1 Arg2:T2\n", "this is brat's standoff annotation"),
        ("a.csv", "word,tag\nAda,B-PER\n", "this is comma-separated; save it as CoNLL columns"),
        ("x", "word,tag\nAda,B-PER\nran,O\n", "this is comma-separated"),
        ("a.xml", "<?xml version='1.0'?>\n<s>Ada</s>\n", "this is XML or HTML"),
        ("a.tsv", "#FORMAT=WebAnno TSV 3.3\n#Text=Ada\n1-1\t0-3\tAda\n", "this is WebAnno TSV; export it"),
        ("a.json", '{"version": 1, "rasa": {}}\n', 'neither "tokens" nor'),
        ("a.json", '{\n "version": 1,\n "rasa": {}\n}\n', "a JSON file with 'version', 'rasa'"),
    ],
)
def test_labels_are_never_lost_in_silence(tmp_path: Path, name: str, content: str, message: str):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as caught:
        list(Conversion(str(tmp_path / name), Columns(), "conll").texts())
    assert str(tmp_path / name) in str(caught.value) and message in str(caught.value)


def test_an_unknown_key_is_refused_with_the_key_that_is_read(tmp_path: Path):
    wanted = r'a.jsonl:1: "mine" looks like annotation, but no such key is read; rename it to "spans"$'
    with pytest.raises(DataError, match=wanted):
        read(tmp_path / "a.jsonl", '{"text": "Ada ran", "mine": [[0, 3, "PER"]]}\n')


def test_labels_of_an_export_reach_the_converted_file(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text(json.dumps(DOCCANO) + "\n")
    written = "".join(Conversion(str(tmp_path / "a.jsonl"), Columns(), "conll").texts())
    assert written == "Susan\tB-PER\nwent\tO\nto\tO\nOslo\tB-LOC\n.\tO\n\n"


# Offsets

CUT = {
    "text": TEXT,
    "entities": [{"start": 0, "end": 3, "label": "PER"}, {"start": 14, "end": 18, "label": "LOC"}],
}
EMOJI = {"text": f"Hi 😀 {TEXT}", "entities": [{"start": 6, "end": 11, "label": "PER"}]}


def test_spans_that_cut_a_word_are_widened_counted_and_placed(tmp_path: Path):
    file = read(tmp_path / "a.jsonl", (json.dumps(CUT) + "\n") * 2)
    assert rows(file) == [list(zip(TOKENS, BOTH, strict=True))] * 2
    (line,) = file.remark_lines()
    assert line.startswith(
        f"{tmp_path}/a.jsonl: 2 spans cut a word and are widened to whole words, the first at "
        f"{tmp_path}/a.jsonl:1: 'Sus', characters 0 to 3; --misaligned drop leaves them out"
    )
    assert check_corpus([tmp_path / "a.jsonl"], Columns()).files[0].remarks == (line,)


def test_spans_that_cut_a_word_can_be_dropped_or_refused(tmp_path: Path):
    dropped = Columns(reading=JsonReading("drop", annotated=True))
    assert rows(read(tmp_path / "a.jsonl", json.dumps(CUT), dropped))[0][0] == ("Susan", "O")
    refused = Columns(reading=JsonReading("error", annotated=True))
    with pytest.raises(
        DataError, match=r"a.jsonl:1: 'Sus', characters 0 to 3 \(PER\) cuts a word; --misaligned align"
    ):
        read(tmp_path / "a.jsonl", json.dumps(CUT), refused)


def test_offsets_in_utf16_units_are_recognised(tmp_path: Path):
    file = read(tmp_path / "a.jsonl", json.dumps(EMOJI))
    assert rows(file)[0][2:4] == [("Susan", "B-PER"), ("went", "O")]
    assert file.remark_lines() == [
        f"{tmp_path}/a.jsonl: offsets of 1 text are in UTF-16 units, and are read that way"
    ]
    counted = {**EMOJI, "entities": [[5, 10, "PER"]]}
    file = read(tmp_path / "b.jsonl", json.dumps(counted))
    assert rows(file)[0][2] == ("Susan", "B-PER") and not file.remark_lines()


@pytest.mark.parametrize("text", ["ไปกรุงเทพครับ", "서울에서", "我在北京"])
def test_words_without_spaces_between_them_may_be_cut(tmp_path: Path, text: str):
    file = read(tmp_path / "a.jsonl", json.dumps({"text": text, "spans": [[1, 2, "X"]]}))
    assert not file.remark_lines()
    assert [token for token, tag in rows(file)[0] if tag == "B-X"] == [text[1]]


# Documents


def test_a_document_is_split_into_sentences_and_spans_are_never_cut(tmp_path: Path):
    text = "\n\n".join(["Susan met Dr. Who. He left", "St. John. Inc.\nis in Oslo. it is"] * 3)
    start = text.index("John. Inc.\nis")
    example = {"text": text, "spans": [[start, start + 13, "ORG"], [0, 5, "PER"]]}
    file = read(tmp_path / "a.jsonl", json.dumps(example) + "\n" + json.dumps(CUT) + "\n")
    first = [list(s.tokens) for s in file.sentences[:4]]
    assert first[:2] == [["Susan", "met", "Dr.", "Who", "."], ["He", "left"]]
    assert [
        t
        for s in file.sentences[:-1]
        for t, g in zip(s.tokens, s.tags or (), strict=True)
        if g.endswith("ORG")
    ] == ["John", ".", "Inc.", "is"]
    assert [s.opens for s in file.sentences] == [True, *[False] * (len(file.sentences) - 2), True]
    assert f"1 document split into {len(file.sentences) - 1} sentences" in file.remark_lines()[1]


def test_a_short_text_stays_one_sentence(tmp_path: Path):
    file = read(tmp_path / "a.jsonl", json.dumps({"text": "Ada ran. Bob sat.", "spans": []}))
    assert len(file.sentences) == 1


# Tags that are invalid in their scheme

IOB2 = "Ada\tB-PER\nKing\tI-PER\nmet\tO\nBob\tB-PER\n\n"
IOB1 = "Ada\tI-PER\nBob\tB-PER\nmet\tO\nEve\tI-PER\n\n"


@pytest.mark.parametrize(
    ("content", "scheme", "bad"),
    [(IOB2, "iob2", "in\tO\nOslo\tI-LOC\n\n"), (IOB1, "iob1", "in\tO\nOslo\tB-LOC\n\n")],
)
def test_a_handful_of_invalid_tags_is_read_as_conlleval_reads_them(
    tmp_path: Path, content: str, scheme: str, bad: str
):
    path = tmp_path / "a.conll"
    path.write_text(content * 30 + bad)
    report = check_corpus([path], Columns())
    assert (report.scheme, report.files[0].entities["LOC"], report.files[0].repaired) == (scheme, 1, 1)
    tag = bad.split("\t")[2].strip()
    assert report.invalid == (
        f"1 tag is invalid in {scheme} and read as conlleval reads it, as the beginning or end of an "
        f"entity; the first: {path}:152: {tag} after O is not valid in {scheme}; --strict refuses such tags"
    )
    with pytest.raises(DataError, match=rf"a.conll:\d+: .*--scheme {scheme} --repair"):
        check_corpus([path], Columns(), scheme=scheme, strict=True)
    with pytest.raises(DataError, match=r"a.conll:\d+: .*first invalid tag in .*--repair"):
        check_corpus([path], Columns(), strict=True)


def test_more_than_twenty_and_one_per_cent_of_invalid_tags_are_refused(tmp_path: Path):
    path, bad = tmp_path / "a.conll", "in\tO\nOslo\tI-LOC\n\n"
    path.write_text(IOB2 * 900 + bad * 19)
    assert check_corpus([path], Columns()).scheme == "iob2"
    path.write_text(IOB2 * 1100 + bad * 22)  # 22 of 2,222 are less than one per cent
    assert check_corpus([path], Columns()).scheme == "iob2"
    path.write_text(IOB2 * 900 + bad * 21)
    for scheme in ("auto", "iob2"):
        with pytest.raises(DataError, match=r"a.conll:4502: .*--scheme iob2 --repair"):
            check_corpus([path], Columns(), scheme=scheme)
    assert check_corpus([path], Columns(), scheme="iob2", repair=True).files[0].repaired == 21


def test_schemes_mixed_are_refused_however_few_spans_there_are(tmp_path: Path):
    (tmp_path / "a.conll").write_text(IOB2 + "Eve\tS-PER\n\n")
    with pytest.raises(DataError, match="the first invalid tag in iob2, the scheme that fits best"):
        check_corpus([tmp_path / "a.conll"], Columns())


def test_a_tag_of_no_scheme_is_never_read(tmp_path: Path):
    file = read(tmp_path / "a.conll", "Ada\tBPER\n\n")
    with pytest.raises(DataError, match="'BPER' is not a tag of a span"):
        TagReading("iob2")(file.sentences[0], file.layout)


@pytest.mark.parametrize("scheme", ["bmes", "io"])
def test_a_conversion_keeps_or_names_what_a_scheme_cannot_write(tmp_path: Path, scheme: Any):
    path = tmp_path / "a.conll"
    path.write_text("Ada\tB-PER\nKing\tI-PER\nLee\tI-PER\nBob\tB-PER\n.\tO\n.\tO\n.\tO\n.\tO\n.\tO\n\n")
    conversion = Conversion(str(path), Columns(), "conll", scheme_to=scheme)
    tags = [line.split("\t")[1] for line in "".join(conversion.texts()).splitlines() if line]
    if scheme == "bmes":
        assert tags[:5] == ["B-PER", "M-PER", "E-PER", "S-PER", "O"] and not conversion.warnings
    else:
        assert tags[:5] == ["PER", "PER", "PER", "PER", "O"]
        assert conversion.warnings == ["1 span merged in io with a span of the same type that it touches"]
    (tmp_path / "b.conll").write_text("".join(f"x\t{tag}\n" for tag in tags))
    assert check_corpus([tmp_path / "b.conll"], Columns()).scheme == scheme
