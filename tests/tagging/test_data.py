from __future__ import annotations

from pathlib import Path

import pytest

from seqtool.errors import DataError, UsageError
from seqtool.tagging.data import (
    Part,
    TaggingData,
    hold_out,
    load_part,
    load_training_data,
    read_part,
    tag_inventory,
    unseen_tags,
)
from seqtool.tagging.settings import DataSettings, LocalSettings
from seqtool.text.columns import TaggedSentence
from seqtool.text.data_files import locate
from seqtool.text.hub import HubSettings
from seqtool.text.tag_scheme import Scheme
from tests.tagging.tiny_tagger import (
    SENTENCES,
    as_parts_of_speech,
    in_scheme,
    load_data,
    tiny_settings,
    write_columns,
)

SCHEMES: tuple[Scheme, ...] = ("iob1", "iob2", "iobes", "bilou")
LOCAL = LocalSettings(folder="set", train="a.conll", dev="b.conll")
HUB = HubSettings(id="owner/name", revision="0" * 40)


def test_files_of_every_scheme_give_the_same_sentences(tmp_path: Path) -> None:
    wanted = load_data(write_columns(tmp_path / "iobes.conll", in_scheme("iobes"))).train
    for scheme in SCHEMES:
        data = load_data(write_columns(tmp_path / f"{scheme}.conll", in_scheme(scheme)))
        assert data.file_scheme == scheme
        assert [(s.tokens, s.tags) for s in data.train] == [(s.tokens, s.tags) for s in wanted]
    assert wanted[0].tags == ("B-PER", "E-PER", "O", "S-PER", "O", "S-LOC", "O")


def test_the_scheme_is_found_over_all_parts(tmp_path: Path) -> None:
    # The training part alone fits any scheme.
    train = write_columns(tmp_path / "train.conll", [[("a", "O"), ("b", "O")]])
    dev = write_columns(tmp_path / "dev.conll", [[("a", "S-X"), ("b", "O")]])
    assert load_data(train, data={"dev": str(dev)}).file_scheme == "iobes"


def test_parts_of_different_schemes_are_an_error(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "train.conll", [[("a", "B-X"), ("b", "I-X"), ("c", "O")]])
    dev = write_columns(tmp_path / "dev.conll", [[("a", "S-X"), ("b", "O")]])
    with pytest.raises(DataError):
        load_data(train, data={"dev": str(dev)})


def test_a_sentence_that_is_invalid_in_the_named_scheme_is_an_error_with_its_line(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "t.conll", [[("a", "O")], [("b", "O"), ("c", "I-X")]])
    with pytest.raises(DataError, match=r"t\.conll:4: invalid iob2 sequence: .*--scheme iob2 --repair"):
        load_data(train, data={"scheme": "iob2", "strict": True})


def test_repair_mends_and_counts(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "t.conll", [[("a", "O")], [("b", "O"), ("c", "I-X")]])
    data = load_data(train, data={"scheme": "iob2", "repair": True})
    assert data.train[1].tags == ("O", "S-X")
    same, repaired = data.warnings
    assert "the development data is the training data" in same
    assert repaired == "2 tags repaired to valid iob2 sequences"  # one each in train and dev


def test_parts_of_speech_stay_as_they_are(tmp_path: Path) -> None:
    data = load_data(write_columns(tmp_path / "t.conll", as_parts_of_speech()), "pos")
    assert (data.scheme, data.file_scheme) == (None, None)
    assert [list(s.tags or ()) for s in data.train] == [
        [tag for _, tag in row] for row in as_parts_of_speech()
    ]
    assert data.describe()[-1] == "tags: one per token, no spans"


@pytest.mark.parametrize(("sentences", "held"), [(2, 1), (10, 1), (25, 2), (100, 10)])
def test_the_last_tenth_is_held_out(sentences: int, held: int) -> None:
    everything = tuple(TaggedSentence((str(number),), ("O",)) for number in range(sentences))
    train, dev = hold_out(Part("train", everything, "t", "0", ""))
    assert train.sentences + dev.sentences == everything
    assert len(dev.sentences) == held
    assert (train.name, dev.name) == ("train", "dev")


def test_holding_out_is_said(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "t.conll")
    data = load_data(train, data={"dev": None})
    assert (len(data.train), len(data.dev)) == (9, 1)
    assert data.warnings == ("no dev file: the last 1 of the training sentences are held out for it",)


def test_one_sentence_cannot_be_held_out(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "t.conll", [[("a", "O")]])
    with pytest.raises(DataError, match="one sentence cannot be split into train and dev; give --dev"):
        load_data(train, data={"dev": None})


def test_long_training_sentences_are_left_out_and_counted(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "t.conll")
    data = load_data(train, data={"max_length": 4})
    assert max(len(s.tokens) for s in data.train) == 4
    assert (len(data.train), len(data.dev)) == (7, 10)  # none of them in dev
    assert "3 training sentences of more than 4 tokens left out (data.max_length)" in data.warnings


def test_no_training_sentence_left_is_an_error(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "t.conll", [[("a", "O"), ("b", "O")]])
    with pytest.raises(DataError, match="no training sentence of at most 1 tokens"):
        load_data(train, data={"max_length": 1})


@pytest.mark.parametrize("content", ["", "\n\n \n"])
def test_a_file_without_sentences_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.conll"
    path.write_text(content)
    with pytest.raises(DataError, match="no sentences"):
        load_data(path)


