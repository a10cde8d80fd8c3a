"""Pairs in CSV and TMX, several references, and the messages about files with another layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqtool.errors import DataError, UsageError
from seqtool.text.pair_files import headings_remark, kind_of, read_pairs, require_files
from seqtool.text.parallel import SentencePair


def texts(
    path: Path | list[Path], *columns: str, languages: tuple[str, str] | None = None
) -> list[tuple[str, ...]]:
    """Source and references of each pair."""
    paths = path if isinstance(path, list) else [path]
    pairs = read_pairs(paths, columns or ("source", "target"), languages)
    return [(pair.source, *pair.references) for pair in pairs]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        'source,target\nHello,Hallo\n"Ada, too","Ada ""auch"""\n',
        'Target;id;Source\nHallo;1;Hello\n"Ada ""auch""";2;Ada, too\n',
        'src\ttgt\nHello\tHallo\nAda, too\t"Ada ""auch"""\n',
        '\n"source","target"\nHello,Hallo\n\n"Ada, too","Ada ""auch"""',
    ],
)
def test_csv_with_headings(tmp_path: Path, text: str) -> None:
    expected = [("Hello", "Hallo"), ("Ada, too", 'Ada "auch"')]
    assert texts(write(tmp_path / "p.csv", text.lstrip("\n"))) == expected


def test_csv_without_headings_is_read_by_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "1,Hello,Hallo\n2,Bye,Tschüss\n")
    assert texts(path, "-", "source", "target") == [("Hello", "Hallo"), ("Bye", "Tschüss")]


def test_headings_that_are_languages_are_no_pair(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "en,de-AT\nHello,Hallo\n")
    assert texts(path) == [("Hello", "Hallo")]
    assert texts(path, languages=("de-AT", "en")) == [("Hallo", "Hello")]


def test_named_languages_are_columns_of_csv_wherever_they_stand(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "id,fr,en,de\n7,Salut,Hello,Hallo\n")
    assert texts(path, languages=("en", "fr")) == [("Hello", "Salut")]
    with pytest.raises(DataError, match=r"p\.csv:1: no columns 'en' and 'it' among 'id', 'fr', 'en', 'de'; "):
        texts(path, languages=("en", "it"))


