"""The settings of a tagger's recipe: data, vocabulary, model, training, decoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

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
from seqtool.training.settings import RunSettings, TrainingSettings, given_in_vain, help_of, refuse_ignored

Bias = Annotated[float, Field(ge=-MOST_FACTOR, le=MOST_FACTOR)]

# The character encoders that use each of these settings; with another one the setting is refused.
CHARACTER_READERS: dict[str, tuple[str, ...]] = {
    "character_embedding": ("cnn", "rnn"),
    "character_hidden": ("rnn",),
    "character_filters": ("cnn",),
    "character_widths": ("cnn",),
}


class LocalSettings(LocalFolder):
    """The files of each part, in a folder below $SEQTOOL_DATA."""

    train: str = Field(description="Training file in that folder.")
    dev: str = Field(description="Development file in that folder.")
    test: str | None = Field(None, description="Test file in that folder.")


class DataSettings(Settings):
    """Where the annotated sentences are, and in which format."""

    train: str | None = Field(None, description="Training file: CoNLL columns, CoNLL-U or JSONL, also .gz.")
    dev: str | None = Field(
        None, description="Development file; by default the last 10 % of train are held out."
    )
    test: str | None = Field(None, description="Test file; training never reads it.")
    text: list[str] = Field(
        [],
        max_length=MOST_VALUES,
        description="Raw text of the same kind: files or folders. Language models are trained on it "
        "first, and the tagger reads its sentences with them (see model.language_models).",
    )
    local: LocalSettings | None = Field(None, description="Files below $SEQTOOL_DATA.")
    hub: HubSettings | None = Field(None, description="A data set of the Hugging Face hub.")
    token_column: int | None = Field(
        None,
        ge=-MOST_COUNT,
        le=MOST_COUNT,
        description="Column of the token, counted from 1, or backwards from -1; by default detected.",
    )
    tag_column: int | None = Field(
        None,
        ge=-MOST_COUNT,
        le=MOST_COUNT,
        description="Column of the tag, counted from 1, or backwards from -1; by default detected.",
    )
    feature_columns: list[Annotated[int, Field(ge=-MOST_COUNT, le=MOST_COUNT)]] = Field(
        [],
        max_length=MOST_VALUES,
        description="Further columns whose values are input features of the model, such as parts of speech.",
    )
    scheme: SchemeChoice = Field(
        "auto", description="Tag scheme of the files; auto = detected, io = bare types (PER O)."
    )
    repair: bool = Field(False, description="Repair all tags that are invalid in the scheme, however many.")
    strict: bool = Field(
        False,
        description="Refuse every tag that is invalid in the scheme; by default a few are read as the "
        "beginning of an entity and reported.",
    )
    partial: bool | None = Field(
        None,
        description="Read ? (any tag) and A|B (one of these) as partial annotation; false = as part of the "
        "tag. The default is true for ner and false for pos.",
    )
    tag_names: list[str] = Field(
        [], description="Names of the tags 0, 1, ... of JSON lines whose tags are numbers."
    )
    misaligned: Literal["error", "align", "drop"] = Field(
        "align",
        description="What to do with character spans that begin or end inside a word: align = widen them to "
        "whole words, drop = leave them out, error = refuse the file.",
    )
    max_length: int = Field(
        500,
        ge=1,
        le=MOST_COUNT,
        description="Leave out training sentences with more tokens than this; a warning counts them.",
    )

    @model_validator(mode="after")
    def _has_a_source(self) -> DataSettings:
        if self.dev is not None and self.train is None:
            raise ValueError("dev needs train: name the training file as well")
        if self.repair and self.strict:
            raise ValueError("repair mends invalid tags and strict refuses them: choose one")
        return self


class VocabularySettings(Settings):
    """The words that have an embedding of their own; they are collected from the training part."""

    min_count: int = Field(
        1,
        ge=1,
        le=MOST_COUNT,
        description="Minimum count of a word; rarer words share the embedding of the unknown word.",
    )
    size: int = Field(0, ge=0, le=MOST_COUNT, description="Maximum number of words; 0 = no limit.")
    lowercase: bool = Field(
        True, description="Look up word embeddings in lower case; characters keep their case."
    )
    zero_digits: bool = Field(True, description="Replace every digit by 0 to look up word embeddings.")
    pretrained: str | None = Field(
        None,
        description="File of pretrained word vectors: GloVe, word2vec (text, .bin), fastText .vec, also .gz.",
    )
    freeze_pretrained: bool = Field(False, description="Do not train the pretrained vectors.")

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> VocabularySettings:
        if self.freeze_pretrained and self.pretrained is None:
            raise ValueError("freeze_pretrained needs a file of word vectors: set vocabulary.pretrained")
        return self


class ModelSettings(NetworkSettings):
    """The network of a tagger."""

    hidden: int = Field(
        200, ge=1, le=MOST_UNITS, description="Hidden units of each direction of the sentence encoder."
    )
    layers: int = Field(1, ge=1, le=MOST_LAYERS, description="Bidirectional layers of the sentence encoder.")
    word_embedding: int = Field(
        100, ge=0, le=MOST_UNITS, description="Size of the word embeddings; 0 = none."
    )
    characters: Literal["cnn", "rnn", "none"] = Field(
        "rnn", description="Character encoder: convolutions, a bidirectional RNN, or none."
    )
    character_embedding: int = Field(32, ge=1, le=MOST_UNITS, description="Size of the character embeddings.")
    character_hidden: int = Field(
        50,
        ge=1,
        le=MOST_UNITS,
        description="Hidden units of each direction of the character RNN, whose cell is model.cell.",
    )
    character_filters: int = Field(
        40, ge=1, le=MOST_UNITS, description="Filters of each width in the character CNN."
    )
    character_widths: list[Annotated[int, Field(ge=1, le=MOST_UNITS)]] = Field(
        [2, 3, 4],
        min_length=1,
        max_length=MOST_VALUES,
        description="Filter widths of the character CNN, in characters.",
    )
    shape_embedding: int = Field(
        16, ge=0, le=MOST_UNITS, description="Size of the word-shape embeddings; 0 = none."
    )
    feature_embedding: int = Field(
        16, ge=1, le=MOST_UNITS, description="Size of the embeddings of each column in data.feature_columns."
    )
    lexical: bool = Field(
        True,
        description="Lexical features: weights of the form, shape, prefixes and suffixes of a word and of "
        "its neighbours, added to the scores of its tags, as in a feature CRF.",
    )
    lexical_window: int = Field(
        2, ge=0, le=MOST_LAYERS, description="Neighbours on each side whose lexical features count."
    )
    lexical_dropout: Probability = Field(
        0.3, description="Dropout probability of the lexical features of a form."
    )
    language_models: list[str] = Field(
        [],
        max_length=MOST_VALUES,
        description="Language models (run or model folders) whose states are a further input: each reads the "
        "sentence, in the direction that it was trained in. --text trains some.",
    )
    language_model_projection: int = Field(
        128,
        ge=0,
        le=MOST_UNITS,
        description="Width that the states of all language models together are projected to; 0 = no "
        "projection.",
    )
    language_model_dropout: Probability = Field(
        0.2, description="Dropout probability of the states of language models, before the projection."
    )
    document_hidden: int = Field(
        0,
        ge=0,
        le=MOST_UNITS,
        description="Hidden units of a second recurrence, over the sentences of a document, whose state is "
        "an input to every word of the next sentence (Serban 2016); 0 = each sentence is tagged by itself.",
    )
    dropout: Probability = Field(
        0.5, description="Dropout probability before and after each layer of the encoder."
    )
    output_dropout: Probability | None = Field(
        None,
        description="Dropout probability of the output of the top layer and of the document's state; by "
        "default that of dropout.",
    )
    word_dropout: Probability = Field(
        0.05, description="Probability that training replaces a word by the unknown word."
    )
    singleton_dropout: Probability = Field(
        0.5,
        description="Probability that training replaces a word that occurs once by the unknown word, so that "
        "the latter is trained.",
    )
    output: Literal["crf", "softmax"] = Field(
        "crf", description="Output layer: a CRF scores whole tag paths, softmax each token on its own."
    )

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> ModelSettings:
        fields = type(self).model_fields
        refuse_ignored(self, {name: ("characters", kinds) for name, kinds in CHARACTER_READERS.items()})
        refuse_ignored(self, dict.fromkeys(("lexical_window", "lexical_dropout"), ("lexical", (True,))))
        for name in ("type_dropout", "word_dropout", "singleton_dropout"):
            if self.word_embedding == 0 and getattr(self, name) not in (0.0, fields[name].default):
                raise ValueError(
                    f"{name} has no effect without word embeddings (word_embedding = 0); leave it out"
                )
        return self

    @property
    def without_effect(self) -> frozenset[str]:
        """Settings of word embeddings, if the network has none."""
        return frozenset() if self.word_embedding else frozenset({"word_dropout", "singleton_dropout"})

    @property
    def depth(self) -> int:
        """Number of stacked layers."""
        return self.layers


class TaggerTraining(TrainingSettings):
    """The `[training]` table with the settings that only taggers have."""

    class_weights: dict[str, Annotated[float, Field(ge=0.0)]] = Field(
        {}, description="Weight in the loss of the tokens of each entity type or tag; 1 for all others."
    )
    mention_replacement: Probability = Field(
        0.0,
        description="Mention replacement: probability that the entities of a training sentence are replaced "
        "by others of the same types.",
    )
    lowercase: Probability = Field(0.0, description="Probability that a training sentence is lower-cased.")
    crop: Probability = Field(
        0.0,
        description="Probability that a training sentence begins at one of its later words, which gets a "
        "capital letter.",
    )
    word_prediction: float = Field(
        0.0,
        ge=0,
        le=MOST_FACTOR,
        description="Weight of a further objective: each direction of the encoder predicts the word that it "
        "reads next (Rei 2017).",
    )
    lexical_l1: float = Field(
        0.0,
        ge=0,
        le=MOST_FACTOR,
        description="L1 penalty of the lexical weights, for the summed loss of the training part.",
    )
    lexical_l2: float = Field(
        0.0,
        ge=0,
        le=MOST_FACTOR,
        description="L2 penalty of the lexical weights, for the summed loss of the training part.",
    )
    text_minutes: float = Field(
        20.0,
        gt=0,
        description="Minutes of training the language models of data.text, together, at most.",
    )
    teachers: list[str] = Field(
        [],
        max_length=MOST_VALUES,
        description="Taggers (run or model folders) with the same tags, whose mean distribution over tag "
        "paths is learned on data.text, or without any on the training part (distillation, Hinton 2015).",
    )
    self_training: int = Field(
        0,
        ge=0,
        le=MOST_LAYERS,
        description="Rounds of self-training on data.text: a tagger trained on the annotated sentences is "
        "the teacher of the next one; 0 = none.",
    )
    raw_ratio: float = Field(
        2.0,
        gt=0,
        le=MOST_FACTOR,
        description="Sentences with a teacher's distribution for each annotated sentence in an epoch.",
    )
    passage: int = Field(
        8,
        ge=2,
        description="Consecutive sentences of a document per training example; used with "
        "model.document_hidden.",
    )
    batch_tokens: int = Field(512, ge=1, description="Tokens per batch, padding included.")
    learning_rate: float = Field(2e-3, gt=0, description=help_of("learning_rate"))
    warmup_steps: int = Field(50, ge=0, description=help_of("warmup_steps"))
    epochs: int = Field(20, ge=1, description=help_of("epochs"))
    average: Literal["none", "ema", "asgd"] = Field("ema", description=help_of("average"))
    average_decay: float = Field(0.998, gt=0, lt=1, description=help_of("average_decay"))


class DecodingSettings(Settings):
    """How tags are found from the scores of the network."""

    entity_bias: Bias | dict[str, Bias] | Literal["auto"] = Field(
        "auto",
        description="Bias, nats, added to the score of every entity in decoding: one number, or one per type "
        "(0 for all others); more than 0 finds more entities. auto = the best for each type on dev.",
    )


class TaggerSettings(RunSettings):
    """All settings of a run that trains a tagger."""

    FORMER: ClassVar[Mapping[str, Any]] = {"model.lexical": False}

    task: Literal["ner", "pos"] = Field(
        description="Task: ner = entities (spans of tokens), pos = one tag per token."
    )
    data: DataSettings
    vocabulary: VocabularySettings = VocabularySettings()
    model: ModelSettings = ModelSettings()
    training: TaggerTraining = TaggerTraining()
    decoding: DecodingSettings = DecodingSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> TaggerSettings:
        if self.model.word_embedding == 0 and self.model.characters == "none":
            raise ValueError(
                "model.word_embedding = 0 and model.characters = 'none' leave no input: set one of them"
            )
        refuse_without_effect(self.model, self.training)
        if self.training.teachers or self.training.self_training:
            if self.model.document_hidden:
                raise ValueError("a teacher speaks about single sentences: set model.document_hidden = 0")
            if self.data.feature_columns:
                raise ValueError("raw text has no data.feature_columns for a teacher: leave one of them out")
        if self.training.word_prediction and (self.model.layers > 1 or self.reads_ahead):
            what = "a language model of the other direction" if self.reads_ahead else "a second layer"
            raise ValueError(
                f"training.word_prediction: {what} tells the encoder which word comes next; leave it out"
            )
        if (self.training.lexical_l1 or self.training.lexical_l2) and not self.model.lexical:
            raise ValueError("lexical_l1 and lexical_l2 need model.lexical = true; leave them out")
        if self.training.teachers and self.training.self_training:
            raise ValueError("training.self_training makes its own teachers: leave out training.teachers")
        if self.task == "pos" and self.training.mention_replacement:
            raise ValueError("training.mention_replacement is for task = 'ner'; leave it out")
        if self.task == "pos" and self.decoding.entity_bias not in (0.0, {}, "auto"):
            raise ValueError("decoding.entity_bias is for task = 'ner'; leave it out")
        return self

    @property
    def raw_text(self) -> list[str]:
        """See `RunSettings.raw_text`."""
        return list(self.data.text)

    @property
    def reads_ahead(self) -> bool:
        """Whether language models are an input."""
        return bool(self.data.text or self.model.language_models)

    def without_effect(self, *, new_model: bool) -> list[str]:
        """Messages about settings that have no effect (see `RunSettings.without_effect`)."""
        found = []
        if self.task == "pos":
            of_spans, because = {"scheme", "repair", "strict"}, "with task = 'pos', whose tags mark no spans"
            found += given_in_vain(self.data, "data", of_spans, because)
        if not (self.training.teachers or self.training.self_training):
            because = "without teachers (--teacher) or self-training"
            found += given_in_vain(self.training, "training", ("raw_ratio",), because)
        if not self.data.text:
            found += given_in_vain(
                self.training, "training", ("self_training",), "without data.text (--text)"
            )
            found += given_in_vain(self.training, "training", ("text_minutes",), "without data.text")
        if new_model and not self.reads_ahead:
            of_readers = ("language_model_projection", "language_model_dropout")
            found += given_in_vain(self.model, "model", of_readers, "without language models (--text)")
        if new_model and not self.data.feature_columns:
            because = "without data.feature_columns"
            found += given_in_vain(self.model, "model", ("feature_embedding",), because)
        if new_model and self.model.word_embedding == 0:
            of_words, because = (
                {"min_count", "size", "lowercase", "zero_digits"},
                "with model.word_embedding = 0",
            )
            found += given_in_vain(self.vocabulary, "vocabulary", of_words, because)
        return found
