"""A language model's recipe: data, vocabulary, model, training, sampling."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from seqtool.nn.cell_names import FEWEST_ROWS
from seqtool.settings import MOST_COUNT, MOST_FACTOR, MOST_LAYERS, MOST_UNITS, MOST_VALUES, Settings
from seqtool.text.data_files import LocalFolder
from seqtool.text.hub import TextHubSettings
from seqtool.training.network_settings import NetworkSettings, Probability, refuse_without_effect
from seqtool.training.settings import RunSettings, TrainingSettings, refuse_ignored

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Files = str | Annotated[list[str], Field(min_length=1)]  # a file, a folder, or several of them

# Settings that only some choices of another one read: an option is never accepted and then ignored.
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
    """The parts below $SEQTOOL_DATA."""

    train: Files = Field(description="Training text in it.")
    dev: Files | None = Field(None, description="Development text in it; else a share of train.")
    test: Files | None = Field(None, description="Test text in it; else a share of train.")


class DataSettings(Settings):
    """Where the text is, what is held out of it, and what a document is."""

    train: Files | None = Field(
        None, description="Training text: a file (also .gz), a folder of them, or several."
    )
    dev: Files | None = Field(None, description="Development text; without it a share of train.")
    test: Files | None = Field(None, description="Test text, read only by evaluation; else a share of train.")
    local: LocalSettings | None = Field(None, description="Files below $SEQTOOL_DATA.")
    hub: TextHubSettings | None = Field(None, description="A data set of the Hugging Face hub.")
    installed: Literal["python-topics"] | None = Field(
        None,
        description="Text that every Python installation has: the topics of its help(). It depends on the "
        "version of Python.",
    )
    documents: Literal["stream", "file", "paragraph", "line"] = Field(
        "stream",
        description="Where the state starts anew: never (stream: all files are joined as they are), or with "
        "each file, paragraph (after a blank line) or line.",
    )
    split: Literal["contiguous", "middle", "90-10", "80-10-10", "interleaved"] = Field(
        "contiguous",
        description="Which characters of train are dev and test where these name no files: the last shares "
        "of it (contiguous); the same with dev out of the middle of the rest (middle), so that train goes up "
        "to test; the last tenth as both (90-10, nanoGPT's); the last two tenths (80-10-10); or "
        "the end of each of so many equal rows (interleaved, char-rnn's).",
    )
    dev_share: Share = Field(0.1, gt=0, description="Share of the characters that dev takes.")
    test_share: Share = Field(0.0, description="Share of the characters that test takes, after dev.")
    rows: int = Field(50, ge=1, le=MOST_COUNT, description="Equal rows (interleaved).")
    normalization: Literal["none", "NFC", "NFKC"] = Field(
        "none", description="Unicode normalisation of all text; none = characters as they are."
    )
    lowercase: bool = Field(False, description="Fold upper case in all text.")

    @model_validator(mode="after")
    def _makes_sense(self) -> DataSettings:
        refuse_ignored(self, DATA_READERS)
        if self.dev is not None and self.train is None:
            raise ValueError("dev without train")
        if self.installed is not None and any((self.train, self.local, self.hub)):
            raise ValueError("installed stands in place of train, local and hub: give one of them")
        if self.dev_share + self.test_share >= 1:
            raise ValueError("dev_share and test_share leave nothing to train on")
        if self.split == "interleaved" and self.documents != "stream":
            raise ValueError(f"split = 'interleaved' cuts a stream, and documents = {self.documents!r}")
        return self


class VocabularySettings(Settings):
    """How text becomes symbols; built from the training part."""

    kind: Literal["character", "byte", "sentencepiece", "word"] = Field(
        "character", description="What text is split into."
    )
    size: int = Field(
        8000,
        ge=0,
        le=MOST_COUNT,
        description="Symbols: as many (sentencepiece), at most (word; 0 = no limit).",
    )
    model_type: Literal["unigram", "bpe"] = Field("unigram", description="Of sentencepiece.")
    min_count: int = Field(
        1, ge=1, le=MOST_COUNT, description="Words or characters seen less often have no symbol."
    )
    byte_fallback: bool = Field(
        False,
        description="Characters without a symbol are spelled in bytes, so that no text can fail "
        "(character, sentencepiece).",
    )

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> VocabularySettings:
        refuse_ignored(self, VOCABULARY_READERS)
        if self.kind == "sentencepiece" and not self.size:
            raise ValueError("size = 0: sentencepiece has to know how many pieces")
        return self


class ModelSettings(NetworkSettings):
    """The network."""

    embedding: int = Field(
        128, ge=0, le=MOST_UNITS, description="Width of the embeddings; 0 = one-hot input."
    )
    hidden: int = Field(512, ge=1, le=MOST_UNITS, description="Width of each layer.")
    layers: int = Field(1, ge=1, le=MOST_LAYERS, description="Layers on top of each other.")
    tied: bool = Field(
        False, description="The embeddings are the output weights too; states are mapped to their width."
    )
    adaptive: bool = Field(
        False, description="Adaptive softmax: rare words in clusters with fewer weights (Grave 2017)."
    )
    cutoffs: list[Annotated[int, Field(ge=1, le=MOST_COUNT)]] = Field(
        [],
        max_length=MOST_VALUES,
        description="Where its clusters begin, rising; empty = chosen by the size of the vocabulary.",
    )
    dropout: Probability = Field(0.2, description="Dropout between the layers and of the output.")
    embedding_dropout: Probability = Field(0.0, description="Dropout of the embeddings.")

    @property
    def depth(self) -> int:
        """All layers."""
        return self.layers

    @model_validator(mode="after")
    def _fits_together(self) -> ModelSettings:
        if self.embedding == 0 and (self.type_dropout or self.input_noise):
            raise ValueError("type_dropout and input_noise are for embeddings, and embedding = 0 has none")
        if self.tied and self.embedding == 0:
            raise ValueError("tied needs embeddings, and embedding = 0 has none")
        if self.tied and self.adaptive:
            raise ValueError("tied and adaptive are two forms of the output: choose one")
        if self.cutoffs and not self.adaptive:
            raise ValueError("cutoffs has no effect without adaptive; leave it out")
        if self.cutoffs != sorted(set(self.cutoffs)):
            raise ValueError(f"cutoffs = {self.cutoffs}: expected rising numbers")
        return self


class LanguageModelTraining(TrainingSettings):
    """`[training]`, with what only language models have.

    The defaults are many small updates at a high rate. Two layers of 256, which had read 3.3 million
    characters of Shakespeare's plays, needed on dev 1.61 nats a character with a rate of 4e-3 and 4,096
    symbols a batch, 1.49 with 8e-3 (and 1.52 with a clip_norm of 2 in place of 0.5, 1.47 with it, at
    1.2e-2), 1.43 with 8e-3 and 2,048 symbols; one layer of 512 needed 1.39.
    """

    window: int = Field(64, ge=1, description="Symbols of truncated back-propagation through time.")
    window_jitter: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Windows vary in length: standard deviation, as a share of window; and one in twenty "
        "is halved (Merity 2018).",
    )
    batch_tokens: int = Field(
        2048, ge=1, description="Symbols of a batch; a stream has batch_tokens / window rows side by side."
    )
    curriculum: Literal["none", "length", "rarity"] = Field(
        "none",
        description="Documents to begin with: the shortest, or those of the most frequent symbols; the rest "
        "join as the square root of the epoch's share grows (Platanios 2019; not with a stream).",
    )
    curriculum_share: float = Field(
        0.5, gt=0, le=1, description="Share of the epochs after which every document is in."
    )
    learning_rate: float = Field(6e-3, gt=0, description="Highest learning rate of the schedule.")
    beta2: float = Field(0.99, ge=0, lt=1, description="Decay of the second moment.")
    clip_norm: float = Field(0.5, ge=0, description="Largest norm of the gradient; 0 = no clipping.")
    warmup_steps: int = Field(
        100,
        ge=0,
        description="Updates of linear rise to learning_rate, at most a fifth of all (not one_cycle).",
    )
    epochs: int = Field(20, ge=1, description="Passes over the training data.")
    average: Literal["none", "ema", "asgd"] = Field("ema", description="Evaluate and keep averaged weights.")
    average_decay: float = Field(0.99, gt=0, lt=1, description="Decay of the moving average (ema).")
    sample_length: int = Field(
        200, ge=0, description="Symbols of the sample shown at each evaluation; 0 = none."
    )

    @model_validator(mode="after")
    def _nothing_else_is_ignored(self) -> LanguageModelTraining:
        refuse_ignored(self, TRAINING_READERS)
        return self


class AdaptationSettings(Settings):
    """How `--adapt` and `--cache` read on; their strengths are chosen on dev.

    The defaults come from some sixty trials on dev with two states of a character model of Shakespeare's
    plays (recipe lm-shakespeare after 6 and 26 minutes on a CPU; 1.610 and 1.500 nats a character). rms
    reached 1.439 and 1.340 (1.343 with its floor), sgd at its best rate 1.471 and 1.377; the cache alone
    1.51 and 1.40. Windows of 32 with a lower rate gave the same for twice the time.
    """

    rule: Literal["rms", "sgd"] = Field(
        "rms",
        description="--adapt: a step along the gradient (sgd), or divided by the root mean square of the "
        "adaptation's own gradients so far, weight by weight (rms).",
    )
    rate: float = Field(
        0.0007,
        gt=0,
        le=MOST_FACTOR,
        description="--adapt: learning rate of a step; sgd needs a larger one, 0.1 to 0.3.",
    )
    decay: float = Field(
        0.001, ge=0, lt=1, description="--adapt: share of the way back to the trained weights, each step."
    )
    window: int = Field(64, ge=1, le=MOST_COUNT, description="--adapt: symbols from one step to the next.")
    cache_size: int = Field(2000, ge=1, le=MOST_COUNT, description="--cache: past states that are kept.")
    cache_flatness: float = Field(
        0.6, ge=0, le=MOST_FACTOR, description="--cache: factor of the dot products of states."
    )
    cache_weight: Share = Field(0.1, description="--cache: its share of the probability.")


class LanguageModelSettings(RunSettings):
    """A complete run of a language model."""

    task: Literal["lm"] = Field("lm", description="The task.")
    data: DataSettings
    vocabulary: VocabularySettings = VocabularySettings()
    model: ModelSettings = ModelSettings()
    training: LanguageModelTraining = LanguageModelTraining()
    adaptation: AdaptationSettings = AdaptationSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> LanguageModelSettings:
        if self.training.curriculum != "none" and self.data.documents == "stream":
            raise ValueError("training.curriculum orders documents, and data.documents = 'stream' has none")
        if self.training.window_jitter and self.data.documents != "stream":
            raise ValueError(
                f"training.window_jitter is for a stream, and data.documents = {self.data.documents!r}"
            )
        if self.training.label_smoothing and self.model.adaptive:
            raise ValueError("training.label_smoothing does not go with model.adaptive; leave it out")
        if self.training.adversarial and self.model.embedding == 0:
            raise ValueError("training.adversarial moves embeddings, and model.embedding = 0 has none")
        refuse_without_effect(self.model, self.training)
        rows = self.training.batch_tokens // self.training.window
        if not rows:
            raise ValueError("training.batch_tokens is less than one window")
        if self.data.documents == "stream":
            self._cell_goes_with_a_stream(rows)
        return self

    def _cell_goes_with_a_stream(self, rows: int) -> None:
        """Of so many rows, whose state is carried on without end."""
        if self.model.cell == "batchnorm_lstm" and rows < FEWEST_ROWS:
            raise ValueError(
                f"training.batch_tokens / training.window = {rows} rows side by side, and model.cell = "
                f"'batchnorm_lstm' takes statistics of {FEWEST_ROWS} at least"
            )
        if self.model.cell == "irnn" and self.model.weight_drop:
            raise ValueError(
                "model.weight_drop divides what it leaves of the identity of model.cell = 'irnn' by 1 - p, "
                "whose powers grow without end along a stream: leave it out, or set data.documents"
            )
