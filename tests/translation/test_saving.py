"""A model folder gives the same translator bit for bit, or a readable error."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool.errors import ModelError, UsageError
from seqtool.models.folder import load_model_folder, save_model_folder
from seqtool.text.parallel import SentencePair
from seqtool.translation import prediction
from seqtool.translation.assessment import load_evaluation_data
from seqtool.translation.batches import UNKNOWN_RATIO
from seqtool.translation.model import Translator
from seqtool.translation.prediction import TASK, TranslatorModel
from seqtool.translation.search import SearchOptions
from tests.translation.tiny_pairs import COPYING, outputs, pairs_of, random_sources, tiny_data, untrained

FORMS: dict[str, dict[str, Any]] = {
    "copy, coverage": {"model": {"copy": True, "coverage": True}, "vocabulary": COPYING},
    "pieces": {
        "model": {"decoder": "conditional", "cell": "lstm", "encoder_layers": 2, "tied": "all"},
        "vocabulary": {"kind": "sentencepiece", "size": 60},
    },
    "characters": {
        "model": {"decoder": "parallel", "tied": "none", "readout": "maxout", "layer_norm": True},
        "vocabulary": {"kind": "character", "lowercase": True},
    },
    "bytes": {
        "model": {"decoder": "bahdanau", "bridge": "last"},
        "vocabulary": {"kind": "byte", "size": 8000},
    },
    "positions": {"model": {"output": "positions"}},
    "edits": {
        "model": {"decoder": "edit", "features": "encoder", "decoder_layers": 2},
        "vocabulary": {"kind": "character"},
    },
    "monotonic": {"model": {"attention": "monotonic", "copy": True, "tied": "all"}},
    "hard": {"model": {"attention": "hard", "features": "everywhere", "tied": "none"}},
}


def load(path: Path) -> TranslatorModel:
    return TranslatorModel.load(path, device="cpu", precision="fp32")


def assert_same_model(first: TranslatorModel, second: TranslatorModel) -> None:
    assert second.description.to_config() == first.description.to_config()
    assert second.vocabularies.to_files() == first.vocabularies.to_files()
    pairs = random_sources(15)
    for options in (SearchOptions(beam=3, nbest=2, max_length=15), SearchOptions(sample=True, max_length=15)):
        one, other = (model.search(pairs, options) for model in (first, second))
        assert outputs(one) == outputs(other)
        assert [[e.hypothesis.score for e in row] for row in one] == [
            [e.hypothesis.score for e in row] for row in other
        ]


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_model_is_the_same_bit_for_bit_wherever_it_is_moved(tmp_path: Path, form: str) -> None:
    model = untrained(**FORMS[form], decoding={"beam": 2, "length_penalty": 0.3})
    model.save(tmp_path / "model", card="a card")
    assert_same_model(model, load(tmp_path / "model"))
    (tmp_path / "else where").mkdir()
    shutil.move(tmp_path / "model", tmp_path / "else where" / "m")
    assert_same_model(model, load(tmp_path / "else where" / "m"))
    assert model.vocabularies.is_shared == load(tmp_path / "else where" / "m").vocabularies.is_shared


def test_columns_and_features_travel_with_the_model(tmp_path: Path) -> None:
    pairs = [SentencePair("gehen", "ging", ("V", "PST")), SentencePair("gehen", "gehe", ("V", "PRS"))]
    data = {"columns": ["features", "-", "target", "source"], "feature_separator": "|"}
    untrained(tiny_data(pairs), data=data).save(tmp_path / "m", card="")
    loaded = load(tmp_path / "m")
    assert loaded.parse("V|PST\tgehen", 7, "f") == SentencePair("gehen", None, ("V", "PST"), "f", 7)
    assert "<PST>" in loaded.vocabularies.source.symbols


def test_languages_travel_with_the_model_for_its_evaluation(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"translation": {"en": "Ada left", "de": "Ada ging"}}\n')
    data = {"train": str(tmp_path / "t.jsonl"), "dev": None, "languages": ["en", "de"]}
    untrained(data=data).save(tmp_path / "m", card="")
    found = load_evaluation_data(load(tmp_path / "m"), [tmp_path / "t.jsonl"])
    assert [pair.target for pair in found.parts["data"].pairs] == ["Ada ging"]


def test_the_folder_holds_no_path_of_the_training_files(tmp_path: Path) -> None:
    data = {"train": ["/secret/a", "/secret/b"], "dev": ["/secret/a", "/secret/b"]}
    untrained(data=data).save(tmp_path / "m", card="")
    assert not any(b"secret" in path.read_bytes() for path in (tmp_path / "m").iterdir())


@pytest.mark.parametrize("tied", ["none", "output", "all"])
def test_a_pointer_network_of_earlier_days_is_read_without_its_projection(tmp_path: Path, tied: str) -> None:
    """It contained weights that nothing read; if tied, the embedding had the projection's name."""
    model = untrained(model={"output": "positions", "tied": tied}, vocabulary={"shared": True})
    model.save(tmp_path / "m", card="")
    held = load_model_folder(tmp_path / "m", task=TASK)
    sizes = (len(model.vocabularies.target.symbols), model.description.model.embedding)
    unread = {"bias": torch.zeros(sizes[0]), "projection": torch.zeros(sizes)}
    unread |= {f"readout_norm.{name}": torch.ones(sizes[1]) for name in ("weight", "bias")}
    tensors = {**held.tensors, **unread}
    if tied != "none":
        tensors["projection"] = tensors.pop("target.weight")
    save_model_folder(
        tmp_path / "old",
        task=TASK,
        config=held.config,
        tensors=tensors,
        texts=held.texts,
        codecs=held.codecs,
        card="",
    )
    assert_same_model(model, load(tmp_path / "old"))


