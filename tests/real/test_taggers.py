"""Taggers on real data: every sentence is read, short runs learn, and no tag depends on the batch.

Needs the folders that the recipes name below $SEQTOOL_DATA, or in `../shared/data` beside the
checkout; `pytest -m real tests/real`, a few minutes on one core.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from seqtool import api
from seqtool.tagging.data import TaggingData, load_part, load_training_data
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.settings import TaggerSettings
from seqtool.text import tag_scheme
from seqtool.text.columns import TaggedSentence
from seqtool.training.job import TrainedRun

pytestmark = pytest.mark.real

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"

# Sentences in train, dev and test, as published with the data; types or tags in the training part.
SETS = {
    "ner-wnut17": ("ner", "wnut17", (3394, 1009, 1287), 6),
    "ner-ncbi": ("ner", "ncbi_disease", (5424, 923, 940), 1),
    "pos-ewt": ("pos", "ud_english_ewt", (12544, 2001, 2077), 17),
}


def data_folder() -> Path:
    return Path(os.environ.get("SEQTOOL_DATA") or BESIDE)


def settings_of(name: str, *overrides: str) -> TaggerSettings:
    """A bundled recipe with the local files."""
    task, folder, *_ = SETS[name]
    root = data_folder()
    if not (root / folder).is_dir():
        pytest.skip(f"no {folder}/ below $SEQTOOL_DATA or {BESIDE}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQTOOL_DATA", str(root))
        return api.resolve_settings(task, name, overrides=("threads=1", "device=cpu", *overrides))


@pytest.mark.parametrize("name", SETS)
def test_every_sentence_is_read(name: str) -> None:
    _, _, (train, dev, test), kinds = SETS[name]
    settings = settings_of(name)
    data = load_training_data(settings)
    parts = (data.train, data.dev, load_part(settings, "test").parts["test"].sentences)
    assert tuple(map(len, parts)) == (train, dev, test)
    assert not data.warnings
    tags = {tag for sentence in data.train for tag in sentence.tags or ()}
    assert len({tag.split("-", 1)[-1] for tag in tags} - {"O"}) == kinds
    for sentence in (s for part in parts for s in part):
        assert sentence.tags is not None and len(sentence.tags) == len(sentence.tokens)
        assert all(sentence.tokens)


def test_a_number_sign_is_a_token_and_a_line_of_a_tab_is_a_break() -> None:
    data = load_training_data(settings_of("ner-wnut17"))
    assert sum(token == "#" for sentence in data.train for token in sentence.tokens) > 0
    assert max(len(sentence.tokens) for sentence in data.train) < 100


def test_ranges_and_empty_nodes_are_no_words() -> None:
    settings = settings_of("pos-ewt")
    data = load_training_data(settings)
    lines = Path(settings.data.train or "").read_text(encoding="utf-8").split("\n")
    words = sum(line.partition("\t")[0].isdecimal() for line in lines)
    others = sum(line[:1].isdecimal() for line in lines) - words
    assert sum(len(sentence.tokens) for sentence in data.train) == words > 200_000
    assert others > 1000
    assert {tag for sentence in data.train for tag in sentence.tags or ()} <= {
        "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN",
        "PUNCT", "SCONJ", "SYM", "VERB", "X",
    }  # fmt: skip


@pytest.fixture(scope="module")
def entities(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun[TaggerModel]:
    """WNUT17, three epochs."""
    short = ("training.epochs=3", "training.learning_rate=5e-3", "training.average_decay=0.98")
    settings = settings_of("ner-wnut17", *short)
    return api.train(settings, output=tmp_path_factory.mktemp("wnut17") / "run")


def test_three_epochs_find_emerging_entities(entities: TrainedRun[TaggerModel]) -> None:
    """A model that tags nothing has an F1 of 0, and a broken one finds next to nothing."""
    assert entities.result.metrics["f1"] > 0.25


def test_three_hundred_updates_learn_parts_of_speech(tmp_path: Path) -> None:
    """The most frequent tag of each word alone reaches about 0.86."""
    settings = settings_of("pos-ewt", "training.max_steps=300", "model.hidden=100", "training.average=none")
    run = api.train(settings, output=tmp_path / "run")
    assert run.result.metrics["accuracy"] > 0.88


def test_confidences_are_probabilities_and_taking_back_keeps_tags_valid(
    entities: TrainedRun[TaggerModel],
) -> None:
    sentences = unseen_sentences()
    everything = entities.model.predict(sentences, confidence=True)
    confident = entities.model.predict(sentences, min_confidence=0.3)
    for before, after in zip(everything, confident, strict=True):
        values = [*(before.span_confidence or []), *(before.token_confidence or [])]
        assert all(0.0 <= value <= 1.0 for value in values)
        assert set(after.spans) <= set(before.spans)
        assert tag_scheme.first_problem(after.tags, "iob2") is None
    kept = sum(len(p.spans) for p in confident)
    assert 0 < kept < sum(len(p.spans) for p in everything)


def unseen_sentences(count: int = 1000) -> list[TaggedSentence]:
    data: TaggingData = load_part(settings_of("ner-wnut17"), "test")
    return list(data.parts["test"].sentences[:count])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_tag_depends_on_the_batch(entities: TrainedRun[TaggerModel], precision: str) -> None:
    model = TaggerModel.load(entities.path, device="cpu", precision=precision)
    sentences = unseen_sentences()
    assert len(sentences) == 1000
    expected = model.tag([s.tokens for s in sentences])
    assert sum(tag != "O" for tags in expected for tag in tags) > 100
    order = random.Random(1).sample(range(1000), 1000)
    for budget in (1, 512, 4096):
        model.forget()
        assert [p.tags for p in model.predict(sentences, batch_tokens=budget)] == expected, budget
        shuffled = model.predict([sentences[i] for i in order], batch_tokens=budget)
        assert [p.tags for p in shuffled] == [expected[i] for i in order], budget
