"""What a tagger's lexical features add to its scores, and the list of the strongest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqtool import api
from seqtool.errors import SettingsError, UsageError
from seqtool.tagging.batches import encode
from seqtool.tagging.data import load_training_data
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.tracing import strongest_features
from seqtool.tagging.train import prepare
from seqtool.text.columns import TaggedSentence
from seqtool.text.lexical import features_around, own_features
from tests.tagging.tiny_tagger import SENTENCES, double, tables, tiny_data, untrained, write_columns


def scores(model: TaggerModel, tokens: list[str]) -> torch.Tensor:
    """Emission scores of one sentence, [T, K], without the cache of forms."""
    table = model.vocabularies.form_table(model.description.vocabulary)
    sentence = [TaggedSentence(tuple(tokens))]
    batch = encode(sentence, model.vocabularies, table, with_tags=False).batch([0])
    return model.network.scores(batch)[0]


def test_listed_weights_are_what_the_features_add_to_the_score() -> None:
    model = double(untrained(seed=2))
    network, tokens = model.network.eval(), ["Ada", "met", "Hopper", "in", "Paris"]
    assert network.lexical is not None
    number = model.vocabularies.tags.id("O")
    listed = strongest_features(model, "O", 100_000)
    assert len(listed) > 20 and all(each.weight > 0 for each in listed)
    assert [each.weight for each in listed] == sorted((each.weight for each in listed), reverse=True)
    by_place = {(each.position, each.name): each.weight for each in listed}
    with torch.no_grad():
        for table in (network.lexical.own, network.lexical.around):
            assert table is not None
            table.weight.clamp_(min=0.0)  # those below 0 are not listed
        network.lexical.edges.zero_()
        before = scores(model, tokens)[:, number]
        network.lexical.own.weight.zero_()
        network.lexical.around.weight.zero_()  # type: ignore[union-attr]
        without = scores(model, tokens)[:, number]
    for place, added in enumerate((before - without).tolist()):
        expected = sum(by_place.get((0, name), 0.0) for name in own_features(tokens[place]))
        for position in (-2, -1, 1, 2):
            if 0 <= place + position < len(tokens):
                names = features_around(tokens[place + position])
                expected += sum(by_place.get((position, name), 0.0) for name in names)
        assert added == pytest.approx(expected, abs=1e-9)


def test_cached_scores_are_those_computed_afresh() -> None:
    model = double(untrained())
    tokens = [[token for token, _ in rows] for rows in SENTENCES]
    sentences = [TaggedSentence(tuple(each)) for each in tokens]
    for _ in range(2):  # the second time all forms are in the cache
        for part, found, mask in model.score_batches(sentences):
            for row, i in enumerate(part):
                torch.testing.assert_close(
                    found[row, mask[row]], scores(model, tokens[i]), rtol=0, atol=1e-12
                )


def test_features_of_the_training_part_are_saved_with_the_model(tmp_path: Path) -> None:
    model = untrained()
    model.save(tmp_path / "m", card="")
    loaded = TaggerModel.load(tmp_path / "m")
    assert loaded.vocabularies.lexicon is not None and model.vocabularies.lexicon is not None
    assert loaded.vocabularies.lexicon.own.symbols == model.vocabularies.lexicon.own.symbols
    assert loaded.vocabularies.lexicon.around.symbols == model.vocabularies.lexicon.around.symbols
    assert strongest_features(loaded, "O", 3) == strongest_features(model, "O", 3)


def test_a_tagger_without_lexical_features_lists_none() -> None:
    plain = {"lexical": False, "lexical_dropout": 0.3}
    model = untrained(tiny_data(), model=plain)
    assert model.network.lexical is None and "lexical.txt" not in model.files().texts
    with pytest.raises(UsageError, match=r"train one with --set model\.lexical=true"):
        strongest_features(model, "O", 3)


@pytest.mark.parametrize("penalty", ["lexical_l1", "lexical_l2"])
def test_penalties_of_an_epoch_add_up_to_that_of_the_whole_part(tmp_path: Path, penalty: str) -> None:
    recipe = tables(write_columns(tmp_path / "t.conll"))
    recipe["training"] |= {penalty: 0.5}
    jobs = []
    for change in (0.5, 0.0):
        recipe["training"][penalty] = change
        settings = api.resolve_settings("ner", recipe)
        job = prepare(settings, load_training_data(settings))
        lexical = job.model.network.lexical
        assert lexical is not None
        with torch.no_grad():
            lexical.own.weight[1:] = 0.1
        job.model.network.eval()
        jobs.append((sum(job.loss(batch).total.item() for batch in job.batches(0)), lexical))
    (with_penalty, lexical), (without, _) = jobs
    expected = lexical.penalty(**{penalty.removeprefix("lexical_"): 0.5, other(penalty): 0.0})
    assert with_penalty - without == pytest.approx(expected.item(), rel=1e-3)


def other(penalty: str) -> str:
    return "l2" if penalty == "lexical_l1" else "l1"


def test_a_penalty_needs_lexical_features(tmp_path: Path) -> None:
    recipe = tables(write_columns(tmp_path / "t.conll"))
    recipe["model"] = {**recipe.get("model", {}), "lexical": False, "lexical_dropout": 0.3}
    recipe["training"]["lexical_l2"] = 0.1
    with pytest.raises(SettingsError, match=r"lexical_l1 and lexical_l2 need model.lexical = true"):
        api.resolve_settings("ner", recipe)