# --- refusals ---


def reload_changed(
    folder: Path,
    config: Callable[[dict[str, Any]], None] = lambda config: None,
    codecs: Callable[[dict[str, bytes]], None] = lambda codecs: None,
    **sections: Any,
) -> TranslatorModel:
    """Save a model, rewrite its folder with a change (and valid digests), and load it."""
    untrained(**sections).save(folder / "m", card="")
    held = load_model_folder(folder / "m", task=TASK)
    changed, files = dict(held.config), dict(held.codecs)
    config(changed)
    codecs(files)
    save_model_folder(
        folder / "changed",
        task=TASK,
        config=changed,
        tensors=held.tensors,
        texts=held.texts,
        codecs=files,
        card="",
    )
    return load(folder / "changed")


@pytest.mark.parametrize("missing", ["name", "model", "vocabulary", "data", "decoding"])
def test_a_config_that_lacks_something_is_a_model_error(tmp_path: Path, missing: str) -> None:
    with pytest.raises(ModelError, match=f"changed: damaged or foreign: .*{missing}"):
        reload_changed(tmp_path, lambda config: config.pop(missing))


@pytest.mark.parametrize("value", [0, -1.5, "2", None])
def test_a_length_ratio_that_is_no_positive_number_is_a_model_error(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ModelError, match="changed"):
        reload_changed(tmp_path, lambda config: config.update(length_ratio=value))


def test_a_config_without_a_length_ratio_is_of_an_older_model(tmp_path: Path) -> None:
    loaded = reload_changed(tmp_path, lambda config: config.pop("length_ratio"))
    assert loaded.description.length_ratio == UNKNOWN_RATIO


