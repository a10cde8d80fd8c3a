"""Formats of annotation tools: what is written is read back, and what tools write is understood."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqtool.errors import DataError, UsageError
from seqtool.text.annotation import Columns
from seqtool.text.columns import TaggedSentence, detect_format, read_sentences
from seqtool.text.conversion import Conversion, Target
from seqtool.text.inline import format_inline, marks_spans, parse_inline
from seqtool.text.standoff import standoff_examples
from seqtool.text.tag_scheme import Span
from seqtool.text.tool_formats import TOOLS, MarkedText, ToolWriter, marked_text

SENTENCES = [
    (("Ada", "Lovelace", "lives", "in", "[Paris]", "."), ("B-PER", "I-PER", "O", "O", "B-LOC", "O")),
    (("Nobody", "here", "."), ("O", "O", "O")),
    (("a\\b", "naïve", "😀", "Hopper", "York"), ("O", "O", "O", "B-PER", "B-LOC")),
]
ENDINGS: dict[Target, str] = {
    "doccano": "jsonl",
    "label-studio": "json",
    "brat": "ann",
    "inline": "inline",
    "jsonl": "jsonl",
    "conll": "conll",
}


def write_conll(folder: Path) -> Path:
    rows = ["".join(f"{token}\t{tag}\n" for token, tag in zip(*each, strict=True)) for each in SENTENCES]
    (folder / "in.conll").write_text("\n".join(rows))
    return folder / "in.conll"


def converted(source: Path, to: Target, name: str) -> Path:
    """The file that a conversion writes, and the text beside it for brat."""
    texts, beside = zip(*Conversion(str(source), Columns(), to).pairs(), strict=True)
    target = source.parent / f"{name}.{ENDINGS[to]}"
    target.write_text("".join(texts))
    if to == "brat":
        target.with_suffix(".txt").write_text("".join(beside))
    return target


def read(path: Path) -> list[TaggedSentence]:
    return list(read_sentences(path, Columns().detect(path)))


@pytest.mark.parametrize("to", ENDINGS)
def test_every_format_is_read_back(tmp_path: Path, to: Target) -> None:
    found = read(converted(write_conll(tmp_path), to, "out"))
    words = [token for tokens, _ in SENTENCES for token in tokens]
    tags = [tag for _, each in SENTENCES for tag in each]
    if to in TOOLS:  # these hold text, which is split into tokens anew
        text = "".join(token for sentence in found for token in sentence.tokens)
        assert text == "".join(words)
        spans = [
            ("".join(sentence.tokens), [tag[2:] for tag in sentence.tags or () if tag.startswith("B-")])
            for sentence in found
        ]
        assert [kind for _, kinds in spans for kind in kinds] == ["PER", "LOC", "PER", "LOC"]
        return
    assert [token for sentence in found for token in sentence.tokens] == words
    assert [tag for sentence in found for tag in sentence.tags or ()] == tags


def test_label_studio_reads_one_array_whose_regions_quote_the_text() -> None:
    writer = ToolWriter("label-studio", "my-model")
    item = marked_text(["Ada", "met", "Bo"], [Span(0, 1, "PER"), Span(2, 3, "PER")], confidence=[0.5, 0.25])
    written = "".join(writer.add(item)[0] for _ in range(2)) + writer.end()
    first, second = json.loads(written)
    assert first["data"] == {"text": "Ada met Bo"} and len(second["predictions"]) == 1
    (prediction,) = first["predictions"]
    assert prediction["model_version"] == "my-model" and prediction["score"] == 0.25
    regions = prediction["result"]
    assert [region["value"]["text"] for region in regions] == ["Ada", "Bo"]
    assert [region["score"] for region in regions] == [0.5, 0.25]
    assert regions[1]["value"] | {"labels": ["PER"]} == regions[1]["value"]
    assert len({region["id"] for region in [*regions, *second["predictions"][0]["result"]]}) == 4
    assert json.loads(ToolWriter("label-studio").end()) == []


def test_predictions_count_only_where_nobody_has_annotated(tmp_path: Path) -> None:
    writer = ToolWriter("label-studio", "m")
    task = json.loads(writer.add(marked_text(["Ada"], [Span(0, 1, "PER")]))[0][2:])
    (tmp_path / "a.json").write_text(json.dumps([task]))
    assert read(tmp_path / "a.json")[0].tags == ("B-PER",)
    (tmp_path / "b.json").write_text(json.dumps([task | {"annotations": [{"result": []}]}]))
    assert read(tmp_path / "b.json")[0].tags == ("O",)


def test_doccano_gets_places_in_characters_of_the_text_as_it_was() -> None:
    text = "  Ada  Lovelace!"
    item = marked_text(
        ["Ada", "Lovelace", "!"], [Span(0, 2, "PER")], text=text, offsets=[(2, 5), (7, 15), (15, 16)]
    )
    written = json.loads(ToolWriter("doccano").add(item)[0])
    assert written == {"text": text, "label": [[2, 15, "PER"]]}


def test_brat_counts_characters_of_the_whole_text_and_notes_probabilities() -> None:
    writer = ToolWriter("brat", "m")
    first = writer.add(MarkedText("😀 Ada", [Span(2, 5, "PER")], [0.5]))
    second = writer.add(MarkedText("Bo", [Span(0, 2, "PER")], [0.25]))
    assert first == ("T1\tPER 2 5\tAda\n#1\tAnnotatorNotes T1\tp = 0.5000\n", "😀 Ada\n")
    assert second[0] == "T2\tPER 6 8\tBo\n#2\tAnnotatorNotes T2\tp = 0.2500\n"


def test_brat_reads_entities_in_pieces_and_skips_all_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Ada and Bo Li")
    lines = ["T1\tPER 0 3;8 10\tAda Bo", "R1\tKnows Arg1:T1 Arg2:T1", "#1\tAnnotatorNotes T1\thm", ""]
    found = list(standoff_examples(lines, str(tmp_path / "a.ann")))
    assert found == [{"text": "Ada and Bo Li", "spans": [{"start": 0, "end": 10, "label": "PER"}]}]
    with pytest.raises(DataError, match=r"a\.ann:1: not an entity of brat"):
        list(standoff_examples(["T1\tPER x y\tAda"], str(tmp_path / "a.ann")))


@pytest.mark.parametrize(
    ("line", "spans", "message"),
    [
        ("[PER Ada lives", True, "brackets do not match"),
        ("Ada] lives", True, "brackets do not match"),
        ("[PER Ada [LOC Paris]]", True, "brackets do not match"),
        ("Ada/PROPN lives", False, "'lives' has no tag"),
    ],
)
def test_marks_that_do_not_match_are_refused_with_their_place(line: str, spans: bool, message: str) -> None:
    with pytest.raises(DataError, match=f"t:3: {message}"):
        parse_inline(line, "t:3", spans=spans)


def test_inline_knows_entities_from_tags_of_every_token() -> None:
    assert marks_spans("[PER Ada] met/VERB") and not marks_spans("Ada/PROPN lives/VERB")
    tokens, tags = ("and/or", "[1]", "x\\"), ("CCONJ", "X", "SYM")
    line = format_inline(tokens, tags, None).rstrip("\n")
    assert parse_inline(line, "t", spans=False) == (tokens, tags)


def test_formats_without_columns_have_no_column_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.inline").write_text("[PER Ada] lives\n")
    with pytest.raises(UsageError, match="this format has no columns"):
        detect_format(tmp_path / "a.inline", tag=2)
    assert detect_format(tmp_path / "a.inline").describe() == "text with marks"


def test_tags_without_spans_cannot_be_shown_by_tools(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("Ada\tPROPN\nlives\tVERB\n")
    with pytest.raises(DataError, match="mark no spans, which doccano shows"):
        list(Conversion(str(tmp_path / "a.conll"), Columns(), "doccano").pairs())


def test_lines_of_brat_stay_sentences(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("p < 0 . 01 in all ( 63 v 0 . 5 ) .\n\nAda\nmet Bo .\n")
    (tmp_path / "a.ann").write_text("T1\tPER 36 43\tAda\\nmet\nT2\tPER 44 46\tBo\n")
    found = read(tmp_path / "a.ann")
    assert [" ".join(each.tokens) for each in found] == [
        "p < 0 . 01 in all ( 63 v 0 . 5 ) .",
        "Ada",
        "met Bo .",
    ]
    assert [each.tags for each in found[1:]] == [("B-PER",), ("O", "B-PER", "O")]
