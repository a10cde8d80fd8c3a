from __future__ import annotations

import pytest
import torch

from seqtool.errors import DataError, ModelError
from seqtool.tagging.batches import Corpus, encode
from seqtool.tagging.data import tag_inventory
from seqtool.tagging.settings import VocabularySettings
from seqtool.tagging.vocabulary import RARE_SHAPE, Vocabularies
from seqtool.text.columns import TaggedSentence
from seqtool.text.vocabulary import PADDING, UNKNOWN

SETTINGS = VocabularySettings()
TRAIN = (
    TaggedSentence(("Ada", "met", "Ada"), ("S-PER", "O", "S-PER"), (("N", "V", "N"),), "t", 1),
    TaggedSentence(("met", "1999"), ("O", "O"), (("V", "C"),), "t", 5),
)


def build(settings: VocabularySettings = SETTINGS) -> Vocabularies:
    return Vocabularies.build(TRAIN, tag_inventory(TRAIN, "iobes"), settings)


def encoded(*sentences: TaggedSentence, with_tags: bool = True) -> Corpus:
    vocabularies = build()
    return encode(sentences, vocabularies, vocabularies.form_table(SETTINGS), with_tags=with_tags)


def test_vocabularies_hold_the_training_part_and_nothing_else() -> None:
    vocabularies = build()
    assert vocabularies.words.symbols == (UNKNOWN, "ada", "met", "0000")
    assert vocabularies.characters.symbols[:2] == (PADDING, UNKNOWN)
    assert set(vocabularies.characters.symbols[2:]) == set("Adamet199")
    assert vocabularies.features[0].symbols == (UNKNOWN, "N", "V", "C")
    assert vocabularies.tags.symbols == ("O", "B-PER", "I-PER", "E-PER", "S-PER")


def test_counts_are_of_normalised_words() -> None:
    sentences = [TaggedSentence(("Ada", "ada", "ADA", "x1", "x2"), ("O",) * 5)]
    counts = Vocabularies.build(sentences, ["O"], SETTINGS).word_counts
    assert counts == {"ada": 3, "x0": 2}
    assert Vocabularies.build(sentences, ["O"], VocabularySettings(lowercase=False)).word_counts["Ada"] == 1


def test_rare_words_and_words_beyond_the_limit_are_unknown() -> None:
    assert build(VocabularySettings(min_count=2)).words.symbols == (UNKNOWN, "ada", "met")
    assert build(VocabularySettings(size=2)).words.symbols == (UNKNOWN, "ada")


def test_a_rare_shape_is_unknown() -> None:
    tokens = ("Ada",) * RARE_SHAPE + ("x9",) * (RARE_SHAPE - 1)
    vocabularies = Vocabularies.build([TaggedSentence(tokens, ("O",) * len(tokens))], ["O"], SETTINGS)
    assert vocabularies.shapes.symbols == (UNKNOWN, "Xxx")


def test_a_word_of_the_dev_part_is_unknown_with_known_characters() -> None:
    corpus = encoded(TaggedSentence(("mad",), ("O",), (("Q",),)))
    batch = corpus.batch([0])
    assert batch.forms.words.tolist() == [0]
    vocabulary = build().characters
    assert batch.forms.characters.tolist() == [[vocabulary.id(c) for c in "mad"]]
    assert vocabulary.unknown not in batch.forms.characters
    assert batch.features[0].tolist() == [[0]]


def test_a_batch_names_each_distinct_form_once() -> None:
    corpus = encoded(*TRAIN)
    batch = corpus.batch([1, 0])
    assert batch.mask.tolist() == [[True, True, False], [True, True, True]]
    words = batch.forms.words[batch.rows]
    vocabulary = build().words
    assert words[batch.mask].tolist() == [vocabulary.id(w) for w in ("met", "0000", "ada", "met", "ada")]
    assert len(batch.forms.words) == 3
    assert batch.tags is not None
    assert batch.tags.tolist() == [[0, 0, 0], [4, 0, 4]]
    assert batch.features[0].tolist() == [[2, 3, 0], [1, 2, 1]]
    assert batch.possible is None


def test_lengths_are_in_tokens() -> None:
    assert encoded(*TRAIN).lengths == [3, 2]