@pytest.mark.parametrize(
    ("table", "change", "reason"),
    [
        ("model", {"cell": "transformer"}, "cell"),
        ("model", {"heads": 0}, "heads"),
        ("vocabulary", {"kind": "runes"}, "kind"),
        ("data", {"columns": ["source"]}, "columns"),
        ("decoding", {"beam": 0}, "beam"),
        ("decoding", {"unheard": 1}, "unheard"),
    ],
    ids=str,
)
def test_a_config_that_makes_no_sense_is_a_model_error(
    tmp_path: Path, table: str, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelError, match=f"damaged or foreign: .*{reason}"):
        reload_changed(tmp_path, lambda config: config.update({table: {**config[table], **change}}))


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": 9},
        {"hidden": 10**9},
        {"embedding": 10**9},
        {"encoder_layers": 10**9},
        {"decoder_layers": 2},
        {"cell": "lstm"},
        {"decoder": "conditional"},
        {"copy": True},
        {"coverage": True},
        {"tied": "none"},
    ],
    ids=str,
)
def test_a_network_that_does_not_fit_the_weights_is_a_model_error(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(ModelError):
        reload_changed(tmp_path, lambda config: config.update(model={**config["model"], **change}))


def test_weights_of_an_older_conditional_decoder_are_refused_with_what_to_do(tmp_path: Path) -> None:
    """Its second transition had an input weight of its own that was never used."""
    untrained(model={"decoder": "conditional"}).save(tmp_path / "new", card="")
    folder = load_model_folder(tmp_path / "new")
    tensors = {**folder.tensors, "decoder.second.kernel.weight_ih_l0": torch.zeros(48, 1)}
    save_model_folder(
        tmp_path / "old",
        task=TASK,
        config=folder.config,
        tensors=tensors,
        texts={},
        codecs=folder.codecs,
        card="",
    )
    with pytest.raises(ModelError, match=r"weight_ih_l0'; .* older seqtool: train the model again"):
        load(tmp_path / "old")


def test_a_network_that_does_not_fit_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []

    def build(*arguments: Any) -> Translator:
        devices.append(torch.get_default_device().type)
        return Translator(*arguments)

    monkeypatch.setattr(prediction, "build_network", build)
    with pytest.raises(ModelError, match="shape"):
        reload_changed(tmp_path, lambda config: config.update(model={**config["model"], "hidden": 9}))
    assert devices == ["meta"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00",
        b"{",
        b"{}",
        b'{"kind": "word", "format": 1}\n',
        b'{"kind": "word", "lowercase": false, "format": 99}\n"a"\n',
        b'{"kind": "word", "lowercase": false, "format": 1}\n"a"\n"a"\n',
        b'{"kind": "byte", "format": 1}\n',
    ],
    ids=str,
)
@pytest.mark.parametrize("vocabulary", [{"kind": "word"}, COPYING], ids=["shared", "separate"])
def test_a_damaged_vocabulary_is_a_model_error(
    tmp_path: Path, content: bytes, vocabulary: dict[str, Any]
) -> None:
    name = "target.vocabulary" if "shared" in vocabulary else "shared.vocabulary"
    with pytest.raises(ModelError, match="changed: "):
        reload_changed(tmp_path, codecs=lambda files: files.update({name: content}), vocabulary=vocabulary)


def test_a_missing_or_longer_vocabulary_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"damaged: 'source\.vocabulary' is missing"):
        reload_changed(tmp_path / "a", codecs=lambda files: files.clear())

    def lengthen(files: dict[str, bytes]) -> None:
        files["shared.vocabulary"] += b'"new"\n'

    with pytest.raises(ModelError, match="shape"):
        reload_changed(tmp_path / "b", codecs=lengthen)


def test_a_changed_byte_of_a_vocabulary_is_noticed(tmp_path: Path) -> None:
    untrained().save(tmp_path / "m", card="")
    path = tmp_path / "m" / "shared.vocabulary"
    path.write_bytes(path.read_bytes().replace(b"traf", b"trag"))
    with pytest.raises(ModelError, match=r"shared\.vocabulary"):
        load(tmp_path / "m")


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    save_model_folder(tmp_path / "m", task="ner", config={}, tensors={}, texts={}, card="")
    with pytest.raises(ModelError, match=r"ner.*translate"):
        load(tmp_path / "m")


def test_no_model_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing"):
        load(tmp_path / "nothing")


def test_half_precision_changes_no_table_of_the_model(tmp_path: Path) -> None:
    model = untrained(**FORMS["copy, coverage"])
    model.save(tmp_path / "m", card="")
    half = TranslatorModel.load(tmp_path / "m", device="cpu", precision="bf16")
    assert half.precision == torch.bfloat16
    assert {parameter.dtype for parameter in half.network.parameters()} == {torch.float32}
    found = half.search(pairs_of(), SearchOptions(beam=3))
    assert all(best.hypothesis.log_probability <= 0 for (best,) in found)
