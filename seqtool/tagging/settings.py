"""A tagger's recipe: data, vocabulary, model, training, decoding."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from seqtool.settings import (
    MOST_COUNT,
    MOST_FACTOR,
    MOST_LAYERS,
    MOST_UNITS,
    MOST_VALUES,
    Settings,
)
from seqtool.text.data_files import LocalFolder
from seqtool.text.hub import HubSettings
from seqtool.text.tag_rules import SchemeChoice
from seqtool.training.network_settings import NetworkSettings, Probability, refuse_without_effect
from seqtool.training.settings import RunSettings, TrainingSettings, refuse_ignored

Bias = Annotated[float, Field(ge=-MOST_FACTOR, le=MOST_FACTOR)]

# Settings that only some character encoders read: an option is never accepted and then ignored.
CHARACTER_READERS: dict[str, tuple[str, ...]] = {
    "character_embedding": ("cnn", "rnn"),
    "character_hidden": ("rnn",),
    "character_filters": ("cnn",),
    "character_widths": ("cnn",),
}


class LocalSettings(LocalFolder):
    """The parts below $SEQTOOL_DATA."""

    train: str = Field(description="Training file in it.")
    dev: str = Field(description="Development file in it.")
    test: str | None = Field(None, description="Test file in it.")


class DataSettings(Settings):
    """Where the annotated sentences are and how they are laid out."""

    train: str | None = Field(None, description="Training file: CoNLL columns, CoNLL-U or JSONL, also .gz.")
    dev: str | None = Field(None, description="Development file; without one 10 % of train are held out.")
    test: str | None = Field(None, description="Test file, read only by evaluation.")
    local: LocalSettings | None = Field(None, description="Files below $SEQTOOL_DATA.")
    hub: HubSettings | None = Field(None, description="A data set of the Hugging Face hub.")
    token_column: int | None = Field(
        None, ge=-MOST_COUNT, le=MOST_COUNT, description="Column of the token, from 1, or from -1 backwards."
    )
    tag_column: int | None = Field(
        None, ge=-MOST_COUNT, le=MOST_COUNT, description="Column of the tag, from 1, or from -1 backwards."
    )
    feature_columns: list[Annotated[int, Field(ge=-MOST_COUNT, le=MOST_COUNT)]] = Field(
        [], max_length=MOST_VALUES, description="Further columns that the model reads."
    )
    scheme: SchemeChoice = Field("auto", description="Tag scheme of the files; io = bare types (PER O).")
    repair: bool = Field(False, description="Repair any number of tags that are invalid in the scheme.")
    strict: bool = Field(
        False,
        description="Refuse every tag that is invalid in the scheme; else a few are read.",
    )
    partial: bool | None = Field(
        None,
        description="Read ? (any tag) and A|B (one of these) as partial annotation; else they are part of "
        "the tag. By default for ner, not for pos.",
    )
    tag_names: list[str] = Field([], description="Names of tags that JSON lines give as numbers, from 0.")
    misaligned: Literal["error", "align", "drop"] = Field(
        "align",
        description="Spans of characters that cut a word: align = widen them to whole words, drop = leave "
        "them out, error = refuse them.",
    )
    max_length: int = Field(
        500, ge=1, le=MOST_COUNT, description="Training sentences with more tokens are left out and counted."
    )

    @model_validator(mode="after")
    def _has_a_source(self) -> DataSettings:
        if self.dev is not None and self.train is None:
            raise ValueError("dev without train")
        if self.repair and self.strict:
            raise ValueError("repair mends invalid tags and strict refuses them; leave one of them out")
        return self


class VocabularySettings(Settings):
    """What the model knows by name; all of it is built from the training part."""

    min_count: int = Field(
        1, ge=1, le=MOST_COUNT, description="Words seen less often have no embedding of their own."
    )
    size: int = Field(0, ge=0, le=MOST_COUNT, description="Largest number of words; 0 = no limit.")
    lowercase: bool = Field(True, description="Whether word embeddings ignore case (characters never do).")
    zero_digits: bool = Field(True, description="Whether word embeddings see every digit as 0.")
    pretrained: str | None = Field(
        None, description="File of word vectors: GloVe, word2vec (text, .bin), fastText .vec, also .gz."
    )
    freeze_pretrained: bool = Field(False, description="Keep pretrained vectors as they are.")

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> VocabularySettings:
        if self.freeze_pretrained and self.pretrained is None:
            raise ValueError("freeze_pretrained needs pretrained")
        return self


class ModelSettings(NetworkSettings):
    """The network."""

    hidden: int = Field(
        200, ge=1, le=MOST_UNITS, description="Width of each direction of the sentence encoder."
    )
    layers: int = Field(1, ge=1, le=MOST_LAYERS, description="Bidirectional layers.")
    word_embedding: int = Field(100, ge=0, le=MOST_UNITS, description="Width of word embeddings; 0 = none.")
    characters: Literal["cnn", "rnn", "none"] = Field("rnn", description="Character encoder.")
    character_embedding: int = Field(32, ge=1, le=MOST_UNITS, description="Width of character embeddings.")
    character_hidden: int = Field(
        50,
        ge=1,
        le=MOST_UNITS,
        description="Width of each direction of the character rnn; it uses model.cell.",
    )
    character_filters: int = Field(
        40, ge=1, le=MOST_UNITS, description="Filters of each width of the character cnn."
    )
    character_widths: list[Annotated[int, Field(ge=1, le=MOST_UNITS)]] = Field(
        [2, 3, 4],
        min_length=1,
        max_length=MOST_VALUES,
        description="How many characters the filters of the cnn see.",
    )
    shape_embedding: int = Field(
        16, ge=0, le=MOST_UNITS, description="Width of the word-shape embedding; 0 = none."
    )
    feature_embedding: int = Field(
        16, ge=1, le=MOST_UNITS, description="Width of the embedding of each extra column."
    )
    document_hidden: int = Field(
        0,
        ge=0,
        le=MOST_UNITS,
        description="Width of a recurrence over the sentences of a document, whose state before a sentence "
        "is read with each of its words (Serban 2016); 0 = every sentence by itself.",
    )
    dropout: Probability = Field(0.5, description="Dropout before and after each encoder layer.")
    output_dropout: Probability | None = Field(
        None, description="Dropout of the uppermost layer and of a document's state; else that of dropout."
    )
    word_dropout: Probability = Field(
        0.05, description="Probability that a word is replaced by the unknown word in training."
    )
    singleton_dropout: Probability = Field(
        0.5,
        description="Probability that a word seen once is replaced by the unknown word, to train that.",
    )
    output: Literal["crf", "softmax"] = Field("crf", description="Score paths, or each token by itself.")

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> ModelSettings:
        fields = type(self).model_fields
        refuse_ignored(self, {name: ("characters", kinds) for name, kinds in CHARACTER_READERS.items()})
        for name in ("type_dropout", "word_dropout", "singleton_dropout"):
            if self.word_embedding == 0 and getattr(self, name) not in (0.0, fields[name].default):
                raise ValueError(f"{name} is for word embeddings, and word_embedding = 0 has none")
        return self

    @property
    def without_effect(self) -> frozenset[str]:
        """What is for word embeddings, where there are none."""
        return frozenset() if self.word_embedding else frozenset({"word_dropout", "singleton_dropout"})

    @property
    def depth(self) -> int:
        """All layers."""
        return self.layers


class TaggerTraining(TrainingSettings):
    """`[training]`, with what only taggers have."""

    class_weights: dict[str, Annotated[float, Field(ge=0.0)]] = Field(
        {}, description="Weight of the tokens of an entity type or tag in the loss; 1 where none is given."
    )
    mention_replacement: Probability = Field(
        0.0, description="Probability that a training sentence gets other entities of the same types."
    )
    lowercase: Probability = Field(0.0, description="Probability that a training sentence is lower-cased.")
    passage: int = Field(
        8, ge=2, description="Sentences of a document that are trained together; for model.document_hidden."
    )
    batch_tokens: int = Field(512, ge=1, description="Padded tokens of a batch.")
    learning_rate: float = Field(2e-3, gt=0, description="Highest learning rate of the schedule.")
    warmup_steps: int = Field(
        50,
        ge=0,
        description="Updates of linear rise to learning_rate, at most a fifth of all (not one_cycle).",
    )
    epochs: int = Field(20, ge=1, description="Passes over the training data.")
    average: Literal["none", "ema", "asgd"] = Field("ema", description="Evaluate and keep averaged weights.")
    average_decay: float = Field(0.998, gt=0, lt=1, description="Decay of the moving average (ema).")


class DecodingSettings(Settings):
    """From scores to tags."""

    entity_bias: Bias | dict[str, Bias] | Literal["auto"] = Field(
        "auto",
        description="Nats added to the score of every entity in the search: one number, or one for each "
        "type (0 where none is given); auto = the best for each type on dev.",
    )


class TaggerSettings(RunSettings):
    """A complete run of a tagger."""

    task: Literal["ner", "pos"] = Field(description="ner = spans, pos = one tag a token.")
    data: DataSettings
    vocabulary: VocabularySettings = VocabularySettings()
    model: ModelSettings = ModelSettings()
    training: TaggerTraining = TaggerTraining()
    decoding: DecodingSettings = DecodingSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> TaggerSettings:
        if self.model.word_embedding == 0 and self.model.characters == "none":
            raise ValueError("model.word_embedding = 0 and model.characters = 'none' leave no input")
        refuse_without_effect(self.model, self.training)
        if self.task == "pos" and self.training.mention_replacement:
            raise ValueError("training.mention_replacement needs task = 'ner'")
        if self.task == "pos" and self.decoding.entity_bias not in (0.0, {}, "auto"):
            raise ValueError("decoding.entity_bias needs task = 'ner'")
        return self
