"""Taggers that read the preceding sentences of a document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from seqtool import api
from seqtool.errors import SettingsError
from seqtool.tagging.batches import TrainingBatches, encode
from seqtool.tagging.data import load_training_data
from seqtool.tagging.documents import DocumentContext, documents, passage_rows, passages
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.train import fine_tuning_settings
from seqtool.text.batching import training_batches
from seqtool.text.columns import TaggedSentence, detect_format, read_sentences
from tests.tagging import tiny_tagger
from tests.tagging.tiny_tagger import CPU


def sentence(text: str, *, opens: bool = False) -> TaggedSentence:
    return TaggedSentence(tuple(text.split()), opens=opens)


TEXT = [
    sentence(text) for text in ("Ada met Babbage", "the engine", "near Washington", "IBM", "Paris is far")
]
TWO = [*TEXT, sentence("she left", opens=True), sentence("Turing spoke"), sentence("New York City")]


def reader(**model: object) -> TaggerModel:
    torch.manual_seed(0)
    found = tiny_tagger.double(tiny_tagger.untrained(model={"document_hidden": 6, "cell": "lstm", **model}))
    for parameter in found.network.parameters():
        torch.nn.init.normal_(parameter)
    return found


def scores_of(
    model: TaggerModel,
    sentences: Sequence[TaggedSentence],
    batch_tokens: int = 4096,
    context: DocumentContext | None = None,
) -> list[torch.Tensor]:
    """The scores of each sentence, without padding."""
    result = [torch.empty(0)] * len(sentences)
    for part, scores, mask in model.score_batches(sentences, batch_tokens, context):
        for position, row, real in zip(part, scores, mask, strict=True):
            result[position] = row[real].clone()
    return result


def assert_alike(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_documents_begin_at_marks_and_passages_end_with_them() -> None:
    assert documents(TWO) == [range(5), range(5, 8)]
    assert documents([]) == []
    assert passages(TWO, 3) == [[0, 1, 2], [3, 4], [5, 6, 7]]
    assert passage_rows([2, 3, 1]).tolist() == [[0, 1, -1], [2, 3, 4], [5, -1, -1]]


def test_marks_are_read_from_files(tmp_path: Path) -> None:
    conll = tmp_path / "a.conll"
    conll.write_text("-DOCSTART- O\n\na O\n\nb O\n\n-DOCSTART- O\n\nc O\n", encoding="utf-8")
    assert [s.opens for s in read_sentences(conll, detect_format(conll))] == [True, False, True]
    row = "\t".join(["1", "{}", "_", "NOUN", *"______"]) + "\n"
    conllu = tmp_path / "a.conllu"
    text = "# newdoc id = x\n# sent_id = 1\n{}\n# sent_id = 2\n{}\n# newdoc\n{}\n"
    conllu.write_text(text.format(*(row.format(word) for word in "abc")), encoding="utf-8")
    assert [s.opens for s in read_sentences(conllu, detect_format(conllu))] == [True, False, True]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "sru", "light_gru", "mogrifier_lstm"])
def test_scores_are_those_of_one_sentence_after_the_other(cell: str) -> None:
    model = reader(cell=cell)
    expected = scores_of(model, TWO)
    assert_alike(scores_of(model, TWO, batch_tokens=1), expected)
    context = DocumentContext()
    assert_alike([s for each in TWO for s in scores_of(model, [each], context=context)], expected)


@pytest.mark.parametrize("cell", ["lstm", "gru", "peephole_lstm", "echo_state"])
def test_half_precision_reads_on(cell: str) -> None:
    model, found = tiny_tagger.untrained(model={"document_hidden": 6, "cell": cell}), []
    for precision in (torch.float32, torch.bfloat16):
        model.precision, context = precision, DocumentContext()
        model.forget()
        found.append([s for each in TWO for s in scores_of(model, [each], context=context)])
        assert context.state is not None
        assert {part.dtype for part in context.state} == {torch.float32}
    for exact, half in zip(*found, strict=True):
        torch.testing.assert_close(half, exact, atol=6e-2, rtol=0)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    model = reader()
    expected = scores_of(model, TWO)
    monkeypatch.setattr("seqtool.tagging.prediction.READ_AT_ONCE", 3)
    assert_alike(scores_of(model, TWO), expected)


def test_what_came_before_counts_and_nothing_else() -> None:
    model = reader()
    expected = scores_of(model, TWO)
    changed = scores_of(model, [*TWO[:1], sentence("Church hired Hopper"), *TWO[2:]])
    assert not changed[2].equal(expected[2])
    assert not changed[4].equal(expected[4])
    for other in (0, 5, 6, 7):  # before it, and in another document
        torch.testing.assert_close(changed[other], expected[other])


def test_a_batch_of_passages_has_the_scores_of_their_text() -> None:
    model = reader()
    corpus = encode(
        TWO, model.vocabularies, model.vocabularies.form_table(model.description.vocabulary), with_tags=False
    )
    order = [5, 6, 7, 0, 1, 2, 3, 4]
    batch = corpus.batch(order, passage_rows([3, 5]))
    scores = model.network.eval().scores(batch)
    expected = scores_of(model, TWO)
    assert_alike(
        [row[real] for row, real in zip(scores, batch.mask, strict=True)], [expected[i] for i in order]
    )


def test_training_batches_are_passages() -> None:
    settings = tiny_tagger.tiny_settings(
        model={"document_hidden": 4}, training={"passage": 3, "batch_tokens": 40}
    )
    data = tiny_tagger.tiny_data()
    model = tiny_tagger.untrained(model={"document_hidden": 4})
    table = model.vocabularies.form_table(model.description.vocabulary)
    corpus = encode(data.train, model.vocabularies, table, with_tags=True)
    batches = TrainingBatches(model.vocabularies, data, corpus, settings, CPU)(0)
    rows = [row for batch in batches for row in batch.passages.ge(0).sum(1).tolist()]
    assert sorted(rows) == [1, 3, 3, 3]
    assert sum(int(batch.mask.sum()) for batch in batches) == sum(corpus.lengths)
    assert batches.largest in range(len(batches))


def test_a_tag_that_only_an_earlier_sentence_tells_is_learned(tmp_path: Path) -> None:
    """`it` is a person after `who` and a place after `where`, with one sentence in between."""
    texts = [
        f"-DOCSTART- O\n\n{word} O\n\nwell O\nthen O\n\nit {tag}\n\n"
        for word, tag in (("who", "B-PER"), ("where", "B-LOC"), ("who", "B-PER"))
    ]
    path = tmp_path / "train.conll"
    path.write_text("".join(texts * 8), encoding="utf-8")
    f1 = {}
    for width in (0, 8):
        training = {"epochs": 30, "evaluate_every": 1000, "batch_tokens": 60}
        recipe = tiny_tagger.tables(path, model={"document_hidden": width}, training=training)
        f1[width] = api.train(recipe, output=tmp_path / str(width)).result.metrics["f1"]
    assert f1[8] == 1.0
    assert f1[0] < 0.8


def test_a_passage_is_refused_without_a_recurrence_over_sentences_in_the_network_that_is_trained() -> None:
    settings = tiny_tagger.tiny_settings(training={"passage": 3})
    with pytest.raises(SettingsError, match="passage has no effect with model"):
        fine_tuning_settings(settings, None)
    with pytest.raises(SettingsError, match="passage has no effect with model"):
        fine_tuning_settings(settings, tiny_tagger.untrained())
    base = tiny_tagger.untrained(model={"document_hidden": 4})
    assert fine_tuning_settings(settings, base).training.passage == 3


def test_batches_of_passages_hold_no_more_padded_tokens_than_they_may() -> None:
    lengths, counts = [9, 2, 3, 3, 1, 20, 4], [1, 4, 3, 2, 5, 1, 2]
    parts = training_batches(lengths, budget=24, seed=1, epoch=0, counts=counts)
    assert sorted(i for part in parts for i in part) == [*range(7)]
    for part in parts:
        assert max(lengths[i] for i in part) * sum(counts[i] for i in part) <= 24
    assert len(parts) < 7


def test_a_document_whose_first_sentence_is_too_long_begins_with_its_next(tmp_path: Path) -> None:
    texts = ["a O\n\nb O", "c O\nc O\nc O\n\nd O\n\ne O", "f O"]
    path = tmp_path / "train.conll"
    path.write_text("".join(f"-DOCSTART- O\n\n{text}\n\n" for text in texts), encoding="utf-8")
    data = load_training_data(tiny_tagger.tiny_settings(path, "pos", data={"max_length": 2}))
    assert [sentence.tokens for sentence in data.train] == [("a",), ("b",), ("d",), ("e",), ("f",)]
    assert documents(data.train) == [range(2), range(2, 4), range(4, 5)]


def test_taggers_of_documents_are_exact_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    for width, expected in ((0, torch.bfloat16), (4, torch.float32)):
        path = tmp_path / str(width)
        tiny_tagger.untrained(model={"document_hidden": width}).save(path, card="")
        assert TaggerModel.load(path, device="cpu").precision == expected
        assert TaggerModel.load(path, device="cpu", precision="bf16").precision == torch.bfloat16
