"""What a translator learns from raw text first: two language models, with whose weights it begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool import api
from seqtool.errors import InterruptedRunError, SettingsError
from seqtool.translation.batches import EncodedPair, pair_batch, source_batch
from seqtool.translation.pretraining import encoded, prepare_pretraining, sampled
from seqtool.translation.vocabulary import END, EncodedSource
from tests.listeners import Listener, interrupt_after
from tests.translation.tiny_pairs import (
    TEXTS,
    assert_equal_weights,
    sources_of,
    tables,
    tiny_data,
    tiny_settings,
    train_tiny,
    untrained,
    weights_of,
    write_pairs,
)
from tests.translation.tiny_translator import FORMS, tiny

SOURCES = "Ada met Grace .\nGrace left Paris in the engine .\n\n  \nyes yes\n"
TARGETS = "Ada ging in Paris .\nja ja ja .\n"


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    """A recipe with raw text on both sides."""
    (tmp_path / "mono").mkdir()
    (tmp_path / "mono" / "a.txt").write_text(SOURCES)
    (tmp_path / "mono.tgt").write_text(TARGETS)
    raw = {"source_text": [str(tmp_path / "mono")], "target_text": [str(tmp_path / "mono.tgt")]}
    return tables(
        write_pairs(tmp_path), data={"train": write_pairs(tmp_path), "dev": write_pairs(tmp_path), **raw}
    )


@pytest.mark.parametrize("form", [form for form in FORMS if "positions" not in form])
def test_texts_of_the_target_side_are_a_language_model(form: str) -> None:
    network = tiny(**FORMS[form]).eval()
    empty = EncodedSource([END], [-1], ())
    targets = [[4, 5, 6, END], [7, END], [8, 8, 4, END]]
    batch = pair_batch([EncodedPair(empty, target) for target in targets])
    expected = torch.zeros((), dtype=torch.float64)
    for row, target in enumerate(targets):
        alone = pair_batch([EncodedPair(empty, target)])
        for step, symbol in enumerate(target):
            source = network.encode(alone)
            readout = network.read(source, batch.inputs[row : row + 1, : step + 1])
            expected = expected - network.log_probabilities(readout, source)[0, -1, symbol]
    found = network.loss(batch)
    torch.testing.assert_close(found.total, expected, rtol=1e-9, atol=1e-9)
    assert found.count == sum(map(len, targets))


@pytest.mark.parametrize("layers", [1, 2])
def test_the_encoder_never_reads_what_it_predicts(layers: int) -> None:
    """Of the lowest layer, forward states know nothing that follows, backward states nothing before."""
    network = tiny(encoder_layers=layers).eval()
    seen: list[torch.Tensor] = []

    def listen(states: torch.Tensor, *rest: torch.Tensor) -> Any:
        seen.append(states)
        raise InterruptedError

    network.symbol_prediction = listen  # type: ignore[assignment]
    for last in (4, 5):
        batch = source_batch([EncodedSource([6, 7, last, 8, END], [-1] * 5, ())])
        with pytest.raises(InterruptedError):
            network.source_loss(batch)
    (first, second), hidden = seen, network.settings.hidden
    assert torch.equal(first[0, :2, :hidden], second[0, :2, :hidden])
    assert torch.equal(first[0, 3:, hidden:], second[0, 3:, hidden:])
    assert not torch.equal(first[0, 2:, :hidden], second[0, 2:, :hidden])


def test_the_translator_begins_with_what_was_learned(tmp_path: Path, recipe: dict[str, Any]) -> None:
    heard = Listener()
    run = api.train(
        recipe, output=tmp_path / "run", reporter=heard, overrides=["training.learning_rate=1e-30"]
    )
    first = api.load(tmp_path / "run" / "pretraining")
    for name, weight in first.network.state_dict().items():
        torch.testing.assert_close(run.model.network.state_dict()[name], weight, rtol=0, atol=1e-20)
    assert not any("symbol_prediction" in name for name in first.network.state_dict())
    assert "source text: 13 lines, " in "\n".join(heard.messages)  # of the pairs as well
    assert not list((tmp_path / "run" / "pretraining" / "state").glob("*.safetensors"))
    other = train_tiny(tmp_path / "other", training={"learning_rate": 1e-30})
    assert other.model.vocabularies.to_files() == run.model.vocabularies.to_files()
    moved = weights_of(other)["source.weight"] - weights_of(run)["source.weight"]
    assert moved.abs().max() > 0.01


def test_card_and_manifest_name_the_text(tmp_path: Path, recipe: dict[str, Any]) -> None:
    run = api.train(recipe, output=tmp_path / "run").path
    texts = [str(tmp_path / "mono"), str(tmp_path / "mono.tgt")]
    assert json.loads((run / "manifest.json").read_text())["raw_text"] == texts
    assert f"raw text, read first: {', '.join(texts)}" in (run / "model" / "README.md").read_text()
    card = (run / "pretraining" / "model" / "README.md").read_text()
    assert "this is the first stage of a run, and its model is no translator" in card


@pytest.mark.parametrize("side", ["source", "target"])
def test_one_side_alone_leaves_the_other_as_it_was(tmp_path: Path, recipe: dict[str, Any], side: str) -> None:
    del recipe["data"][f"{'target' if side == 'source' else 'source'}_text"]
    recipe["vocabulary"]["shared"] = False
    run = api.train(recipe, output=tmp_path / "run", overrides=["training.learning_rate=1e-30"])
    del recipe["data"][f"{side}_text"]
    fresh = api.train(recipe, output=tmp_path / "fresh", overrides=["training.learning_rate=1e-30"])
    before, after = weights_of(fresh), weights_of(run)
    moved = {name: (after[name] - before[name]).abs() > 1e-6 for name in after}
    changed = {name.split(".")[0] for name, each in moved.items() if each.any()}
    if side == "source":
        assert changed == {"source", "encoder"}
    else:  # of sources, the decoder has seen nothing but their end
        assert {"target", "decoder"} <= changed
        assert moved["source.weight"].any(1).nonzero().flatten().tolist() == [END]


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"copy": True, "encoder_layers": 2},
        {"decoder": "edit", "tied": "all"},
        {"attention": "monotonic", "copy": True},
    ],
    ids=["usual", "copy, two layers", "edits", "monotonic"],
)
@pytest.mark.parametrize("stop", [1, 9])
def test_a_run_resumes_to_the_bit_in_either_job(
    tmp_path: Path, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch, model: dict[str, Any], stop: int
) -> None:
    from seqtool.training.defaults import Pace
    from seqtool.translation import pretraining

    pace = Pace(batches=4, batch_tokens=(32, 64), updates=8, base=100, growth=0.2, epochs=(2, 2), step=1.5)
    monkeypatch.setattr(pretraining, "BY_TEXT", pace)
    recipe["model"] |= {"dropout": 0.2, **model}
    recipe["vocabulary"] = {"kind": "character"} if model.get("decoder") else recipe["vocabulary"]
    whole = api.train(recipe, output=tmp_path / "whole")
    with monkeypatch.context() as patched:
        interrupt_after(stop, patched, tmp_path)
        with pytest.raises(InterruptedRunError):
            api.train(recipe, output=tmp_path / "parts")
    resumed = api.train(tmp_path / "parts" / "recipe.toml", output=tmp_path / "parts", resume=True)
    assert_equal_weights(weights_of(whole), weights_of(resumed))


def test_longer_texts_are_left_out_and_counted(recipe: dict[str, Any]) -> None:
    model = untrained()
    texts = encoded(model, {"source": ["yes", "yes yes yes"], "target": ["ja ja", "ja"]}, 1)
    assert [len(each.ids) for each in texts.sources] == [2] and [
        len(each.target) for each in texts.targets
    ] == [2]
    settings = tiny_settings(data={**recipe["data"], "max_length": 3})
    job = prepare_pretraining(settings, tiny_data())
    (said,) = (fact for fact in job.facts if fact.startswith("source text"))
    short = [
        line for line in [*sources_of(), *SOURCES.split("\n")] if line.strip() and len(line.split()) <= 3
    ]
    assert said.startswith(f"source text: {len(short)} lines, ") and "longer ones left out" in said


def test_batches_hold_every_text_of_both_sides_once(recipe: dict[str, Any]) -> None:
    job = prepare_pretraining(tiny_settings(data=recipe["data"]), tiny_data())
    for epoch in range(2):
        rows = [len(batch.source) for batch in job.batches(epoch)]
        assert sum(rows) == len(TEXTS) * 2 + 3 + 2
    first, second = ([batch.source.tolist() for batch in job.batches(epoch)] for epoch in range(2))
    assert first != second and first == [batch.source.tolist() for batch in job.batches(0)]


def test_a_sample_is_drawn_from_all_texts() -> None:
    texts = [str(number) for number in range(1000)]
    assert sampled(texts, 1, most=2000) == texts
    drawn = sampled(texts, 1, most=200)
    assert len(set(drawn)) == 200 and drawn == sampled(texts, 1, most=200) != sampled(texts, 2, most=200)
    assert 350 < sum(map(int, drawn)) / 200 < 650


def test_raw_text_is_refused_where_it_has_no_effect(tmp_path: Path, recipe: dict[str, Any]) -> None:
    run = train_tiny(tmp_path / "first")
    with pytest.raises(SettingsError, match="--source-text and --target-text are for a new translator"):
        api.train(recipe, output=tmp_path / "more", initial=run.path)
    with pytest.raises(SettingsError, match=r"text_minutes = 3.0 has no effect without data.source_text"):
        train_tiny(tmp_path / "second", training={"text_minutes": 3})
    with pytest.raises(SettingsError, match="all that is written is copied from a source"):
        tiny_settings(data=recipe["data"], model={"output": "positions", "tied": "none"})


def test_an_estimate_counts_both_jobs(tmp_path: Path, recipe: dict[str, Any]) -> None:
    found = api.estimate(api.resolve_settings("translate", recipe))
    assert any("raw text first: " in fact for fact in found.facts)
    assert not (tmp_path / "runs").exists()


def test_a_student_learns_from_text_with_the_vocabulary_of_its_teacher(
    tmp_path: Path, recipe: dict[str, Any]
) -> None:
    teacher = train_tiny(tmp_path / "teacher")
    recipe["training"]["teachers"] = [str(teacher.path)]
    run = api.train(recipe, output=tmp_path / "run")
    assert run.model.vocabularies.to_files() == teacher.model.vocabularies.to_files()
