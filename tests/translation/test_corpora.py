"""Several corpora in one training part: their shares, resuming, and the tags of their sources."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool import api
from seqtool.errors import DataError, SettingsError, UsageError
from seqtool.resolution import resolve_settings
from seqtool.text.parallel import SentencePair
from seqtool.translation.assessment import EvaluationOptions
from seqtool.translation.corpora import Corpus, Tags, drawn_pairs, quotas
from seqtool.translation.data import TranslationData, load_part, load_training_data
from seqtool.translation.defaults import choose
from seqtool.translation.hallucination import Hallucination
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.train import prepare
from tests.translation.tiny_pairs import (
    TEXTS,
    Texts,
    assert_equal_weights,
    last_state,
    outputs,
    sources_of,
    tables,
    tiny_settings,
    train_tiny,
    untrained,
    weights_of,
    write_pairs,
)

sizes = st.lists(st.tuples(st.integers(1, 30), st.floats(0.25, 8)), min_size=1, max_size=4)


def corpora_of(drawn: list[tuple[int, float]]) -> list[Corpus]:
    return [Corpus(str(number), size, weight) for number, (size, weight) in enumerate(drawn)]


def in_parts(folder: Path, **sections: Any) -> dict[str, Any]:
    """A recipe whose training pairs are in two corpora, and all of them its dev part."""
    first, second = (
        write_pairs(folder, texts, name) for name, texts in (("first", TEXTS[:4]), ("second", TEXTS[4:]))
    )
    recipe = tables(first, **sections)
    second_corpus = {"train": second, **sections.get("second", {})}
    recipe.pop("second", None)
    return {
        **recipe,
        "data": {
            "train": first,
            "dev": write_pairs(folder),
            "corpora": [second_corpus],
            **sections.get("data", {}),
        },
    }


# --- how often pairs are drawn ---


@settings(deadline=None, max_examples=100)
@given(sizes)
def test_shares_are_weight_times_size_in_whole_pairs(drawn: list[tuple[int, float]]) -> None:
    found = quotas(corpora_of(drawn))
    total = sum(size for size, _ in drawn)
    shares = numpy.array([size * weight for size, weight in drawn])
    assert sum(found) == total and min(found) >= 0
    assert numpy.abs(numpy.array(found) - total * shares / shares.sum()).max() < 1


@settings(deadline=None, max_examples=50)
@given(sizes, st.integers(0, 5))
def test_no_pair_repeats_before_all_others_of_its_corpus_have_come(
    drawn: list[tuple[int, float]], seed: int
) -> None:
    corpora = corpora_of(drawn)
    counts: Counter[int] = Counter()
    for epoch in range(5):
        found = drawn_pairs(corpora, seed=seed, epoch=epoch)
        assert found == sorted(found) == drawn_pairs(corpora, seed=seed, epoch=epoch)
        first = 0
        for corpus, quota in zip(corpora, quotas(corpora), strict=True):
            own = range(first, first + corpus.size)
            assert sum(number in own for number in found) == quota
            first += corpus.size
        counts.update(found)
        first = 0
        for corpus in corpora:
            often = [counts[number] for number in range(first, first + corpus.size)]
            assert max(often) - min(often) <= 1
            first += corpus.size


def test_what_is_drawn_depends_on_seed_and_epoch() -> None:
    corpora = [Corpus("a", 40), Corpus("b", 30, 3.0)]
    found = [drawn_pairs(corpora, seed=seed, epoch=epoch) for seed in (1, 2) for epoch in (0, 1)]
    assert len({tuple(each) for each in found}) == 4


def test_equal_weights_are_one_file(tmp_path: Path) -> None:
    parts = [Corpus("a", 4, 2.5), Corpus("b", 6, 2.5)]
    assert drawn_pairs(parts, seed=1, epoch=3) == list(range(10))
    (tmp_path / "whole").mkdir()
    model = {"dropout": 0.3, "copy": True}
    whole = api.train(tables(write_pairs(tmp_path / "whole"), model=model), output=tmp_path / "a")
    both = api.train(in_parts(tmp_path, model=model), output=tmp_path / "b")
    assert_equal_weights(weights_of(whole), weights_of(both))


def test_batches_hold_the_pairs_that_are_drawn(tmp_path: Path) -> None:
    recipe = in_parts(tmp_path, second={"weight": 0.25})
    found = resolve_settings("translate", recipe)
    job = prepare(found, load_training_data(found))
    first = set(sources_of(TEXTS[:4]))
    known = {target: source for source, target in TEXTS}
    for epoch in range(2):
        pairs = [pair for batch in job.batches(epoch) for pair in batch.pairs]
        # 10 pairs, of which 4 x 1 / (4 x 1 + 6 x 0.25) are of the first corpus
        assert len(pairs) == 10 and sum(known[pair.text] in first for pair in pairs) == 7
        assert sorted(pair.number for pair in pairs) == list(range(10))


def test_weighted_runs_resume_to_the_bit(tmp_path: Path) -> None:
    training = {"schedule": "constant", "checkpoint_every": 1}
    recipe = in_parts(tmp_path, second={"weight": 3.0}, training=training)
    whole = api.train(recipe, output=tmp_path / "whole" / "run")
    api.train(recipe, output=tmp_path / "parts" / "run", overrides=["training.max_steps=5"])
    parts = api.train(recipe, output=tmp_path / "parts" / "run", resume=True)
    assert_equal_weights(weights_of(whole), weights_of(parts))
    assert_equal_weights(last_state(tmp_path / "whole"), last_state(tmp_path / "parts"))
    other = in_parts(tmp_path, second={"weight": 2.0}, training=training)
    with pytest.raises(UsageError, match=r"data\.corpora"):
        api.train(other, output=tmp_path / "parts" / "run", resume=True)


def test_a_corpus_that_would_never_be_drawn_is_refused(tmp_path: Path) -> None:
    found = resolve_settings("translate", in_parts(tmp_path, second={"weight": 1e-4}))
    with pytest.raises(
        SettingsError, match=r"with weight 0\.0001 no pair of .*second\.src and .* would be drawn"
    ):
        prepare(found, load_training_data(found))


# --- data ---


def test_corpora_are_described_and_counted(tmp_path: Path) -> None:
    recipe = in_parts(tmp_path, second={"weight": 2.0, "tag": "b"})
    found = resolve_settings("translate", recipe)
    data = load_training_data(found)
    assert (len(data.train), len(data.dev)) == (10, 10)
    lines = data.describe()[2:]
    assert [line.partition(": ")[2] for line in lines] == [
        "4 of 10 pairs, weight 1, 30.0% of an epoch, no tag",
        "6 of 10 pairs, weight 2, 70.0% of an epoch, tag b",
    ]
    assert "10 pairs of sentences" in " ".join(choose(found, data).reasons({"vocabulary.size": 256}))
    assert prepare(found, data).data.describe() == data.describe()


def test_without_train_and_dev_each_corpus_gives_its_tenth(tmp_path: Path) -> None:
    corpora = [
        {"train": write_pairs(tmp_path, TEXTS, name), "tag": name, "weight": weight}
        for name, weight in (("a", 1.0), ("b", 2.0))
    ]
    found = tiny_settings(data={"corpora": corpora, "train": None, "dev": None})
    data = load_training_data(found)
    assert [pair.features for pair in data.dev] == [("a",), ("b",)]
    assert {pair.source for pair in data.dev} == {TEXTS[-1][0]} and len(data.train) == 18
    assert data.tags == Tags(("a", "b"), needed=True)
    assert load_part(found, "dev").parts["dev"].pairs == data.dev
    assert any("the last pairs of each corpus, 2 in all, are held out" in line for line in data.warnings)


def test_paths_of_corpora_start_from_the_recipe_and_must_exist(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    text = (
        'task = "translate"\nname = "a"\n[data]\ntrain = ["train.src", "train.tgt"]\n'
        '[[data.corpora]]\ntrain = ["train.src", "train.tgt"]\n[[data.corpora]]\ntrain = "none.tsv"\n'
    )
    (tmp_path / "recipe.toml").write_text(text)
    found = resolve_settings("translate", tmp_path / "recipe.toml")
    assert found.data.corpora[0].train == [str(tmp_path / name) for name in ("train.src", "train.tgt")]
    with pytest.raises(UsageError, match=r"none\.tsv: no such file"):
        api.estimate(found)
    alone = resolve_settings("translate", tmp_path / "recipe.toml", files={"train": "x.tsv"})
    assert alone.data.corpora == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"corpora": [{"train": "b.tsv", "wieght": 2.0}]}, r"data\.corpora\.0\.wieght: unknown key; did"),
        ({"corpora": [{"train": "b.tsv", "weight": 0.0}]}, r"data\.corpora\.0\.weight: expected more than 0"),
        ({"train": None, "corpora": [{"train": "b.tsv", "weight": 2.0}]}, "weight of a single corpus has no"),
        ({"tag": "de;V"}, "tag: 'de;V' stands for something else"),
        ({"tag": "unk"}, "tag: 'unk' stands for something else"),
        ({"tag": "<de>"}, r"data\.tag: expected text that matches"),
        (
            {"train": None, "tag": "fr", "corpora": [{"train": "b.tsv", "tag": "de"}]},
            r"'fr' is no tag of .*\(de\)",
        ),
        ({"languages": ["a", "b"], "corpora": [{"train": "b.tsv"}]}, "languages has an effect on JSONL"),
    ],
)
def test_settings_that_make_no_sense_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        tiny_settings(data={"train": "a.tsv", "dev": None, **data})


# --- tags ---


def tagged(folder: Path, **sections: Any) -> TranslationData:
    recipe = in_parts(folder, second={"tag": "b"}, data={"tag": "a"}, **sections)
    return load_training_data(resolve_settings("translate", recipe))


def test_a_tag_is_a_feature_before_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("gehen\tging\tV;PST\nHaus\tHäuser\tN;PL\n" * 3)
    corpus = {"train": str(tmp_path / "a.tsv"), "tag": "de"}
    data = load_training_data(
        tiny_settings(data={"train": None, "dev": corpus["train"], "corpora": [corpus], "tag": "de"})
    )
    assert data.columns == ("source", "target", "features")
    assert [pair.features for pair in data.train] == [("de", "V", "PST"), ("de", "N", "PL")] * 3
    assert data.dev == data.train


def test_tags_reach_the_encoder_as_features_do(tmp_path: Path) -> None:
    data = tagged(tmp_path)
    model = untrained(data)
    model.description = model.description.model_copy(update={"tags": ["a", "b"], "tag_needed": True})
    line = SentencePair("the engine", features=("b",))
    assert model.encoded_source(model.parse("the engine", tag="b")) == model.encoded_source(line)
    assert model.encoded_source(model.parse("the engine\tb")) == model.encoded_source(line)
    assert model.vocabularies.source_symbols(line)[0] == "<b>"
    columns = tmp_path / "columns.tsv"
    columns.write_text("".join(f"{p.source}\t{p.target}\t{p.features[0]}\n" for p in data.train))
    same = load_training_data(tiny_settings(str(columns), data={"columns": ["source", "target", "features"]}))
    assert [pair.features for pair in same.train] == [pair.features for pair in data.train]
    assert untrained(same).vocabularies.to_files() == model.vocabularies.to_files()


def test_a_model_knows_its_tags_and_refuses_others(tmp_path: Path) -> None:
    recipe = in_parts(tmp_path, second={"tag": "b"}, data={"tag": "a"})
    run = api.train(recipe, output=tmp_path / "run")
    model = api.load_translator(tmp_path / "run")
    assert model.tags == run.model.tags == Tags(("a", "b"), needed=True)
    assert "--tag a < sentences.txt  # each line" not in model.usage and "--tag a" in model.usage
    lines = sources_of()
    assert model.translate(lines, tag="b") == model.translate([f"{line}\tb" for line in lines])
    assert model.translate([""], tag=None) == [""]
    with pytest.raises(UsageError, match=r"--tag c: this model has the tags a, b"):
        model.translate(lines, tag="c")
    for line in ("yes", "yes\tc"):
        with pytest.raises(
            DataError, match=r"line:1: no tag, and this model needs one \(a, b\); .*SOURCE TAB"
        ):
            model.translate([line])
    test = write_pairs(tmp_path, TEXTS, "test")
    with pytest.raises(DataError, match=r"test\.src:1: no tag"):
        api.evaluate(tmp_path / "run", test, bootstrap=0)
    found = api.evaluate(tmp_path / "run", test, options=EvaluationOptions(tag="a"), bootstrap=0)
    own = api.evaluate(tmp_path / "run", part="dev", bootstrap=0)
    assert {name: score.value for name, score in found.scores.items()} == {
        name: score.value for name, score in own.scores.items()
    }
    with pytest.raises(UsageError, match="--tag is for files of pairs"):
        api.evaluate(tmp_path / "run", part="dev", options=EvaluationOptions(tag="a"))


def test_where_some_pairs_have_no_tag_none_is_needed(tmp_path: Path) -> None:
    recipe = in_parts(tmp_path, second={"tag": "back"})
    model = api.train(recipe, output=tmp_path / "run").model
    assert isinstance(model, TranslatorModel) and model.tags == Tags(("back",), needed=False)
    assert model.parse("yes").features == () and model.parse("yes", tag="back").features == ("back",)
    plain = train_tiny(tmp_path / "plain").model
    with pytest.raises(UsageError, match="--tag back: this model has no tags; leave it out"):
        plain.translate(["yes"], tag="back")
    # Compared on the same pairs, the one without tags does not read them.
    test = write_pairs(tmp_path, TEXTS, "test")
    options = EvaluationOptions(tag="back")
    found = api.evaluate(
        tmp_path / "run", test, against=tmp_path / "plain" / "run", options=options, bootstrap=0
    )
    alone = api.evaluate(tmp_path / "plain" / "run", test, bootstrap=0)
    assert found.rival is not None and alone.scores["chrf"].value == found.rival.scores["chrf"].value


def test_outputs_with_tags_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    data = tagged(tmp_path)
    model = untrained(data)
    pairs = [pair for pair in data.train if pair.features]
    alone = [found for pair in pairs for found in model.search([pair])]
    for budget in (20, 8192):
        assert outputs(model.search(pairs, batch_tokens=budget)) == outputs(alone)


def test_pairs_with_another_tag_or_without_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("gehen\tging\tes;V\nHaus\tHäuser\tN;PL\n" * 3)
    file = str(tmp_path / "a.tsv")
    corpora = [{"train": file, "tag": "de"}, {"train": file, "tag": "es"}]
    with pytest.raises(DataError, match=r"a\.tsv:1: its features begin with the tag 'es', and the tag 'de'"):
        load_training_data(tiny_settings(data={"train": None, "dev": file, "corpora": corpora}))
    recipe = in_parts(tmp_path, data={"train": None, "dev": write_pairs(tmp_path)}, second={"tag": "b"})
    with pytest.raises(DataError, match=r"train\.src:1: no tag, .*set data\.tag to that of dev"):
        load_training_data(resolve_settings("translate", recipe))


def test_a_model_that_is_trained_further_keeps_its_tags(tmp_path: Path) -> None:
    first = in_parts(tmp_path, second={"tag": "b"}, data={"tag": "a"})
    api.train(first, output=tmp_path / "run")
    files = write_pairs(tmp_path)

    def further(name: str, **data: Any) -> Any:
        recipe = {**tables(files), "data": {"train": files, "dev": files, **data}}
        return api.train(recipe, output=tmp_path / name, initial=tmp_path / "run")

    assert further("again", tag="b").model.tags == Tags(("a", "b"), needed=True)
    with pytest.raises(SettingsError, match=r"needs a tag before each source; name one of a, b"):
        further("untagged")
    with pytest.raises(SettingsError, match=r"tag 'c': the vocabulary has no <c>.*own tags \(a, b\)"):
        further("other", tag="c")


def test_made_up_pairs_have_letters_of_their_own_tag_and_come_as_often_as_their_corpora() -> None:
    forms: list[Texts] = [("kaufen", "kauft"), ("comprar", "comprado")]
    pairs = [
        SentencePair(source, target, (tag,))
        for tag, (source, target) in zip(("de", "es"), forms, strict=True)
    ]
    made = Hallucination(pairs, tags=Tags(("de", "es")), rates=[0.2, 1.8]).pairs(
        500, numpy.random.default_rng(1)
    )
    german = [pair for pair in made if pair.features == ("de",)]
    assert 20 < len(german) < 80
    assert {letter for pair in german for letter in pair.source[:4]} <= set("kauf")
    assert {letter for pair in made if pair not in german for letter in pair.source[:6]} == set("compra")


def test_batches_make_up_pairs_by_tag_and_weight(tmp_path: Path) -> None:
    corpora = [
        {"train": write_pairs(tmp_path, [texts] * 8, tag), "tag": tag, "weight": weight}
        for tag, texts, weight in (("de", ("kaufen", "kauft"), 1.0), ("es", ("comprar", "comprado"), 9.0))
    ]
    found = tiny_settings(
        data={"train": None, "dev": None, "corpora": corpora},
        vocabulary={"kind": "character"},
        training={"hallucinate": 20.0},
    )
    job = prepare(found, load_training_data(found))
    besides = [batch.beside for epoch in range(3) for batch in job.batches(epoch)]
    made = [pair.text for beside in besides if beside is not None for pair in beside.pairs]
    german = [text for text in made if text.endswith("t")]
    assert 0.05 < len(german) / len(made) < 0.15
    assert set("".join(text[:4] for text in german)) <= set("kauf")
    assert set("".join(text[:6] for text in made if text.endswith("do"))) == set("compra")