SENTENCES = "1,Go.,Va !\n2,Hi there.,Salut !\n3,Run!,Cours !\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"id,english,french\n{SENTENCES}",
            "3 columns (id, english, french), expected source and target; name the two: --languages "
            'english,french (as a setting: data.languages = ["english", "french"])',
        ),
        ("id,en,id\n1,Go.,Pergi.\n", "3 columns, expected 2"),
        (f"id,question,answer\n{SENTENCES}", "name the two: --languages question,answer (as"),
        (f"number,some English,le français\n{SENTENCES}", "--languages 'some English,le français' (as"),
        (SENTENCES, "3 columns, expected 2 (source, target); name them, with - for one that is not read: "),
        (SENTENCES, "--columns -,source,target (as a setting"),
    ],
)
def test_three_columns_show_the_headings_and_what_to_type(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        texts(write(tmp_path / "p.csv", text))
    assert message in str(caught.value)


def test_languages_that_are_not_there_name_those_that_are(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", f"id,english,french\n{SENTENCES}")
    with pytest.raises(DataError, match=r"no columns 'en' and 'fr' among .*: --languages english,french "):
        texts(path, languages=("en", "fr"))
    write(path, SENTENCES)
    with pytest.raises(DataError, match=r"does not name the columns, name them: --columns -,source,target "):
        texts(path, languages=("en", "fr"))


@pytest.mark.parametrize(("name", "separator"), [("p.csv", ","), ("p.tsv", "\t")])
def test_a_row_of_headings_is_no_pair_and_the_remark_says_so(
    tmp_path: Path, name: str, separator: str
) -> None:
    path = write(tmp_path / name, f"id,english,french\n{SENTENCES}".replace(",", separator))
    columns = ("-", "source", "target")
    assert texts(path, *columns) == [("Go.", "Va !"), ("Hi there.", "Salut !"), ("Run!", "Cours !")]
    assert headings_remark([path], columns) == f"{path}: first row taken as headings: id, english, french"
    write(path, "English,German\nHello,Hallo\n".replace(",", separator))
    assert texts(path) == [("Hello", "Hallo")]


@pytest.mark.parametrize("name", ["p.csv", "p.tsv"])
def test_a_first_pair_of_short_words_is_data(tmp_path: Path, name: str) -> None:
    separator = "," if name.endswith("csv") else "\t"
    path = write(tmp_path / name, "run,courir\ngo,aller\n".replace(",", separator))
    assert texts(path) == [("run", "courir"), ("go", "aller")]
    assert headings_remark([path]) is None
    write(path, "source,target\ngo,aller\n".replace(",", separator))
    assert headings_remark([path]) is None


def test_features_of_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", "source,features,target\ngehen,V;PST,ging\n")
    assert next(read_pairs([path])) == SentencePair("gehen", "ging", ("V", "PST"), str(path), 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n", "p.csv:1: 3 columns, expected 2 (source, target); "),
        ("a,b,c\n", "--columns source,target,- (as a setting: data.columns = ["),
        ("source,target\na,b\nc\n", "p.csv:3: 1 cell, the first row has 2; check the quotation marks"),
        ("a\nb\n", "p.csv:1: 1 column, expected 2 (source, target), separated by commas, semicolons or tabs"),
        ('source,target\na,"b\n', "p.csv:2: not CSV: "),
        ('source,target\na,"b\nc"\n', "p.csv:3: a line end or a NUL in 'target'; expected one line of text"),
    ],
)
def test_csv_that_cannot_be_read_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        texts(write(tmp_path / "p.csv", text))
    assert message in str(caught.value)


MEMORY = """<?xml version="1.0" encoding="UTF-8"?>
<tmx version="1.4"><header srclang="de" datatype="plaintext" segtype="sentence"/><body>
<tu><tuv xml:lang="en-GB"><seg>Press <bpt i="1">&lt;b&gt;</bpt>Go<ept i="1">&lt;/b&gt;</ept> &amp; wait.</seg>
    </tuv>
    <tuv xml:lang="de"><seg>Drück <hi>Los</hi>
      und warte.</seg></tuv></tu>
<tu><tuv xml:lang="de"><seg>Nur deutsch.</seg></tuv></tu>
<tu><tuv lang="DE-at"><seg>Servus</seg></tuv><tuv lang="en-GB"><seg>Hello</seg></tuv></tu>
</body></tmx>
"""


def test_a_translation_memory_goes_from_the_language_of_its_header_to_the_other(tmp_path: Path) -> None:
    path = write(tmp_path / "p.tmx", MEMORY)
    assert texts(path) == [("Drück Los und warte.", "Press Go & wait."), ("Servus", "Hello")]
    assert [pair.place for pair in read_pairs([path])] == [f"{path}:6", f"{path}:8"]


def test_named_languages_turn_a_translation_memory_round(tmp_path: Path) -> None:
    path = write(tmp_path / "p.tmx", MEMORY)
    assert texts(path, languages=("en", "de"))[1] == ("Hello", "Servus")
    assert texts(path, languages=("en-GB", "de-AT")) == [("Hello", "Servus")]


def test_a_translation_memory_in_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "p.tmx"
    path.write_bytes(MEMORY.replace("UTF-8", "UTF-16").encode("utf-16"))
    assert texts(path)[1] == ("Servus", "Hello")


def test_a_translation_memory_of_three_languages_asks_for_their_names(tmp_path: Path) -> None:
    unit = "".join(f'<tuv xml:lang="{name}"><seg>{name}</seg></tuv>' for name in ("en", "de", "fr"))
    path = write(tmp_path / "p.tmx", f"<tmx><header/><body><tu>{unit}</tu></body></tmx>")
    with pytest.raises(DataError) as caught:
        texts(path)
    assert """p.tmx:1: the languages en, de, fr, expected a source and a target""" in str(caught.value)
    assert """--languages en,de (as a setting: data.languages = ["en", "de"])""" in str(caught.value)
    assert texts(path, languages=("fr", "en")) == [("fr", "en")]


def test_what_is_no_xml_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"p\.tmx:2: not TMX: "):
        texts(write(tmp_path / "p.tmx", "<tmx>\nnot <xml\n"))


def test_several_target_files_are_several_references(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / name, text) for name, text in {"s": "a\nb\n", "t": "x\ny\n", "u": "z\n\n"}.items()
    ]
    assert texts(paths) == [("a", "x", "z"), ("b", "y")]
    write(paths[2], "z\n")
    with pytest.raises(DataError, match=r"s: 2 lines, but .*u: 1; expected equally many"):
        texts(paths)


def test_several_target_columns_and_lists_are_several_references(tmp_path: Path) -> None:
    columns = write(tmp_path / "p.tsv", "a\tx\tz\nb\ty\t\n")
    assert texts(columns, "source", "target", "target") == [("a", "x", "z"), ("b", "y")]
    headings = write(tmp_path / "p.csv", "source,target 1,target 2\na,x,z\n")
    assert texts(headings) == [("a", "x", "z")]
    objects = write(tmp_path / "p.jsonl", '{"source": "a", "target": ["x", "z"]}\n')
    assert texts(objects) == [("a", "x", "z")]


def test_a_first_line_that_names_the_columns_is_no_pair(tmp_path: Path) -> None:
    assert texts(write(tmp_path / "p.tsv", "Source\tTarget\na\tb\n")) == [("a", "b")]


def test_too_many_columns_name_the_setting(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        texts(write(tmp_path / "p.tsv", "a\tb\tc\n"))
    assert str(caught.value) == (
        f"{tmp_path}/p.tsv:1: 3 columns, expected 2 (source, target); name them, "
        "with - for one that is not read: --columns source,target,- "
        """(as a setting: data.columns = ["source", "target", "-"])"""
    )


def test_a_file_of_both_sides_stands_alone() -> None:
    assert kind_of("A.TMX.gz") == "tmx"
    require_files(["a.csv"])
    with pytest.raises(UsageError, match=r"b\.csv: such a file holds both sides and must be given alone"):
        require_files(["a.en", "b.csv"])
