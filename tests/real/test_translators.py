"""Translators on real data: every pair is read, a short run learns, no output depends on the batch.

Needs the folders that the recipes name below $SEQTOOL_DATA, or in `../shared/data` beside the
checkout; `pytest -m real tests/real`, a few minutes on one core.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from seqtool import api
from seqtool.evaluation.text_scores import bleu
from seqtool.nn.pointer import NOT_COPYABLE
from seqtool.text.parallel import SentencePair
from seqtool.training.job import TrainedRun
from seqtool.translation.data import TranslationData, load_part, load_training_data
from seqtool.translation.ensemble import TranslatorEnsemble
from seqtool.translation.prediction import Translation, TranslatorModel
from seqtool.translation.search import SearchOptions
from seqtool.translation.settings import TranslatorSettings
from seqtool.translation.train import TrainingBatches
from seqtool.translation.vocabulary import UNKNOWN, Vocabularies
from seqtool.translation.vocabulary_settings import VocabularySettings
from tests.translation.tiny_pairs import CPU, outputs

pytestmark = pytest.mark.real

Kind = Literal["word", "sentencepiece", "character"]
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"

# Recipe, folder, and pairs of train, dev and test as published with the data; where a language has
# training parts of several sizes, the file that is put in the place of the recipe's.
SETS: dict[str, tuple[str, str, tuple[int, int, int], str]] = {
    "multi30k": ("translate-multi30k-en-de", "multi30k", (29_000, 1014, 1000), ""),
    "tatoeba": ("translate-tatoeba-en-fr", "tatoeba_fra_eng", (136_946, 2853, 2853), ""),
    "german": ("inflect-german", "sigmorphon2018", (10_000, 1000, 1000), ""),
    "german, medium": ("inflect-german", "sigmorphon2018", (1000, 1000, 1000), "german-train-medium"),
    "german, low": ("inflect-german", "sigmorphon2018", (100, 1000, 1000), "german-train-low"),
    "spanish": ("inflect-spanish", "sigmorphon2018", (10_000, 1000, 1000), ""),
    "spanish, medium": ("inflect-spanish", "sigmorphon2018", (1000, 1000, 1000), "spanish-train-medium"),
    "spanish, low": ("inflect-spanish", "sigmorphon2018", (100, 1000, 1000), "spanish-train-low"),
}


def data_folder() -> Path:
    return Path(os.environ.get("SEQTOOL_DATA") or BESIDE)


def settings_of(name: str, *overrides: str) -> TranslatorSettings:
    """A bundled recipe with the local files."""
    recipe, folder, _, train = SETS[name]
    root = data_folder()
    if not (root / folder).is_dir():
        pytest.skip(f"no {folder}/ below $SEQTOOL_DATA or {BESIDE}")
    changed = ["threads=1", "device=cpu", *([f"data.local.train={train}"] if train else []), *overrides]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQTOOL_DATA", str(root))
        settings = api.resolve_settings("translate", recipe, overrides=changed)
    assert isinstance(settings, TranslatorSettings)
    return settings


# --- reading ---


def lines_of(path: str) -> list[str]:
    """The lines of a file, read with Python alone."""
    return Path(path).read_bytes().decode("utf-8").removesuffix("\n").split("\n")


def lines_again(pairs: Sequence[SentencePair], files: str | list[str]) -> list[list[str]]:
    """The content that files must have for these pairs to have been read from them."""
    if isinstance(files, str):
        return [[f"{pair.source}\t{pair.target}\t{';'.join(pair.features)}" for pair in pairs]]
    return [[pair.source for pair in pairs], [str(pair.target) for pair in pairs]]


@pytest.mark.parametrize("name", SETS)
def test_every_pair_is_read_as_it_stands(name: str) -> None:
    """No pair is dropped or changed, and none is too long for training."""
    settings = settings_of(name)
    data, test = load_training_data(settings), load_part(settings, "test")
    parts = {**data.parts, **test.parts}
    assert tuple(part.size for part in parts.values()) == SETS[name][2]
    for part, pairs in ((part, parts[part].pairs) for part in ("train", "dev", "test")):
        files = getattr(settings.data, part)
        written = [lines_of(file) for file in ([files] if isinstance(files, str) else files)]
        assert lines_again(pairs, files) == written
        assert [pair.line for pair in pairs] == [*range(1, len(pairs) + 1)]
    vocabularies = Vocabularies.build(data.train, settings.vocabulary)
    batches = TrainingBatches(vocabularies, data, settings, CPU)
    assert (*data.warnings, *test.warnings, *batches.warnings) == ()
    assert sum(len(batch.source) for batch in batches(0)) == len(data.train)


@pytest.mark.parametrize("kind", ["word", "sentencepiece", "character"])
def test_a_source_that_is_copied_whole_is_that_source(
    kind: Literal["word", "sentencepiece", "character"],
) -> None:
    """English in symbols of German, and in symbols that German lacks."""
    settings = settings_of("multi30k")
    size = 0 if kind == "character" else 2000
    data = load_training_data(settings)
    both = Vocabularies.build(data.train, VocabularySettings(kind=kind, size=size, shared=False))
    lacking = 0
    for pair in data.dev:
        encoded = both.encode_source(pair)
        copied = encoded.symbols[:-1]
        assert NOT_COPYABLE not in copied and encoded.symbols[-1] == NOT_COPYABLE
        assert both.text(copied, encoded.extra) == pair.source
        lacking += len(encoded.extra)
    assert kind == "character" or lacking > len(data.dev)


@pytest.mark.parametrize("name", ["multi30k", "german", "spanish"])
def test_every_target_comes_back_from_its_symbols(name: str) -> None:
    settings = settings_of(name)
    data = load_training_data(settings)
    vocabularies = Vocabularies.build(data.train, settings.vocabulary)
    for pair in data.train:
        ids = vocabularies.encode_target(pair.target or "", ())
        assert UNKNOWN not in ids
        assert vocabularies.text(ids[:-1], ()) == pair.target


# --- a short run ---

# One epoch. With words as symbols and one vocabulary per side, nearly every sentence has words that
# the other side lacks, which is what copying is for.
SHORT = (
    "vocabulary.kind=word", "vocabulary.model_type=unigram", "vocabulary.size=4000",
    "vocabulary.shared=false", "model.tied=output", "model.hidden=128", "model.embedding=128",
    "model.copy=true", "model.coverage=true", "model.dropout=0.1", "training.epochs=1",
    "training.learning_rate=5e-3", "training.average_decay=0.95",
)  # fmt: skip


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun[TranslatorModel]:
    """Multi30k, one epoch."""
    run = api.train(settings_of("multi30k", *SHORT), output=tmp_path_factory.mktemp("multi30k") / "run")
    assert isinstance(run.model, TranslatorModel)
    return run


def copying(
    run: TrainedRun[TranslatorModel], precision: torch.dtype = torch.float32, noise: float = 0.0
) -> TranslatorModel:
    """The model of a run, changed so that it copies more than it has learned to in so short a time.

    It never writes the unknown word, and its gate prefers the source.

    Args:
        run: The run, which is not changed.
        precision: Precision of the searches.
        noise: Added to each weight at random, in standard deviations of its parameter.
    """
    model = TranslatorModel.load(run.path, device="cpu", precision="fp32")
    source = torch.Generator().manual_seed(2)
    assert model.network.gate is not None
    with torch.no_grad():
        for weights in model.network.parameters():
            if noise and weights.numel() > 1:
                weights.add_(noise * weights.std() * torch.randn(weights.shape, generator=source))
        model.network.bias[UNKNOWN].sub_(30.0)
        model.network.gate.bias.sub_(3.0)
    return TranslatorModel(
        model.network, model.vocabularies, model.description, device=CPU, precision=precision
    )


@pytest.fixture(scope="module")
def translator(captions: TrainedRun[TranslatorModel]) -> TranslatorModel:
    return copying(captions)


@pytest.fixture(scope="module")
def unseen() -> list[SentencePair]:
    """All pairs of the test part."""
    data: TranslationData = load_part(settings_of("multi30k"), "test")
    return list(data.parts["test"].pairs)


def texts_of(found: Sequence[Sequence[Translation]]) -> list[str]:
    return [best.text for best, *_ in found]


def test_one_epoch_learns_to_translate(
    captions: TrainedRun[TranslatorModel], unseen: list[SentencePair]
) -> None:
    """A model that does not read its source has the same score with shuffled references."""
    found = captions.model.search(unseen, SearchOptions(beam=5))
    texts, references = texts_of(found), [str(pair.target) for pair in unseen]
    score = bleu(texts, references).value
    others = bleu(texts, [*references[1:], references[0]]).value
    assert score > 4.0
    assert score > 1.5 * others
    assert len(set(texts)) > 800
    assert all(texts)


def test_words_are_copied_byte_for_byte(translator: TranslatorModel, unseen: list[SentencePair]) -> None:
    known = translator.vocabularies.target.symbols
    copied = 0
    for pair, (best,) in zip(unseen, translator.search(unseen, SearchOptions(beam=5)), strict=True):
        words = best.text.split(" ")
        for word, symbol in zip(words, best.hypothesis.tokens, strict=True):
            if symbol >= len(known):
                assert word in pair.source.split(" ") and word not in known
                copied += 1
            else:
                assert word == known[symbol]
    assert copied > 500


def test_no_two_words_are_written_twice_where_that_is_forbidden(
    translator: TranslatorModel, unseen: list[SentencePair]
) -> None:
    repeating = []
    for forbidden in (0, 2):
        found = translator.search(unseen[:200], SearchOptions(beam=5, no_repeat_ngram=forbidden))
        twos = [[*pairwise(text.split(" "))] for text in texts_of(found)]
        repeating.append(sum(len(set(each)) < len(each) for each in twos))
    assert repeating[0] > 0 == repeating[1]


# --- independence of the batch ---

Search = Callable[[Sequence[SentencePair], int], list[list[Translation]]]  # sources and batch tokens
MODES: dict[str, tuple[SearchOptions, int]] = {  # and how many sentences are also translated alone
    "beam, coverage penalty": (SearchOptions(beam=5, coverage_penalty=0.2), 1000),
    "n-gram blocking": (SearchOptions(beam=5, no_repeat_ngram=2), 200),
    "greedy": (SearchOptions(beam=1), 200),
    "samples": (SearchOptions(sample=True, nbest=2, top_p=0.9, seed=3), 200),
}


def assert_no_output_depends_on_the_batch(
    search: Search, pairs: list[SentencePair], alone: int = 200
) -> list[list[tuple[str, list[int]]]]:
    """Texts and ids are equal in large and small batches, in any order, and alone (for the first `alone`)."""
    assert len(pairs) == 1000
    expected = outputs(search(pairs, 4096))
    assert len({row[0][0] for row in expected}) > 500
    assert sum(bool(row[0][0]) for row in expected) > 900
    assert outputs(search(pairs[:alone], 1)) == expected[:alone]
    order = random.Random(1).sample(range(len(pairs)), len(pairs))
    for budget in (600, 4096):
        shuffled = outputs(search([pairs[i] for i in order], budget))
        assert shuffled == [expected[i] for i in order], budget
    return expected


def search_of(model: TranslatorModel, options: SearchOptions, **others: Any) -> Search:
    return lambda pairs, budget: model.search(pairs, options, batch_tokens=budget, **others)


@pytest.mark.parametrize("mode", MODES)
def test_no_output_depends_on_the_batch(
    translator: TranslatorModel, unseen: list[SentencePair], mode: str
) -> None:
    options, alone = MODES[mode]
    assert_no_output_depends_on_the_batch(search_of(translator, options), unseen, alone)


def test_no_output_of_an_ensemble_depends_on_the_batch(
    captions: TrainedRun[TranslatorModel], translator: TranslatorModel, unseen: list[SentencePair]
) -> None:
    options, other = SearchOptions(beam=4), copying(captions, noise=0.2)
    both = search_of(TranslatorEnsemble([translator, other]), options)
    found = assert_no_output_depends_on_the_batch(both, unseen, alone=100)
    for member in (translator, other):
        assert found[:50] != outputs(member.search(unseen[:50], options))


def test_no_output_of_a_model_in_int8_depends_on_the_batch(
    captions: TrainedRun[TranslatorModel], translator: TranslatorModel, unseen: list[SentencePair]
) -> None:
    options = SearchOptions(beam=5, coverage_penalty=0.2)
    small = copying(captions, precision=torch.int8)
    found = assert_no_output_depends_on_the_batch(search_of(small, options), unseen)
    exact = outputs(translator.search(unseen[:200], options))
    same = sum(one == other for one, other in zip(found, exact, strict=False))
    assert 100 < same < 200  # rounding errors change a few outputs
