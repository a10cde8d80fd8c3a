"""What is said of a tagger's data before it is trained, and what its tags mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seqtool.errors import DataError, SettingsError
from seqtool.tagging.data import load_training_data, tag_inventory
from seqtool.tagging.remarks import wilson_interval
from seqtool.tagging.scores import accuracy, report
from seqtool.tagging.train import prepare
from tests.tagging.tiny_tagger import load_data, tiny_settings, write_columns

PEOPLE = [[("Ada", "B-PER"), ("met", "O")], [("Bob", "B-PER"), ("sat", "O")]]


def messages(path: Path, task: str = "ner", **sections: Any) -> tuple[str, ...]:
    settings = tiny_settings(path, task, **sections)
    return prepare(settings, load_training_data(settings)).messages()


def test_a_tiny_development_part_is_warned_of_with_its_interval(tmp_path: Path) -> None:
    said = messages(write_columns(tmp_path / "t.conll", PEOPLE * 6))
    assert (
        "dev has only 12 entities: an F1 of 0.80 on it means 0.52 to 0.94 (95 % interval); "
        "give a larger one with --dev FILE" in said
    )
    large = messages(write_columns(tmp_path / "l.conll", PEOPLE * 100))
    assert not any("dev has only" in line for line in large)
    said = messages(write_columns(tmp_path / "p.conll", [[("a", "X")], [("b", "Y")]]), "pos")
    assert any(line.startswith("dev has only 2 tokens: an accuracy of 0.90 on it means") for line in said)


def test_the_interval_is_wilsons() -> None:
    low, high = wilson_interval(0.8, 100)
    for edge in (low, high):  # the edges are where a test at 5 % just rejects
        assert abs(0.8 - edge) == pytest.approx(1.96 * (edge * (1 - edge) / 100) ** 0.5)


def test_a_training_part_without_an_entity_is_warned_of(tmp_path: Path) -> None:
    path = write_columns(tmp_path / "t.conll", [[("Ada", "O"), ("met", "O")]] * 4)
    assert (
        f"{path}: the training part has no entity, so the model will find none; check --tag-column"
        in messages(path)
    )
    assert not any("no entity" in line for line in messages(write_columns(tmp_path / "u.conll", PEOPLE)))


def test_how_many_words_have_a_pretrained_vector_is_said(tmp_path: Path) -> None:
    path = write_columns(tmp_path / "t.conll", PEOPLE)
    (tmp_path / "v.txt").write_text("ada 1 2\nmet 3 4\nchat 5 6\n")
    vocabulary, model = {"pretrained": str(tmp_path / "v.txt")}, {"word_embedding": 2}
    assert "2 of 4 words have a pretrained vector" in messages(path, vocabulary=vocabulary, model=model)
    (tmp_path / "v.txt").write_text("chat 1 2\n")
    said = messages(path, vocabulary=vocabulary, model=model)
    assert "0 of 4 words have a pretrained vector; is it the file of another language?" in said


def test_an_unseen_tag_is_named_as_the_file_writes_it(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "t.conll", PEOPLE)
    dev = write_columns(tmp_path / "d.conll", [[("Ada", "B-PER"), ("sells", "O"), ("Fizz", "B-PROD")]])
    said = messages(train, data={"dev": str(dev)})
    assert "dev has tags that do not occur in training; each counts as an error: B-PROD (1)" in said


# Tags with | and ?

DUTCH = [[("De", "LID|bep|stan"), ("man", "N|soort|ev"), ("?", "?")]] * 3


def test_in_parts_of_speech_bars_and_question_marks_are_part_of_the_tag(tmp_path: Path) -> None:
    path = write_columns(tmp_path / "t.conll", DUTCH)
    settings = tiny_settings(path, "pos")
    job = prepare(settings, load_training_data(settings))
    assert job.model.vocabularies.tags.symbols == ("?", "LID|bep|stan", "N|soort|ev")
    batch = next(iter(job.batches(0)))
    assert batch.tags is not None
    assert batch.possible is None
    assert (batch.tags[batch.mask] >= 0).all()


def test_partial_annotation_of_parts_of_speech_is_a_setting(tmp_path: Path) -> None:
    path = write_columns(tmp_path / "t.conll", [[("a", "N|V"), ("b", "?"), ("c", "N")]])
    data = load_data(path, "pos", data={"partial": True})
    assert data.partial and tag_inventory(data.train, None) == ["N", "V"]
    assert not load_data(path, "pos").partial


def test_partial_annotation_of_entities_can_be_refused(tmp_path: Path) -> None:
    path = write_columns(tmp_path / "t.conll", [[("a", "B-X"), ("b", "?")]])
    assert load_data(path).train[0].tags == ("B-X|S-X", "?")
    with pytest.raises(
        DataError, match=r"t\.conll:2: '\?' is partial annotation, which data.partial = false rules out"
    ):
        load_data(path, data={"partial": False})


def test_accuracy_counts_every_token_where_no_tag_is_partial() -> None:
    gold, predicted = [["N|soort", "?", "V"]], [["N|soort", "?", "N"]]
    assert accuracy(gold, predicted, partial_gold=False).value == pytest.approx(2 / 3)
    assert accuracy(gold, predicted).value == 0.0
    whole = report(gold, predicted, None, confidences=[[0.9, 0.8, 0.7]], partial_gold=False)
    assert (whole.tokens_left_out, whole.calibration.count if whole.calibration else 0) == (0, 3)
    assert report(gold, predicted, None).tokens_left_out == 2


# Files


def test_how_many_tokens_of_dev_an_accuracy_counts_is_said_before_training(tmp_path: Path) -> None:
    rows = [[("Ada", "NOUN|PROPN"), ("met", "VERB"), ("x", "?")]] * 4
    path = write_columns(tmp_path / "p.conll", [*rows, [("Ada", "NOUN"), ("met", "VERB"), ("x", "PROPN")]])
    files: dict[str, Any] = {"train": str(path), "dev": str(path)}
    said = [line for line in messages(path, "pos", data={**files, "partial": True}) if "counts" in line]
    assert said == ["dev: accuracy counts 7 of 15 tokens; the others have a partial annotation (? or A|B)"]
    assert not any("accuracy counts" in line for line in messages(path, "pos", data=files))


def test_a_handful_of_invalid_tags_trains_and_is_said_unless_strict(tmp_path: Path) -> None:
    path = write_columns(tmp_path / "t.conll", [[("a", "B-X"), ("b", "I-X")], [("c", "O"), ("d", "I-X")]] * 5)
    said = messages(path)
    assert any(line.startswith("10 tags are invalid in iob2 and read as conlleval") for line in said)
    assert any(
        f"the first: {path}:5: I-X after O is not valid in iob2; --strict refuses" in line for line in said
    )
    with pytest.raises(DataError, match="the first invalid tag in "):
        messages(path, data={"strict": True})
    with pytest.raises(SettingsError, match="repair mends invalid tags and strict refuses them"):
        messages(path, data={"strict": True, "repair": True})


@pytest.mark.parametrize(("policy", "tag"), [("align", "S-PER"), ("drop", "O")])
def test_misaligned_spans_train_with_a_warning(tmp_path: Path, policy: str, tag: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(
        '{"text":"Susan went","spans":[[0,3,"PER"]]}\n' * 2 + '{"text":"Bo ran","spans":[[0,2,"PER"]]}\n'
    )
    data = load_data(path, data={"misaligned": policy})
    assert data.train[0].tags == (tag, "O")
    assert sum("2 spans cut a word" in line for line in data.warnings) == 1
    with pytest.raises(DataError, match="cuts a word"):
        load_data(path, data={"misaligned": "error"})


def test_unannotated_texts_are_left_out_of_training_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"text":"Ada ran","label":[[0,3,"PER"]]}\n{"text":"Later"}\n')
    data = load_data(path)
    assert len(data.train) == 1 and f"{path}: 1 text without annotation" in data.warnings
    path.write_text('{"text":"Later"}\n')
    with pytest.raises(DataError, match=r"t\.jsonl:1: no tags"):
        load_data(path)


def test_numbers_as_tags_are_named_by_a_setting(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"tokens": ["Susan", "went"], "ner_tags": [1, 0]}) + "\n")
    assert load_data(path, data={"tag_names": ["O", "B-PER"]}).train[0].tags == ("S-PER", "O")


def test_long_documents_are_split_and_not_left_out(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"text": "Ada ran home. " * 200, "spans": [[0, 3, "PER"]]}) + "\n")
    data = load_data(path, data={"max_length": 50})
    assert [len(s.tokens) for s in data.train] == [4] * 200
    assert f"{path}: 1 document split into 200 sentences" in data.warnings


@pytest.mark.parametrize("scheme", ["bmes", "io"])
def test_a_tagger_answers_in_the_scheme_of_its_files(tmp_path: Path, scheme: Any) -> None:
    from seqtool.text import tag_scheme

    tags = tag_scheme.convert(["B-X", "I-X", "I-X", "O", "O", "O", "O", "B-Y"], "iob2", scheme)
    path = write_columns(tmp_path / "t.conll", [[(f"w{i}", tag) for i, tag in enumerate(tags)]])
    settings = tiny_settings(path)
    job = prepare(settings, load_training_data(settings))
    assert job.model.scheme == scheme
    (answer,) = job.model.tag([[f"w{i}" for i in range(8)]])
    assert tag_scheme.first_problem(answer, scheme) is None
