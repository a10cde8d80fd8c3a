from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtool.errors import DataError, SettingsError, UsageError
from seqtool.resolution import completed
from seqtool.settings import validate
from seqtool.text.data_files import locate
from seqtool.text.hub import PairHubSettings
from seqtool.text.parallel import SentencePair
from seqtool.translation.data import (
    filter_lengths,
    load_part,
    load_training_data,
    read_files,
    read_part,
)
from seqtool.translation.data_settings import DataSettings, LocalSettings
from seqtool.translation.settings import TranslatorSettings

PAIRS = [(f"source {number}", f"ziel zu {number}") for number in range(10)]
LOCAL = LocalSettings(folder="set", train=["a.en", "a.de"], dev="b.tsv")
HUB = PairHubSettings(id="owner/name", revision="0" * 40)


def write_columns(path: Path, pairs: list[tuple[str, str]] = PAIRS) -> str:
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    return str(path)


def write_aligned(folder: Path, pairs: list[tuple[str, str]] = PAIRS) -> list[str]:
    for position, name in enumerate(("t.en", "t.de")):
        (folder / name).write_text("".join(f"{pair[position]}\n" for pair in pairs))
    return [str(folder / "t.en"), str(folder / "t.de")]


def settings(**data: Any) -> TranslatorSettings:
    return validate(TranslatorSettings, {"name": "tiny", "data": data}, "settings")


def texts(pairs: tuple[SentencePair, ...]) -> list[tuple[str, str | None]]:
    return [(pair.source, pair.target) for pair in pairs]


def test_every_layout_gives_the_same_pairs(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        "".join(json.dumps({"source": source, "target": target}) + "\n" for source, target in PAIRS)
    )
    for train in (
        write_aligned(tmp_path),
        write_columns(tmp_path / "t.tsv"),
        write_columns(tmp_path / "t.txt"),
        str(tmp_path / "t.jsonl"),
    ):
        data = load_training_data(settings(train=train, dev=write_columns(tmp_path / "d.tsv", PAIRS[:2])))
        assert (texts(data.train), texts(data.dev)) == (PAIRS, PAIRS[:2])
        assert data.warnings == ()


LINES = '{"translation": {"en": "Ada lives", "de": "Ada lebt"}}\n{"translation": {"de": "ja", "en": "yes"}}\n'