def test_tags_that_the_model_lacks_become_minus_one() -> None:
    corpus = encoded(TaggedSentence(("Ada", "met"), ("S-LOC", "O"), (("N", "V"),)))
    assert corpus.tags is not None
    assert corpus.tags[0].tolist() == [-1, 0]
    assert not corpus.partial


def test_partial_tags_leave_exactly_their_alternatives_possible() -> None:
    partial = TaggedSentence(("Ada", "met", "Ada"), ("B-PER|S-PER", "?", "O"), (("N", "V", "N"),))
    batch = encoded(TRAIN[1], partial).batch([0, 1])
    assert batch.possible is not None
    assert batch.possible[1].tolist() == [
        [False, True, False, False, True],
        [True] * 5,
        [True, False, False, False, False],
    ]
    # The fully annotated sentence beside it stays as it is; padding allows every tag.
    assert batch.possible[0, :2].tolist() == [[True, False, False, False, False]] * 2
    assert bool(batch.possible[0, 2].all())


def test_a_batch_without_partial_sentences_has_no_table_of_possible_tags() -> None:
    partial = TaggedSentence(("Ada",), ("?",), (("N",),))
    assert encoded(TRAIN[0], partial).batch([0]).possible is None


def test_without_tags_nothing_is_read_of_them() -> None:
    corpus = encoded(TaggedSentence(("Ada",), None, (("N",),)), with_tags=False)
    assert corpus.batch([0]).tags is None


def test_a_missing_extra_column_is_named_with_its_place() -> None:
    sentence = TaggedSentence(("Ada",), ("O",), (), "dev.conll", 17)
    with pytest.raises(DataError, match=r"^dev\.conll:17: 0 feature columns, but the model reads 1$"):
        encoded(sentence)


def test_a_missing_extra_column_of_plain_tokens_is_named_by_number() -> None:
    with pytest.raises(DataError, match=r"^sentence 2: 0 feature columns, but the model reads 1$"):
        encoded(TRAIN[0], TaggedSentence(("Ada",)), with_tags=False)


def test_vocabularies_survive_as_text_whatever_their_symbols() -> None:
    odd = ("a\nb", "\u2028", '"', "\\", "<unk>", "<pad>", "\t", "🙂", "\u200d")
    sentences = [TaggedSentence(odd, ("O",) * len(odd), (odd,))]
    before = Vocabularies.build(sentences, ["O"], VocabularySettings(lowercase=False))
    after = Vocabularies.from_texts(before.to_texts())
    for name in ("words", "characters", "shapes", "tags"):
        assert getattr(after, name).symbols == getattr(before, name).symbols
    assert [column.symbols for column in after.features] == [column.symbols for column in before.features]
    assert set(odd) <= set(after.words.symbols)


@pytest.mark.parametrize("name", ["words", "characters", "shapes", "tags"])
def test_a_model_folder_that_lacks_a_vocabulary_is_refused(name: str) -> None:
    texts = build().to_texts()
    del texts[f"{name}.txt"]
    with pytest.raises(ModelError, match=rf"lacks {name}\.txt"):
        Vocabularies.from_texts(texts)


def test_a_model_folder_that_lacks_one_of_two_extra_columns_is_refused() -> None:
    texts = build().to_texts()
    texts["feature-2.txt"] = texts.pop("feature-1.txt")
    with pytest.raises(ModelError, match="vocabulary of a feature column"):
        Vocabularies.from_texts(texts)


@pytest.mark.parametrize("name", ["words", "characters", "shapes", "feature-1"])
def test_a_vocabulary_without_an_unknown_symbol_is_refused(name: str) -> None:
    texts = build().to_texts()
    texts[f"{name}.txt"] = texts[f"{name}.txt"].replace('"<unk>"\n', "")
    with pytest.raises(ModelError, match=rf"{name}\.txt has no <unk>"):
        Vocabularies.from_texts(texts)


def test_a_batch_on_another_device_has_everything_there() -> None:
    partial = TaggedSentence(("Ada",), ("?",), (("N",),))
    moved = encoded(*TRAIN, partial).batch([0, 1, 2]).to(torch.device("meta"))
    *columns, lexical = moved.forms
    tensors = [*columns, *lexical, moved.rows, *moved.features, moved.mask, moved.tags, moved.possible]
    assert all(tensor is not None and tensor.device.type == "meta" for tensor in tensors)
