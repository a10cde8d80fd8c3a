"""A translator's recipe: data, vocabulary, model, training, decoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from seqtool.nn.cell_names import BATCH_NORMALISED, CELL_HELP, CellName
from seqtool.settings import MOST_COUNT, MOST_FACTOR, MOST_HYPOTHESES, MOST_LAYERS, MOST_UNITS, Settings
from seqtool.text.data_files import LocalFolder
from seqtool.text.hub import PairHubSettings
from seqtool.text.pair_files import NAMED_SIDES, kind_of
from seqtool.training.network_settings import NetworkSettings, Probability, refuse_without_effect
from seqtool.training.settings import RunSettings, TrainingSettings, refuse_ignored

Column = Literal["source", "target", "features", "-"]
Files = str | Annotated[list[str], Field(min_length=2)]  # one file of pairs, or a source and its targets


# Settings that only some kinds of vocabulary read: an option is never accepted and then ignored.
VOCABULARY_READERS: dict[str, tuple[str, ...]] = {
    "size": ("word", "character", "sentencepiece"),
    "lowercase": ("word", "character", "sentencepiece"),
    "reserved": ("word", "character", "sentencepiece"),
    "min_count": ("word", "character"),
    "model_type": ("sentencepiece",),
    "byte_fallback": ("sentencepiece",),
    "split_digits": ("sentencepiece",),
    "sampling": ("sentencepiece",),
}


# The same of `[training]`: the setting that decides, and its values with which the setting is read.
SEQUENCE_OBJECTIVES = ("mrt", "self_critical")
OBJECTIVE_READERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "reward": ("objective", SEQUENCE_OBJECTIVES),
    "samples": ("objective", SEQUENCE_OBJECTIVES),
    "sample_length": ("objective", SEQUENCE_OBJECTIVES),
    "mle_weight": ("objective", SEQUENCE_OBJECTIVES),
    "sharpness": ("objective", ("mrt",)),
}

PARTS = ("train", "dev", "test")


class LocalSettings(LocalFolder):
    """The parts below $SEQTOOL_DATA."""

    train: Files = Field(description="Training file or files in it.")
    dev: Files = Field(description="Development file or files in it.")
    test: Files | None = Field(None, description="Test file or files in it.")


class DataSettings(Settings):
    """Where the sentence pairs are and which of them are used."""

    train: Files | None = Field(
        None,
        description="Training pairs: [source, target] files, or one TSV, CSV, JSONL or TMX file; also .gz. "
        "Further target files are further references: [source, target, target2].",
    )
    dev: Files | None = Field(None, description="Development pairs; without them 10 % of train are held out.")
    test: Files | None = Field(None, description="Test pairs, read only by evaluation.")
    local: LocalSettings | None = Field(None, description="Files below $SEQTOOL_DATA.")
    hub: PairHubSettings | None = Field(None, description="A data set of the Hugging Face hub.")
    columns: list[Column] = Field(
        ["source", "target"],
        description="Columns of TSV files, and of CSV files without headings: source, target (several are "
        "several references), features (symbols read with the source), - (not read).",
    )
    feature_separator: str = Field(";", min_length=1, description="What stands between two features.")
    languages: Annotated[list[str], Field(min_length=2, max_length=2)] | None = Field(
        None,
        description="Names of source and target: keys of JSONL, also below `translation`, as in "
        '{"translation": {"en": ..., "de": ...}}; headings of CSV; languages of TMX. Without them '
        "source and target.",
    )
    max_length: int = Field(
        100,
        ge=1,
        le=MOST_COUNT,
        description="Training pairs with more symbols on a side are left out and counted.",
    )
    max_ratio: float = Field(
        0.0,
        ge=0,
        le=MOST_FACTOR,
        description="Training pairs whose sides differ in length by a larger factor are left out; 0 = off.",
    )
    empty: Literal["error", "drop"] = Field(
        "error",
        description="What to do with a pair with an empty side. For scoring, error keeps it: an empty source "
        "has an empty translation.",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> DataSettings:
        if self.dev is not None and self.train is None:
            raise ValueError("dev without train")
        if self.columns.count("source") != 1:
            raise ValueError(f"columns: expected 'source' once, found {self.columns}")
        if "target" not in self.columns:
            raise ValueError(f"columns: expected 'target' at least once, found {self.columns}")
        if self.columns.count("features") > 1:
            raise ValueError("columns: 'features' stands there twice")
        if self.languages is not None:
            self._check_languages(self.languages)
        return self

    def _check_languages(self, languages: list[str]) -> None:
        if languages[0] == languages[1]:
            raise ValueError(f"languages: expected two names, found {languages[0]!r} twice")
        files = [getattr(part, name) for part in (self, self.local) if part for name in PARTS]
        named = [file for file in files if file is not None]
        alone = [file for file in named if isinstance(file, str)]
        if (named or self.hub) and not any(kind_of(file) in NAMED_SIDES for file in alone):
            raise ValueError("languages is for JSONL, CSV and TMX files, and none is named")


class VocabularySettings(Settings):
    """How text becomes symbols; built from the training part unless files are named."""

    kind: Literal["word", "character", "byte", "sentencepiece"] = Field(
        "sentencepiece", description="What text is split into."
    )
    size: int = Field(
        8000,
        ge=0,
        le=MOST_COUNT,
        description="Symbols: as many (sentencepiece), at most (word, character); 0 = no limit.",
    )
    shared: bool = Field(True, description="One vocabulary for both sides.")
    model_type: Literal["unigram", "bpe"] = Field("unigram", description="Of sentencepiece.")
    byte_fallback: bool = Field(False, description="sentencepiece: spell unknown characters in bytes.")
    split_digits: bool = Field(True, description="sentencepiece: each digit is a piece of its own.")
    lowercase: bool = Field(False, description="Fold upper case.")
    sampling: Probability = Field(
        0.0,
        description="sentencepiece in training: probability of each merge being skipped (bpe), or the "
        "smoothness of the segmentations drawn (unigram).",
    )
    min_count: int = Field(
        1, ge=1, le=MOST_COUNT, description="Words or characters seen less often are unknown."
    )
    reserved: list[str] = Field([], description="Symbols that are never split, such as <2de>.")
    source_file: str | None = Field(None, description="A vocabulary that `vocab build` made, for the source.")
    target_file: str | None = Field(
        None, description="A vocabulary that `vocab build` made, for the target (not with shared)."
    )

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> VocabularySettings:
        refuse_ignored(self, {name: ("kind", kinds) for name, kinds in VOCABULARY_READERS.items()})
        if self.target_file is not None and (self.shared or self.source_file is None):
            raise ValueError("target_file needs shared = false and source_file")
        if self.source_file is not None and not self.shared and self.target_file is None:
            raise ValueError("source_file with shared = false needs target_file")
        return self


class ModelSettings(NetworkSettings):
    """The network."""

    cell: CellName = Field("gru", description=CELL_HELP)
    decoder_cell: CellName | None = Field(
        None, description="Recurrent cell of the decoder, where it is another one than model.cell."
    )
    embedding: int = Field(256, ge=1, le=MOST_UNITS, description="Width of the embeddings.")
    hidden: int = Field(
        256, ge=1, le=MOST_UNITS, description="Width of the decoder and of each direction of the encoder."
    )
    encoder_layers: int = Field(1, ge=1, le=MOST_LAYERS, description="Bidirectional layers of the encoder.")
    decoder_layers: int = Field(1, ge=1, le=MOST_LAYERS, description="Layers of the decoder.")
    bridge: Literal["last", "mean", "learned"] = Field(
        "learned",
        description="Where the decoder starts: the sum of the encoder's last states (last), tanh of a linear "
        "map of the mean of all its states (mean), or of its last states (learned).",
    )
    decoder: Literal["input_feeding", "conditional", "bahdanau", "parallel"] = Field(
        "input_feeding",
        description="Where attention stands: after the cell, its output fed to the next step (Luong 2015); "
        "between two transitions (Nematus); before the cell (Bahdanau 2015); after all steps of the cell "
        "(parallel: no feedback, the fastest).",
    )
    attention: Literal["additive", "general", "dot", "none"] = Field(
        "additive", description="How source positions are scored (Bahdanau 2015; Luong 2015)."
    )
    heads: int = Field(1, ge=1, le=MOST_UNITS, description="Attention heads (additive).")
    coverage: bool = Field(False, description="Feed the sum of past attention into the attention.")
    copy_source: bool = Field(False, alias="copy", description="Pointer-generator: words may be copied.")
    output: Literal["vocabulary", "positions"] = Field(
        "vocabulary", description="positions = a pure pointer network: the output is source symbols."
    )
    readout: Literal["tanh", "maxout"] = Field("tanh", description="Deep output before the projection.")
    tied: Literal["none", "output", "all"] = Field(
        "output",
        description="output = target embeddings are the output projection; all = source embeddings too.",
    )
    layer_norm: bool = Field(False, description="Normalise encoder outputs and the readout.")
    dropout: Probability = Field(0.3, description="Dropout of states, contexts and readout.")
    embedding_dropout: Probability = Field(0.1, description="Dropout of embeddings.")
    output_dropout: Probability | None = Field(
        None, description="Dropout of the encoder's outputs and of the readout; else that of dropout."
    )

    @property
    def depth(self) -> int:
        """Of the deeper side."""
        return max(self.encoder_layers, self.decoder_layers)

    @property
    def cells(self) -> tuple[str, ...]:
        """Of the encoder and of the decoder."""
        return self.cell, self.decoder_cell or self.cell

    @property
    def dilated_cells(self) -> tuple[str, ...]:
        """Of each side that has several layers."""
        sides = zip(self.cells, (self.encoder_layers, self.decoder_layers), strict=True)
        return tuple(cell for cell, layers in sides if layers > 1)

    @property
    def learns_states(self) -> bool:
        """Whether the states that penalties are for have a gradient; those of a decoder count too."""
        fixed = self.cells[1] == "echo_state" and self.decoder != "input_feeding"
        return super().learns_states or not fixed

    @model_validator(mode="after")
    def _decoder_has_a_cell(self) -> ModelSettings:
        if self.cells[1] in BATCH_NORMALISED:
            name = "decoder_cell" if self.decoder_cell else "cell"
            raise ValueError(
                f"{name} = {self.cells[1]!r} normalises over all rows of a batch, and a decoder goes step by "
                "step with rows that end at different times: set model.decoder_cell, as to 'layernorm_gru'"
            )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> ModelSettings:
        if self.heads > 1 and self.attention != "additive":
            raise ValueError("heads needs attention = 'additive'")
        if self.heads > 1 and self.hidden % self.heads:
            raise ValueError(f"hidden = {self.hidden} does not divide into {self.heads} heads")
        if self.attention == "none" and (self.coverage or self.copy_source or self.output == "positions"):
            raise ValueError("coverage, copy and output = 'positions' need attention")
        if self.attention == "none" and self.decoder != "parallel":
            raise ValueError("attention = 'none' goes with decoder = 'parallel' only")
        if self.coverage and (self.decoder == "parallel" or self.attention != "additive" or self.heads > 1):
            raise ValueError("coverage needs additive attention with one head, and a decoder not 'parallel'")
        if self.output == "positions" and (self.copy_source or self.heads > 1):
            raise ValueError("output = 'positions' goes with copy = false and one head")
        return self


class TeacherForcing(Settings):
    """How often the decoder is fed the reference in training, rather than its own last symbol.

    Reference: Bengio et al. 2015, section 2.4 (schedules).
    """

    ratio: float = Field(1.0, ge=0, le=1, description="Probability of the reference, if constant.")
    schedule: Literal["constant", "linear", "exponential", "inverse_sigmoid"] = Field(
        "constant", description="Course of that probability over the updates."
    )
    start: float = Field(1.0, ge=0, le=1, description="At the first update (not constant).")
    end: float = Field(0.0, ge=0, le=1, description="What it goes to (not constant).")
    steps: int = Field(10_000, ge=1, description="Updates that the course takes (not constant).")

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> TeacherForcing:
        varying = ("linear", "exponential", "inverse_sigmoid")
        readers = dict.fromkeys(("start", "end", "steps"), ("schedule", varying))
        refuse_ignored(self, {**readers, "ratio": ("schedule", ("constant",))})
        return self


class TranslatorTraining(TrainingSettings):
    """`[training]`, with what only translators have."""

    objective: Literal["mle", "mrt", "self_critical"] = Field(
        "mle",
        description="What is learned: each symbol of the references (mle); with --init-from only, outputs "
        "with a high reward, by minimum risk (mrt, Shen 2016) or self_critical (Rennie 2017).",
    )
    reward: Literal["bleu", "chrf"] = Field("bleu", description="Of an output, by the sentence (not mle).")
    samples: int = Field(
        10, ge=1, description="Outputs drawn for each sentence (not mle); time and memory grow with it."
    )
    sample_length: int = Field(
        0, ge=0, description="Their symbols at most (not mle); 0 = twice those of the source and five."
    )
    sharpness: float = Field(
        0.005, gt=0, description="Exponent of the probabilities that weigh the outputs of a sentence (mrt)."
    )
    mle_weight: float = Field(
        0.0,
        ge=0,
        description="The loss of mle, nats a sentence, is added times this (not mle); Wu 2016 has 0.017.",
    )
    label_smoothing: Probability = Field(0.1, description="Share of the target spread over all symbols.")
    coverage_loss: float = Field(0.0, ge=0, description="Weight of the coverage loss (See 2017).")
    teacher_forcing: TeacherForcing = TeacherForcing()
    select: Literal["bleu", "chrf", "exact_match", "loss"] = Field(
        "bleu",
        description="Metric on dev (greedy search) that picks the best weights. Where BLEU is 0, and where "
        "(nearly) all references are shorter than four words, bleu gives way to chrf.",
    )
    learning_rate: float = Field(2e-3, gt=0, description="Highest learning rate of the schedule.")
    batch_tokens: int = Field(
        1024,
        ge=1,
        description="Padded symbols of a batch, the longer side counted; small data want many updates.",
    )
    average_decay: float = Field(0.995, gt=0, lt=1, description="Decay of the moving average (ema).")
    clip_norm: float = Field(1.0, ge=0, description="Largest norm of the gradient; 0 = no clipping.")
    beta2: float = Field(0.98, ge=0, lt=1, description="Decay of the second moment.")
    warmup_steps: int = Field(
        200,
        ge=0,
        description="Updates of linear rise to learning_rate, at most a fifth of all (not one_cycle).",
    )
    average: Literal["none", "ema", "asgd"] = Field("ema", description="Evaluate and keep averaged weights.")

    @model_validator(mode="after")
    def _passes_read_the_reference(self) -> TranslatorTraining:
        own = self.objective != "mle" or self.teacher_forcing != TeacherForcing()
        if own and (self.r_drop or self.adversarial):
            raise ValueError(
                "r_drop and adversarial compare two passes over the reference: they go with "
                "objective = 'mle' and teacher_forcing = { ratio = 1.0 }"
            )
        return self

    @model_validator(mode="after")
    def _objective_reads_all(self) -> TranslatorTraining:
        refuse_ignored(self, OBJECTIVE_READERS)
        if self.objective == "mle" or self.mle_weight:
            return self
        # What only the plain loss reads may stand there if it is off, as recipes have it.
        given = {
            "label_smoothing": self.label_smoothing
            not in (0.0, type(self).model_fields["label_smoothing"].default),
            "coverage_loss": self.coverage_loss > 0,
            "activation_penalty": self.activation_penalty > 0,
            "slowness_penalty": self.slowness_penalty > 0,
            "norm_penalty": self.norm_penalty > 0,
            "teacher_forcing": self.teacher_forcing != TeacherForcing(),
        }
        ignored = [name for name, is_given in given.items() if is_given]
        if ignored:
            raise ValueError(
                f"{', '.join(ignored)} has no effect with objective = {self.objective!r} and mle_weight = 0"
            )
        return self


class DecodingSettings(Settings):
    """Search, unless the command line says otherwise."""

    beam: int = Field(5, ge=1, le=MOST_HYPOTHESES, description="Hypotheses a sentence; 1 = greedy.")
    beam_penalty: Literal["wu", "average", "none"] = Field(
        "average", description="What scores are divided by: Wu 2016, the length to a power, nothing."
    )
    length_penalty: float = Field(1.0, ge=0, le=MOST_FACTOR, description="Its exponent.")
    coverage_penalty: float = Field(
        0.0, ge=0, le=MOST_FACTOR, description="Weight of Wu 2016's penalty for what is left out."
    )
    no_repeat_ngram: int = Field(
        0, ge=0, le=MOST_COUNT, description="No n-gram of words twice in an output; 0 = off."
    )


class TranslatorSettings(RunSettings):
    """A complete run of a translator."""

    task: Literal["translate"] = Field("translate", description="The task.")
    data: DataSettings
    vocabulary: VocabularySettings = VocabularySettings()
    model: ModelSettings = ModelSettings()
    training: TranslatorTraining = TranslatorTraining()
    decoding: DecodingSettings = DecodingSettings()

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_fit(cls, values: Any) -> Any:
        """A pointer network has no vocabulary to spread a share over: its default is not to."""
        model, training = (values.get(name, {}) for name in ("model", "training"))
        tables = isinstance(model, Mapping) and isinstance(training, Mapping)
        if tables and model.get("output") == "positions":
            values = {**values, "training": {"label_smoothing": 0.0, **training}}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> TranslatorSettings:
        refuse_without_effect(self.model, self.training)
        if self.training.label_smoothing and self.model.output == "positions":
            raise ValueError("training.label_smoothing has no effect with model.output = 'positions'")
        if self.decoding.coverage_penalty and self.model.attention == "none":
            raise ValueError("decoding.coverage_penalty needs attention, and model.attention = 'none'")
        if self.training.coverage_loss and not self.model.coverage:
            raise ValueError("training.coverage_loss needs model.coverage = true")
        if self.model.tied == "all" and not self.vocabulary.shared:
            raise ValueError("model.tied = 'all' needs vocabulary.shared = true")
        return self