def test_json_lines_without_tags_are_an_error_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"tokens": ["a"], "tags": ["O"]}\n{"tokens": ["b"]}\n')
    with pytest.raises(DataError, match=r"t\.jsonl:2: no tags"):
        load_data(path)


def test_a_part_that_the_recipe_lacks_is_named(tmp_path: Path) -> None:
    settings = tiny_settings(write_columns(tmp_path / "t.conll"))
    with pytest.raises(
        UsageError,
        match=r"this run has no test part; name a file, or use .*: --part dev",
    ):
        load_part(settings, "test")
    with pytest.raises(UsageError, match=r"set/ below \$SEQTOOL_DATA; set that variable"):
        read_part(DataSettings(local=LOCAL), "train")


def test_a_part_is_converted_by_itself(tmp_path: Path) -> None:
    path = write_columns(tmp_path / "t.conll", in_scheme("bilou"))
    data = load_part(tiny_settings(tmp_path / "none", data={"test": str(path)}), "test")
    assert list(data.parts) == ["test"]
    assert data.file_scheme == "bilou"
    assert data.parts["test"].sentences[4].tags == ("S-LOC",)


def test_equal_files_have_equal_fingerprints(tmp_path: Path) -> None:
    first = load_data(write_columns(tmp_path / "a.conll"))
    same = load_data(write_columns(tmp_path / "b.conll"))
    other = load_data(write_columns(tmp_path / "c.conll", SENTENCES[:5]))
    assert first.fingerprint() == same.fingerprint() != other.fingerprint()
    assert first.fingerprint().keys() == {"train", "dev"}


def test_the_description_counts_sentences_and_tokens(tmp_path: Path) -> None:
    path = write_columns(tmp_path / "t.conll", SENTENCES[:2])
    assert load_data(path).describe() == [
        f"train: 2 sentences, 11 tokens, {path}",
        f"dev: 2 sentences, 11 tokens, {path}",
        "layout: 2 columns, tab-separated: token = 1, tag = 2",
        "tags: iob2",
    ]


def test_partial_tags_are_converted_too(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "t.conll", [[("a", "B-PER|B-ORG"), ("b", "O"), ("c", "?")]])
    data = load_data(train, data={"scheme": "iob2"})
    assert data.train[0].tags == ("S-PER|S-ORG", "O", "?")


def test_a_partial_sentence_without_a_valid_reading_is_an_error_with_its_line(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "t.conll", [[("a", "O")], [("a", "O"), ("b", "I-PER|I-ORG")]])
    with pytest.raises(DataError, match=r"t\.conll:4: invalid iob2 sequence"):
        load_data(train, data={"scheme": "iob2"})


def test_the_inventory_has_all_tags_of_each_type_or_all_that_occur() -> None:
    spans = [TaggedSentence(("a", "b", "c"), ("S-X", "B-Y|S-Z", "?"))]
    assert tag_inventory(spans, "iobes") == ["O", *(f"{p}-{t}" for t in "XYZ" for p in "BIES")]
    words = [TaggedSentence(("a", "b", "c"), ("VERB", "ADJ|NOUN", "?"))]
    assert tag_inventory(words, None) == ["ADJ", "NOUN", "VERB"]


def test_a_type_may_contain_hyphens() -> None:
    assert tag_inventory([TaggedSentence(("a",), ("S-work-of-art",))], "iobes")[1] == "B-work-of-art"


def test_unseen_tags_are_counted_and_partial_ones_are_not() -> None:
    part = Part("dev", (TaggedSentence(tuple("abcd"), ("A", "B", "B", "?")),), "d", "0", "")
    assert unseen_tags(part, {"A"}, TaggingData({"dev": part}, scheme=None)) == {"B": 2}
    whole = TaggingData({"dev": part}, scheme=None, partial=False)
    assert unseen_tags(part, {"A"}, whole) == {"B": 2, "?": 1}


def test_named_files_go_before_local_ones_and_these_before_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQTOOL_DATA", str(tmp_path))
    (tmp_path / "set").mkdir()
    named = locate(DataSettings(train="x.conll", local=LOCAL, hub=HUB), tmp_path / "recipe")
    assert (named.train, named.dev) == (str(tmp_path / "recipe" / "x.conll"), None)
    local = locate(DataSettings(local=LOCAL, hub=HUB), tmp_path / "recipe")
    assert (local.train, local.dev) == (str(tmp_path / "set/a.conll"), str(tmp_path / "set/b.conll"))
    assert (local.local, local.hub) == (None, None)


@pytest.mark.parametrize("root", [None, "elsewhere"])
def test_without_its_local_folder_a_recipe_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str | None
) -> None:
    monkeypatch.delenv("SEQTOOL_DATA", raising=False)
    if root:
        monkeypatch.setenv("SEQTOOL_DATA", str(tmp_path / root))
    data = DataSettings(local=LOCAL, hub=HUB)
    assert locate(data, tmp_path) == data


def test_extra_columns_are_read_in_the_order_of_the_settings(tmp_path: Path) -> None:
    rows = [[("Ada", "N", "x", "B-PER"), ("met", "V", "y", "O")]]
    data = load_data(write_columns(tmp_path / "t.conll", rows), data={"feature_columns": [3, 2]})
    assert data.train[0].features == (("x", "y"), ("N", "V"))


def test_missing_files_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.conll"):
        load_training_data(tiny_settings(tmp_path / "none.conll"))