def test_languages_are_keys_of_json_lines(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(LINES)
    file = str(tmp_path / "t.jsonl")
    part = read_part(settings(train=file, languages=["de", "en"]).data, "train")
    assert [(pair.source, pair.target) for pair in part.pairs] == [("Ada lebt", "Ada lives"), ("ja", "yes")]
    with pytest.raises(DataError, match=r"t\.jsonl:1: no 'fr' among 'en', 'de'"):
        read_part(settings(train=file, languages=["fr", "en"]).data, "train")


@pytest.mark.parametrize(
    ("train", "languages", "message"),
    [
        (["a", "b"], ["en", "de"], "languages has an effect on JSONL, CSV and TMX files only; leave it out"),
        ("t.tsv", ["en", "de"], "languages has an effect on JSONL, CSV and TMX files"),
        ("t.jsonl", ["en", "en"], "languages: expected two names, found 'en' twice"),
        ("t.jsonl", ["en"], "languages: expected at least 2 values"),
    ],
    ids=str,
)
def test_languages_that_nobody_would_read_are_refused(train: Any, languages: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings(train=train, languages=languages)


def test_columns_are_those_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("gehen\tging\tV, PST\n" * 2)
    data = load_training_data(
        settings(
            train=str(tmp_path / "t.tsv"),
            columns=["target", "source", "features"],
            feature_separator=",",
        )
    )
    assert data.train[0] == SentencePair("ging", "gehen", ("V", "PST"), str(tmp_path / "t.tsv"), 1)


@pytest.mark.parametrize(("pairs", "held"), [(2, 1), (10, 1), (25, 2), (100, 10)])
def test_the_last_tenth_is_held_out_and_that_is_said(tmp_path: Path, pairs: int, held: int) -> None:
    everything = [(str(number), str(number)) for number in range(pairs)]
    recipe = settings(train=write_columns(tmp_path / "t.tsv", everything))
    data = load_training_data(recipe)
    assert texts(data.train) + texts(data.dev) == everything
    assert len(data.dev) == held
    assert data.warnings == (f"no dev file: the last {held} of the training pairs are held out for it",)
    assert load_part(recipe, "train").parts["train"] == data.parts["train"]
    assert load_part(recipe, "dev").parts["dev"] == data.parts["dev"]


def test_one_pair_cannot_be_held_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one sentence pair cannot be split into train and dev; give --dev"):
        load_training_data(settings(train=write_columns(tmp_path / "t.tsv", PAIRS[:1])))


@pytest.mark.parametrize(
    ("pair", "aligned", "columns"),
    [
        (("", "b"), "t.en:2: the source is empty", "t.tsv:2: the source is empty"),
        (("a", " "), "t.de:2: the target is empty", "t.tsv:2: the target is empty"),
        (("", ""), "t.en:2: the source is empty", "t.tsv:2: the source is empty"),
    ],
)
def test_an_empty_side_is_an_error_with_its_file_and_line(
    tmp_path: Path, pair: tuple[str, str], aligned: str, columns: str
) -> None:
    pairs = [PAIRS[0], pair, PAIRS[1]]
    for train, place in (
        (write_aligned(tmp_path, pairs), aligned),
        (write_columns(tmp_path / "t.tsv", pairs), columns),
    ):
        with pytest.raises(DataError) as caught:
            load_training_data(settings(train=train))
        assert str(caught.value).startswith(
            f"{tmp_path}/{place}; expected text on both sides; leave such pairs out"
        )


def test_empty_sides_are_dropped_and_counted_part_by_part(tmp_path: Path) -> None:
    train = write_aligned(tmp_path, [("", "b"), *PAIRS, ("a", "\t"), ("", "")])
    dev = write_columns(tmp_path / "d.tsv", [("", "b"), *PAIRS[:1]])
    recipe = settings(train=train, dev=dev, empty="drop")
    data = load_training_data(recipe)
    assert (texts(data.train), texts(data.dev)) == (PAIRS, PAIRS[:1])
    assert data.warnings == (
        "train: 3 pairs with an empty side left out",
        "dev: 1 pair with an empty side left out",
    )
    assert load_part(recipe, "dev").warnings == data.warnings[1:]


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_part_without_pairs_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.tsv").write_text(content)
    with pytest.raises(DataError, match=r"t\.tsv: contains no sentence pairs"):
        load_training_data(settings(train=str(tmp_path / "t.tsv"), empty="drop"))


def test_json_without_a_target_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"source": "a", "target": "b"}\n{"source": "c"}\n')
    with pytest.raises(
        DataError, match=r"t\.jsonl:2: no target; training and evaluation need source and target"
    ):
        read_files([tmp_path / "t.jsonl"], DataSettings(), "train")


def test_missing_files_and_parts_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.tsv: no such file"):
        load_training_data(settings(train=str(tmp_path / "absent.tsv")))
    with pytest.raises(
        UsageError,
        match=r"this run has no test part; name a file, or use .*: --part dev",
    ):
        load_part(settings(train=write_columns(tmp_path / "t.tsv")), "test")
    with pytest.raises(UsageError, match=r"set/ below \$SEQTOOL_DATA; set that variable"):
        read_part(DataSettings(local=LOCAL), "train")
    with pytest.raises(UsageError, match=r"b\.tmx: such a file holds both sides and must be given alone"):
        read_files([tmp_path / "a.en", tmp_path / "b.tmx"], DataSettings(), "test")


def test_equal_files_have_equal_fingerprints(tmp_path: Path) -> None:
    def fingerprint(name: str, pairs: list[tuple[str, str]]) -> dict[str, str]:
        (tmp_path / name).mkdir()
        return load_training_data(settings(train=write_aligned(tmp_path / name, pairs))).fingerprint()

    changed = [*PAIRS[:-1], ("source 9", "other")]
    assert fingerprint("a", PAIRS) == fingerprint("b", PAIRS) != fingerprint("c", changed)
    assert fingerprint("d", PAIRS).keys() == {"train", "dev"}


def test_the_description_counts_pairs_and_words_of_both_sides(tmp_path: Path) -> None:
    source, target = write_aligned(tmp_path)
    assert load_part(settings(train=[source, target], dev=[source, target]), "dev").describe() == [
        f"dev: 10 sentence pairs, 20 source words, 30 target words, {source} and {target}"
    ]


def test_pairs_sorted_by_length_are_reported_with_the_command_that_mends_it(tmp_path: Path) -> None:
    pairs = [("word " * (1 + n // 20), "Wort " * (1 + n // 20)) for n in range(200)]
    source, target = write_aligned(tmp_path, pairs)
    _, remark = load_training_data(settings(train=[source, target])).warnings
    assert re.match(
        r"the pairs held out are \d\.\d times as long as the others; if the file is sorted", remark
    )
    assert remark.endswith(f": seqtool data split {source} {target} -o parts --task translate")
    (tmp_path / "p.csv").write_text("en,de\n" + "".join(f"{a},{b}\n" for a, b in reversed(pairs)))
    data = load_training_data(settings(train=str(tmp_path / "p.csv"), languages=["en", "de"]))
    assert data.warnings[-1].endswith("p.csv -o parts --task translate --languages en,de")
    slow = write_aligned(tmp_path, [(f"{a} {'word ' * 10}", b) for a, b in pairs])
    assert "1.5 times as long" in load_training_data(settings(train=slow)).warnings[-1]
    mixed = write_aligned(tmp_path, [pairs[n * 7 % 200] for n in range(200)])
    assert len(load_training_data(settings(train=mixed)).warnings) == 1


def test_a_data_set_of_the_hub_is_read_where_no_file_is_named(tmp_path: Path) -> None:
    paths = {part: str(tmp_path / f"{part}.json") for part in ("train", "validation")}
    for path in paths.values():
        Path(path).write_text('{"source": "a", "target": "b"}\n{"source": "", "target": "b"}\n')
    hub = {"id": "json", "files": paths, "streaming": True}
    data = load_training_data(settings(hub=hub, empty="drop"))
    assert data.dev == (SentencePair("a", "b", (), "json:validation", 1),)
    assert data.fingerprint() == {"train": "revision None", "dev": "revision None"}
    assert len(data.warnings) == 2
    with pytest.raises(DataError, match="json:train:2: the source is empty"):
        load_training_data(settings(hub=hub))


def test_named_files_go_before_local_ones_and_these_before_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQTOOL_DATA", str(tmp_path))
    (tmp_path / "set").mkdir()
    named = locate(DataSettings(train=["x", "y"], test="z.tsv", local=LOCAL, hub=HUB), tmp_path / "recipe")
    assert (named.train, named.dev) == ([str(tmp_path / "recipe/x"), str(tmp_path / "recipe/y")], None)
    assert named.test == str(tmp_path / "recipe/z.tsv")
    local = locate(DataSettings(local=LOCAL, hub=HUB), tmp_path / "recipe")
    assert local.train == [str(tmp_path / "set/a.en"), str(tmp_path / "set/a.de")]
    assert (local.dev, local.local, local.hub) == (str(tmp_path / "set/b.tsv"), None, None)


def test_without_its_local_folder_a_recipe_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQTOOL_DATA", str(tmp_path / "elsewhere"))
    data = DataSettings(local=LOCAL, hub=HUB)
    assert locate(data, tmp_path) == data


@given(
    lengths=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1),
    limit=st.integers(1, 12),
    ratio=st.sampled_from([0.0, 1.0, 1.5, 3.0]),
)
def test_what_is_kept_and_what_is_counted_add_up(
    lengths: list[tuple[int, int]], limit: int, ratio: float
) -> None:
    data = DataSettings(max_length=limit, max_ratio=ratio)
    pairs = [SentencePair("a", "b", (), "t.tsv", 1)] * len(lengths)
    long = [pair for pair in lengths if max(pair) > limit]
    uneven = [(a, b) for a, b in lengths if max(a, b) <= limit and ratio and (a > ratio * b or b > ratio * a)]
    arguments = (pairs, [a for a, _ in lengths], [b for _, b in lengths], data)
    if len(long) + len(uneven) == len(lengths):
        with pytest.raises(DataError, match=r"^t\.tsv: no training pair is left: ") as caught:
            filter_lengths(*arguments)
        assert ("raise data.max_length" in str(caught.value)) == bool(long)
        assert ("raise data.max_ratio" in str(caught.value)) == bool(uneven)
        return
    kept, warnings = filter_lengths(*arguments)
    assert sorted([*long, *uneven, *(lengths[position] for position in kept)]) == sorted(lengths)
    assert kept == sorted(set(kept))
    assert [int(warning.split()[0]) for warning in warnings] == [len(x) for x in (long, uneven) if x]


def test_left_out_pairs_are_said_in_words() -> None:
    pairs = [SentencePair("a", "b")] * 4
    kept, warnings = filter_lengths(
        pairs, [3, 4, 3, 1], [3, 1, 1, 3], DataSettings(max_length=3, max_ratio=2.5)
    )
    assert kept == [0]
    assert warnings == (
        "1 training pair with more than 3 symbols on a side left out (data.max_length)",
        "2 training pairs with one side more than 2.5 times the other left out (data.max_ratio)",
    )


def test_the_limit_that_leaves_no_pair_is_named() -> None:
    with pytest.raises(DataError) as caught:
        filter_lengths([SentencePair("a", "b", (), "t.tsv", 1)], [9], [1], DataSettings(max_ratio=2.0))
    assert str(caught.value) == (
        "t.tsv: no training pair is left: 1 training pair with one side more than 2 times the other left out "
        "(data.max_ratio); raise data.max_ratio (0 = off)"
    )


def test_one_pair_is_described_in_the_singular(tmp_path: Path) -> None:
    file = write_columns(tmp_path / "t.tsv", [("a", "b")])
    assert load_part(settings(train=file, dev=file), "dev").describe() == [
        f"dev: 1 sentence pair, 1 source word, 1 target word, {file}"
    ]


def test_training_learns_from_every_reference_and_dev_keeps_them_together(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("a\tx\tz\nb\ty\t\n")
    recipe = settings(train=str(path), dev=str(path), columns=["source", "target", "target"])
    data = load_training_data(recipe)
    assert [(pair.source, pair.target) for pair in data.train] == [("a", "x"), ("a", "z"), ("b", "y")]
    assert [pair.references for pair in data.dev] == [("x", "z"), ("y",)]


def test_a_part_to_be_scored_keeps_empty_lines_unless_the_run_drops_them(tmp_path: Path) -> None:
    source, target = write_aligned(tmp_path, [("", ""), *PAIRS])
    kept = load_part(settings(train=write_columns(tmp_path / "t.tsv"), test=[source, target]), "test")
    assert (len(kept.parts["test"].pairs), kept.warnings) == (len(PAIRS) + 1, ())
    recipe = settings(train=write_columns(tmp_path / "t.tsv"), test=[source, target], empty="drop")
    dropped = load_part(recipe, "test")
    assert len(dropped.parts["test"].pairs) == len(PAIRS)
    assert dropped.warnings == ("test: 1 pair with an empty side left out",)


FORMS = "gehen\tging\tV;PST\nHaus\tHauses\tN;GEN;SG\nBuch\tBuches\tN;GEN;SG\n"


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)], ids=str)
def test_a_column_of_features_is_recognised_wherever_it_stands(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    rows = [line.split("\t") for line in FORMS.splitlines()]
    (tmp_path / "p").write_text("".join("\t".join(row[place] for place in order) + "\n" for row in rows))
    given = settings(train=str(tmp_path / "p"), dev=str(tmp_path / "p"))
    found = load_training_data(given)
    assert found.columns == tuple(("source", "target", "features")[place] for place in order)
    pair = found.train[1]
    assert (pair.source, pair.target, pair.features) == ("Haus", "Hauses", ("N", "GEN", "SG"))
    chosen, reasons = completed(given, found)
    assert chosen.data.columns == list(found.columns or ())
    assert any(f"columns {','.join(found.columns or ())}" in line for line in reasons)


@pytest.mark.parametrize(
    "content",
    [
        "gehen\tging\tgo;\nsehen\tsah\tsee;\n",  # an empty feature
        "Go.\tGeh.\tgo; now\nRun.\tLauf.\trun; now\n",  # notes
        "gehen\tging\tV;PST\nHaus\tHauses\tN;GEN\n",  # no symbol occurs again
        "a;b\ta;b\ta;b\na\tb\ta;b\n",  # more than one column
    ],
    ids=["empty", "notes", "all differ", "two"],
)
def test_other_columns_are_not_taken_for_features(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.tsv").write_text(content)
    with pytest.raises(DataError, match=r"3 columns, expected 2 \(source, target\); name them"):
        load_training_data(settings(train=str(tmp_path / "p.tsv")))


def test_columns_that_are_named_stay(tmp_path: Path) -> None:
    (tmp_path / "p").write_text(FORMS)
    columns = ["source", "target", "-"]
    found = load_training_data(settings(train=str(tmp_path / "p"), columns=columns))
    assert found.columns is None and not found.train[0].features
