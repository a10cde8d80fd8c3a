from __future__ import annotations

import lzma
import math

import numpy as np
import pytest

from seqtool.lm.baselines import NGRAM, ORDERS, XZ, Baselines, joined, verdict
from seqtool.lm.ngram import KneserNey
from seqtool.lm.vocabulary import Ids

SIZE = 6


def documents(*lengths: int, seed: int = 0) -> list[Ids]:
    """A text in which the last two symbols predict much of the next."""
    random = np.random.default_rng(seed)
    table = random.dirichlet(np.full(SIZE, 0.2), (SIZE, SIZE))
    found = []
    for length in lengths:
        ids = [0, 1]
        while len(ids) < length + 2:
            ids.append(int(random.choice(SIZE, p=table[ids[-2], ids[-1]])))
        found.append(np.array(ids[2:], np.int32))
    return found


def texts_of(parts: list[Ids]) -> list[str]:
    return ["".join("abcdef"[i] for i in ids.tolist()) for ids in parts]


def trained(parts: list[Ids], kind: str = "character", **more: object) -> Baselines:
    return Baselines.train(parts, kind=kind, size=SIZE, texts=texts_of(parts), **more)  # type: ignore[arg-type]


def test_documents_are_joined_with_their_beginnings_marked() -> None:
    ids, starts = joined([np.array([1, 2], np.int32), np.zeros(0, np.int32), np.array([3], np.int32)])
    assert (ids.tolist(), starts.tolist()) == ([1, 2, 3], [True, False, True])
    ids, starts = joined([])
    assert (len(ids), len(starts)) == (0, 0)


def test_the_ngram_is_that_of_the_training_symbols_and_sees_one_document_at_a_time() -> None:
    train, test = documents(300, 50), documents(40, 0, 1, 20, seed=1)
    found = trained(train).log_probabilities(test)
    ids, starts = joined(train)
    ngram = KneserNey.train(ids, size=SIZE, order=7, starts=starts)
    assert [len(each) for each in found] == [40, 0, 1, 20]
    for each, alone in zip(found, test, strict=True):
        np.testing.assert_allclose(each, ngram.log_probabilities(alone), rtol=1e-12)
    assert trained(train).log_probabilities([]) == []


@pytest.mark.parametrize("kind", ORDERS)
def test_without_a_dev_part_the_order_is_the_usual_one(kind: str) -> None:
    assert trained(documents(200), kind).ngram.order == {"sentencepiece": 5, "word": 4}.get(kind, 7)


@pytest.mark.parametrize("kind", ORDERS)
def test_the_dev_part_chooses_the_order(kind: str) -> None:
    train, dev = documents(400), documents(200, seed=0)
    found = trained(train, kind, dev=dev)
    by_order = {}
    for order in ORDERS[kind]:
        ngram = KneserNey.train(train[0], size=SIZE, order=order)
        by_order[order] = float(ngram.log_probabilities(dev[0]).sum())
    assert found.ngram.order == max(by_order, key=lambda order: by_order[order])


def test_figures_are_nats_a_character_of_the_text() -> None:
    train, test = documents(2000, 10), documents(300, 200, seed=2)
    baselines, texts = trained(train), texts_of(test)
    found = baselines.score(test, texts)
    nats = -sum(each.sum() for each in found.log_probabilities)
    assert math.isclose(found.nats_per_character[NGRAM], nats / 500)

    def size(text: str) -> int:
        return len(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))

    before = "".join(texts_of(train))
    bits = 8 * (size(before + "".join(texts)) - size(before))
    assert math.isclose(found.nats_per_character[XZ], bits * math.log(2) / 500)


def test_a_character_of_several_bytes_is_one_character() -> None:
    ids = [np.arange(1, 5, dtype=np.int32)]
    baselines = Baselines.train(ids, kind="character", size=SIZE, texts=["äöü€"])
    found = baselines.score(ids, ["äöü€"])
    assert math.isclose(found.nats_per_character[NGRAM], -found.log_probabilities[0].sum() / 4)


def test_of_long_training_text_the_end_is_used_and_that_is_said() -> None:
    train = documents(500, 300)
    found = trained(train, limit=400)
    assert (found.symbols, found.available, len(found.text)) == (400, 800, 400)
    assert "the last of 800, 400 character symbols" in found.describe()
    same = trained([train[0][400:], train[1]])
    test = documents(50, seed=3)
    np.testing.assert_array_equal(found.log_probabilities(test)[0], same.log_probabilities(test)[0])
    assert "7-gram (800 character symbols); xz -9e" in trained(train).describe()


def test_a_network_that_loses_to_a_baseline_is_told() -> None:
    figures = {NGRAM: 1.56, XZ: 1.76}
    message = verdict(1.61, figures)
    assert message is not None
    assert "1.6100 nats per character; a Kneser-Ney n-gram" in message
    assert message.count("\n") == 0 and "1.5600" in message
    assert "train longer" in message and "larger network" in message
    short = str(verdict(1.61, figures, "max_minutes"))
    assert "time ended its training, so give it more minutes (--max-minutes), or a smaller network" in short
    assert verdict(1.5, figures) is None
    assert verdict(1.5, {}) is None
    assert "xz" in str(verdict(1.7, {NGRAM: 1.8, XZ: 1.6}))
