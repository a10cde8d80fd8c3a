"""The settings of a language model's recipe: data, vocabulary, model, training, adaptation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from seqtool.nn.cell_names import FEWEST_ROWS
from seqtool.settings import MOST_COUNT, MOST_FACTOR, MOST_LAYERS, MOST_UNITS, MOST_VALUES, Settings
from seqtool.text.data_files import LocalFolder
from seqtool.text.hub import TextHubSettings
from seqtool.training.network_settings import NetworkSettings, Probability, refuse_without_effect
from seqtool.training.settings import RunSettings, TrainingSettings, help_of, refuse_ignored

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Files = str | Annotated[list[str], Field(min_length=1)]  # a file, a folder, or several of them

# Settings that only some values of another setting use; with other values they are refused.
DATA_READERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "dev_share": ("split", ("contiguous", "middle", "interleaved")),
    "test_share": ("split", ("contiguous", "middle", "interleaved")),
    "rows": ("split", ("interleaved",)),
}
VOCABULARY_READERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "size": ("kind", ("word", "sentencepiece")),
    "model_type": ("kind", ("sentencepiece",)),
    "min_count": ("kind", ("character", "word")),
    "byte_fallback": ("kind", ("character", "sentencepiece")),
}
TRAINING_READERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "curriculum_share": ("curriculum", ("length", "rarity")),
}


class LocalSettings(LocalFolder):
    """The files of each part, in a folder below $SEQTOOL_DATA."""

    train: Files = Field(description="Training text in that folder.")
    dev: Files | None = Field(
        None, description="Development text in that folder; by default a share of train."
    )
    test: Files | None = Field(None, description="Test text in that folder; by default a share of train.")


class DataSettings(Settings):
    """Where the text is, which parts of it are held out, and what a document is."""

    train: Files | None = Field(
        None, description="Training text: a file (also .gz), a folder of files, or several of these."
    )
    dev: Files | None = Field(None, description="Development text; by default a share of train.")
    test: Files | None = Field(
        None, description="Test text, which training never reads; by default a share of train."
    )
    local: LocalSettings | None = Field(None, description="Files below $SEQTOOL_DATA.")
    hub: TextHubSettings | None = Field(None, description="A data set of the Hugging Face hub.")
    installed: Literal["python-topics"] | None = Field(
        None,
        description="Text of the Python installation in place of a file: the topics of help(). It differs "
        "between versions of Python.",
    )
    documents: Literal["stream", "file", "paragraph", "line"] = Field(
        "stream",
        description="What a document is; the state is reset at the start of each: all files joined (stream), "
        "a file, a paragraph (blank lines separate them) or a line.",
    )
    split: Literal["contiguous", "middle", "90-10", "80-10-10", "interleaved"] = Field(
        "contiguous",
        description="Characters of train that are held out as dev and test, unless these name files: the "
        "last shares (contiguous); the last share for test and the middle of the rest for dev (middle); the "
        "last tenth for both (90-10, as in nanoGPT); a tenth each (80-10-10); or the end of each of `rows` "
        "rows of equal length (interleaved, as in char-rnn).",
    )
    dev_share: Share = Field(0.1, gt=0, description="Share of the characters held out as dev.")
    test_share: Share = Field(0.0, description="Share of the characters held out as test; 0 = none.")
    rows: int = Field(
        50, ge=1, le=MOST_COUNT, description="Number of rows of equal length (split = interleaved)."
    )
    normalization: Literal["none", "NFC", "NFKC"] = Field(
        "none", description="Unicode normalization form of all text; none = text is not normalised."
    )
    lowercase: bool = Field(False, description="Convert all text to lower case.")
    direction: Literal["forward", "backward"] = Field(
        "forward",
        description="Direction in which text is read: from its beginning, or from its end. A tagger can read "
        "sentences with a model of each direction (model.language_models).",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> DataSettings:
        refuse_ignored(self, DATA_READERS)
        if self.dev is not None and self.train is None:
            raise ValueError("dev needs train: name the training text as well")
        if self.installed is not None and any((self.train, self.local, self.hub)):
            raise ValueError("installed replaces train, local and hub: give only one of them")
        if self.dev_share + self.test_share >= 1:
            raise ValueError(
                "dev_share and test_share leave nothing to train on: their sum must be less than 1"
            )
        if self.split == "interleaved" and self.documents != "stream":
            raise ValueError(f"split = 'interleaved' needs documents = 'stream', found {self.documents!r}")
        return self


class VocabularySettings(Settings):
    """How text is split into symbols; built from the training part."""

    kind: Literal["character", "byte", "sentencepiece", "word"] = Field(
        "character", description="Symbols that text is split into: characters, bytes, subwords or words."
    )
    size: int = Field(
        8000,
        ge=0,
        le=MOST_COUNT,
        description="Number of symbols: of subwords (sentencepiece), or the maximum of words (0 = no limit).",
    )
    model_type: Literal["unigram", "bpe"] = Field("unigram", description="Subword model of sentencepiece.")
    min_count: int = Field(
        1, ge=1, le=MOST_COUNT, description="Minimum count of a word or character; rarer ones are unknown."
    )
    byte_fallback: bool = Field(
        False,
        description="Spell characters without a symbol as UTF-8 bytes, so that none is unknown (character, "
        "sentencepiece).",
    )

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> VocabularySettings:
        refuse_ignored(self, VOCABULARY_READERS)
        if self.kind == "sentencepiece" and not self.size:
            raise ValueError("size = 0: sentencepiece needs the number of subwords, at least 1")
        return self


class ModelSettings(NetworkSettings):
    """The network of a language model."""

    embedding: int = Field(128, ge=0, le=MOST_UNITS, description="Size of the embeddings; 0 = one-hot input.")
    hidden: int = Field(512, ge=1, le=MOST_UNITS, description="Hidden units of each layer.")
    layers: int = Field(1, ge=1, le=MOST_LAYERS, description="Number of stacked layers.")
    tied: bool = Field(
        False,
        description="Weight tying: the output projection is the embeddings; states are first projected to "
        "their size.",
    )
    adaptive: bool = Field(
        False, description="Adaptive softmax: clusters of rare words have fewer weights (Grave 2017)."
    )
    cutoffs: list[Annotated[int, Field(ge=1, le=MOST_COUNT)]] = Field(
        [],
        max_length=MOST_VALUES,
        description="Ascending ids at which the clusters of the adaptive softmax begin; [] = chosen by the "
        "size of the vocabulary.",
    )
    dropout: Probability = Field(
        0.2, description="Dropout probability between layers and of the output of the top layer."
    )
    embedding_dropout: Probability = Field(0.0, description="Dropout probability of the embeddings.")

    @property
    def depth(self) -> int:
        """Number of stacked layers."""
        return self.layers

    @model_validator(mode="after")
    def _fits_together(self) -> ModelSettings:
        if self.embedding == 0 and (self.type_dropout or self.input_noise):
            raise ValueError("type_dropout and input_noise need embeddings: set embedding, or leave them out")
        if self.tied and self.embedding == 0:
            raise ValueError("tied needs embeddings: set embedding, or leave it out")
        if self.tied and self.adaptive:
            raise ValueError("tied and adaptive are two output layers: choose one")
        if self.cutoffs and not self.adaptive:
            raise ValueError("cutoffs has no effect without adaptive; leave it out")
        if self.cutoffs != sorted(set(self.cutoffs)):
            raise ValueError(f"cutoffs = {self.cutoffs}: expected ascending numbers")
        return self


class LanguageModelTraining(TrainingSettings):
    """The `[training]` table with the settings that only language models have.

    The defaults give many small updates at a high learning rate. Dev scores of a network of two layers of
    256 units after 3.3 million characters of Shakespeare's plays, nats per character, by learning_rate,
    batch_tokens and clip_norm:

        4e-3    4,096  0.5  1.61
        8e-3    4,096  0.5  1.49
        1.2e-2  4,096  2    1.52
        1.2e-2  4,096  0.5  1.47
        8e-3    2,048  0.5  1.43  (one layer of 512 units: 1.39)
    """

    window: int = Field(64, ge=1, description="Window of truncated back-propagation through time, symbols.")
    window_jitter: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Vary the length of windows (Merity 2018): standard deviation as a share of window; one "
        "in twenty is halved as well. 0 = off.",
    )
    batch_tokens: int = Field(
        2048,
        ge=1,
        description="Symbols per batch, at least training.window. A stream is cut into batch_tokens / window "
        "rows of equal length, which are read side by side: more rows are faster per symbol, and make fewer "
        "updates.",
    )
    curriculum: Literal["none", "length", "rarity"] = Field(
        "none",
        description="Curriculum (Platanios 2019; not with a stream): begin with the shortest documents "
        "(length) or those of the most frequent symbols (rarity); the share in use grows with the square "
        "root of the epochs.",
    )
    curriculum_share: float = Field(
        0.5, gt=0, le=1, description="Share of the epochs after which the curriculum includes every document."
    )
    learning_rate: float = Field(6e-3, gt=0, description=help_of("learning_rate"))
    beta2: float = Field(0.99, ge=0, lt=1, description=help_of("beta2"))
    clip_norm: float = Field(0.5, ge=0, description=help_of("clip_norm"))
    warmup_steps: int = Field(100, ge=0, description=help_of("warmup_steps"))
    epochs: int = Field(20, ge=1, description=help_of("epochs"))
    average: Literal["none", "ema", "asgd"] = Field("ema", description=help_of("average"))
    average_decay: float = Field(0.99, gt=0, lt=1, description=help_of("average_decay"))
    sample_length: int = Field(
        200, ge=0, description="Symbols of the sample text printed at each evaluation; 0 = none."
    )

    @model_validator(mode="after")
    def _nothing_else_is_ignored(self) -> LanguageModelTraining:
        refuse_ignored(self, TRAINING_READERS)
        return self


class AdaptationSettings(Settings):
    """Dynamic evaluation (`--adapt`; Krause 2018) and the neural cache (`--cache`; Grave 2017).

    The defaults come from some sixty trials on dev with two character models of Shakespeare's plays
    (recipe lm-shakespeare after 6 and 26 minutes on a CPU; 1.610 and 1.500 nats per character). rms
    reached 1.439 and 1.340 (1.343 with its floor), sgd at its best rate 1.471 and 1.377, the cache alone
    1.51 and 1.40. Windows of 32 symbols with a lower rate gave the same scores in twice the time.
    """

    rule: Literal["rms", "sgd"] = Field(
        "rms",
        description="--adapt: update rule: along the gradient (sgd), or along the gradient divided, weight "
        "by weight, by the root mean square of the gradients so far (rms).",
    )
    rate: float = Field(
        0.0007,
        gt=0,
        le=MOST_FACTOR,
        description="--adapt: learning rate; sgd needs a larger one, 0.1 to 0.3.",
    )
    decay: float = Field(
        0.001, ge=0, lt=1, description="--adapt: decay of the weights towards the trained ones, per update."
    )
    window: int = Field(64, ge=1, le=MOST_COUNT, description="--adapt: symbols between two updates.")
    cache_size: int = Field(2000, ge=1, le=MOST_COUNT, description="--cache: number of past states kept.")
    cache_flatness: float = Field(
        0.6, ge=0, le=MOST_FACTOR, description="--cache: factor of the dot products of states (theta)."
    )
    cache_weight: Share = Field(
        0.1, description="--cache: weight of the cache in the mixture with the network (lambda)."
    )


class LanguageModelSettings(RunSettings):
    """All settings of a run that trains a language model."""

    task: Literal["lm"] = Field("lm", description="Task: lm.")
    data: DataSettings
    vocabulary: VocabularySettings = VocabularySettings()
    model: ModelSettings = ModelSettings()
    training: LanguageModelTraining = LanguageModelTraining()
    adaptation: AdaptationSettings = AdaptationSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> LanguageModelSettings:
        if self.training.curriculum != "none" and self.data.documents == "stream":
            raise ValueError(
                "training.curriculum orders documents: set data.documents to file, paragraph or line"
            )
        if self.training.window_jitter and self.data.documents != "stream":
            raise ValueError(
                f"training.window_jitter has no effect with data.documents = {self.data.documents!r}; "
                "leave it out"
            )
        if self.training.label_smoothing and self.model.adaptive:
            raise ValueError("training.label_smoothing does not go with model.adaptive; leave it out")
        if self.training.adversarial and self.model.embedding == 0:
            raise ValueError("training.adversarial perturbs embeddings: set model.embedding, or leave it out")
        refuse_without_effect(self.model, self.training)
        rows = self.training.batch_tokens // self.training.window
        if not rows:
            raise ValueError("training.batch_tokens is less than training.window: raise it")
        if self.data.documents == "stream":
            self._cell_goes_with_a_stream(rows)
        return self

    def _cell_goes_with_a_stream(self, rows: int) -> None:
        """Refuse a cell that cannot train on a stream of so many parallel rows."""
        if self.model.cell == "batchnorm_lstm" and rows < FEWEST_ROWS:
            raise ValueError(
                f"training.batch_tokens / training.window = {rows} parallel rows, and model.cell = "
                f"'batchnorm_lstm' needs at least {FEWEST_ROWS}: raise training.batch_tokens"
            )
        if self.model.cell == "irnn" and self.model.weight_drop:
            raise ValueError(
                "model.weight_drop scales the identity matrix of model.cell = 'irnn' by 1 / (1 - p), whose "
                "powers grow without bound along a stream: leave it out, or set data.documents=paragraph"
            )
