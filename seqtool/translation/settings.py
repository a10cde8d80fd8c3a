"""The settings of a translator's recipe: data, vocabulary, model, training, decoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from seqtool.nn.cell_names import BATCH_NORMALISED, CELL_HELP, CellName
from seqtool.settings import (
    MOST_COUNT,
    MOST_FACTOR,
    MOST_HYPOTHESES,
    MOST_LAYERS,
    MOST_UNITS,
    Settings,
)
from seqtool.training.network_settings import NetworkSettings, Probability, refuse_without_effect
from seqtool.training.settings import RunSettings, given_in_vain
from seqtool.translation.data_settings import DataSettings
from seqtool.translation.training_settings import TeacherForcing, TranslatorTraining
from seqtool.translation.vocabulary_settings import VOCABULARY_READERS, VocabularySettings

HARD_ATTENTION = ("hard", "monotonic")  # kinds of attention whose alignments are summed over
# Settings of `[model]` that the edit decoder, or a network with hard attention, does not have.
UNREAD_BY_EDITS = ("bridge", "attention", "heads", "coverage", "copy_source", "output", "readout")
UNREAD_BY_HARD_ATTENTION = ("bridge", "heads", "coverage", "output", "readout")


class ModelSettings(NetworkSettings):
    """The network of a translator."""

    cell: CellName = Field("gru", description=CELL_HELP)
    decoder_cell: CellName | None = Field(
        None, description="Recurrent cell of the decoder; by default model.cell."
    )
    embedding: int = Field(256, ge=1, le=MOST_UNITS, description="Size of the embeddings.")
    hidden: int = Field(
        256, ge=1, le=MOST_UNITS, description="Hidden units of the decoder and of each encoder direction."
    )
    encoder_layers: int = Field(1, ge=1, le=MOST_LAYERS, description="Bidirectional layers of the encoder.")
    decoder_layers: int = Field(1, ge=1, le=MOST_LAYERS, description="Layers of the decoder.")
    bridge: Literal["last", "mean", "learned"] = Field(
        "learned",
        description="Initial state of the decoder: the sum of the encoder's final states (last), or tanh of "
        "a linear map of the mean of all encoder states (mean) or of the final ones (learned).",
    )
    decoder: Literal["input_feeding", "conditional", "bahdanau", "parallel", "edit"] = Field(
        "input_feeding",
        description="Place of attention in the decoder: after the cell, with its output fed to the next step "
        "(input_feeding, Luong 2015); between two cells (conditional, Sennrich 2017); before the cell "
        "(bahdanau, Bahdanau 2015); after all steps of the cell (parallel: without feedback, the fastest). "
        "edit = no attention: source symbols are copied, replaced or deleted, and others inserted (Makarov "
        "2018).",
    )
    features: Literal["symbols", "encoder", "everywhere"] = Field(
        "symbols",
        description="How features are read: as symbols before the source; or apart, in no order, by every "
        "step of the decoder (encoder), or of encoder and decoder (everywhere; both with decoder = edit, or "
        "attention = monotonic or hard).",
    )
    attention: Literal["additive", "general", "dot", "monotonic", "hard", "none"] = Field(
        "additive",
        description="Attention scores: additive (Bahdanau 2015), general or dot (Luong 2015), or none. "
        "monotonic, hard = each symbol looks at one source position, and the loss is the exact sum over all "
        "alignments, which go from left to right (monotonic, Wu 2019) or anywhere (hard, Wu 2018).",
    )
    heads: int = Field(1, ge=1, le=MOST_UNITS, description="Attention heads (attention = additive).")
    coverage: bool = Field(
        False, description="Make the sum of past attention weights an input of attention (See 2017)."
    )
    copy_source: bool = Field(
        False, alias="copy", description="Pointer-generator network (See 2017): source symbols can be copied."
    )
    output: Literal["vocabulary", "positions"] = Field(
        "vocabulary",
        description="Output: symbols of the vocabulary, or positions of the source (a pure pointer network).",
    )
    readout: Literal["tanh", "maxout"] = Field("tanh", description="Last layer before the output projection.")
    tied: Literal["none", "output", "all"] = Field(
        "output",
        description="Weight tying: output = the output projection is the target embeddings; all = the source "
        "embeddings are the same as well (vocabulary.shared = true).",
    )
    layer_norm: bool = Field(False, description="Layer normalization of encoder outputs and readout.")
    dropout: Probability = Field(
        0.3, description="Dropout probability of the layers' inputs and outputs, the context and the readout."
    )
    embedding_dropout: Probability = Field(0.1, description="Dropout probability of the embeddings.")
    output_dropout: Probability | None = Field(
        None, description="Dropout probability of encoder outputs and readout; by default that of dropout."
    )

    @property
    def depth(self) -> int:
        """Number of stacked layers, of encoder or decoder, whichever has more."""
        return max(self.encoder_layers, self.decoder_layers)

    @property
    def aligns(self) -> bool:
        """Whether outputs are aligned with their sources, by attention or by edits."""
        return self.attention != "none" or self.decoder == "edit"

    @property
    def sums(self) -> str | None:
        """The setting by which the loss is a sum over all alignments with the source; None if it is not."""
        if self.decoder == "edit":
            return "decoder = 'edit'"
        return f"attention = {self.attention!r}" if self.attention in HARD_ATTENTION else None

    @property
    def reads_apart(self) -> bool:
        """Whether features are read apart from the symbols of the source."""
        return self.features != "symbols"

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of the encoder and of the decoder."""
        return self.cell, self.decoder_cell or self.cell

    @property
    def dilated_cells(self) -> tuple[str, ...]:
        """The cells of each side that has several layers."""
        sides = zip(self.cells, (self.encoder_layers, self.decoder_layers), strict=True)
        return tuple(cell for cell, layers in sides if layers > 1)

    @property
    def learns_states(self) -> bool:
        """Whether the states that the penalties act on have a gradient, in the encoder or the decoder."""
        fixed = self.cells[1] == "echo_state" and self.decoder != "input_feeding"
        return super().learns_states or not fixed

    @model_validator(mode="after")
    def _decoder_has_a_cell(self) -> ModelSettings:
        if self.cells[1] in BATCH_NORMALISED:
            name = "decoder_cell" if self.decoder_cell else "cell"
            raise ValueError(
                f"{name} = {self.cells[1]!r} normalises over the rows of a batch, which in a decoder end at "
                "different steps: --set model.decoder_cell=layernorm_gru, for instance"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _decoder_that_fits(cls, values: Any) -> Any:
        """With hard attention the default decoder is the one whose states do not read it."""
        if isinstance(values, Mapping) and values.get("attention") in HARD_ATTENTION:
            return {"decoder": "parallel", **values}
        return values

    @model_validator(mode="after")
    def _sums_alone(self) -> ModelSettings:
        if self.sums is None:
            if self.features != "symbols":
                others = "decoder = 'edit', or attention = 'monotonic' or 'hard'"
                raise ValueError(f"features = {self.features!r} needs {others}")
            return self
        unread = UNREAD_BY_EDITS if self.decoder == "edit" else UNREAD_BY_HARD_ATTENTION
        usual = {name: type(self).model_fields[name] for name in unread}
        given = [field.alias or name for name, field in usual.items() if getattr(self, name) != field.default]
        if given:
            raise ValueError(f"{', '.join(given)}: not with {self.sums}; leave out one or the other")
        if self.decoder not in ("edit", "parallel"):
            raise ValueError(
                f"{self.sums} sums over alignments, so the states of the decoder cannot read them: it needs "
                f"decoder = 'parallel', found {self.decoder!r}: --set model.decoder=parallel"
            )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> ModelSettings:
        if self.heads > 1 and self.attention != "additive":
            raise ValueError("heads needs attention = 'additive'")
        if self.heads > 1 and self.hidden % self.heads:
            raise ValueError(f"hidden = {self.hidden}: expected a multiple of heads = {self.heads}")
        if self.attention == "none" and (self.coverage or self.copy_source or self.output == "positions"):
            raise ValueError("coverage, copy and output = 'positions' need attention: set model.attention")
        if self.attention == "none" and self.decoder != "parallel":
            raise ValueError("attention = 'none' needs decoder = 'parallel'")
        if self.coverage and (self.decoder == "parallel" or self.attention != "additive" or self.heads > 1):
            raise ValueError(
                "coverage needs attention = 'additive', heads = 1, and a decoder other than 'parallel'"
            )
        if self.output == "positions" and (self.copy_source or self.heads > 1):
            raise ValueError("output = 'positions' needs copy = false and heads = 1")
        return self


class DecodingSettings(Settings):
    """Search options; options of the command line take precedence."""

    beam: int = Field(
        5, ge=1, le=MOST_HYPOTHESES, description="Beam size: hypotheses per sentence; 1 = greedy."
    )
    beam_penalty: Literal["wu", "average", "none"] = Field(
        "average",
        description="Length normalisation of scores: by Wu 2016, by a power of the length, or none.",
    )
    length_penalty: float = Field(
        1.0, ge=0, le=MOST_FACTOR, description="Exponent of the length normalisation."
    )
    coverage_penalty: float = Field(
        0.0,
        ge=0,
        le=MOST_FACTOR,
        description="Weight of the penalty for source words that attention passes over (Wu 2016); 0 = off.",
    )
    no_repeat_ngram: int = Field(
        0, ge=0, le=MOST_COUNT, description="N: no n-gram of N words occurs twice in an output; 0 = off."
    )


class TranslatorSettings(RunSettings):
    """All settings of a run that trains a translator."""

    task: Literal["translate"] = Field("translate", description="Task: translate.")
    data: DataSettings
    vocabulary: VocabularySettings = VocabularySettings()
    model: ModelSettings = ModelSettings()
    training: TranslatorTraining = TranslatorTraining()
    decoding: DecodingSettings = DecodingSettings()

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_fit(cls, values: Any) -> Any:
        """Defaults of some tables that follow from others.

        Label smoothing is off for networks whose outputs are no choice of one symbol. Source and target do
        not share a vocabulary if targets are symbols between spaces.
        """
        model, training = (values.get(name, {}) for name in ("model", "training"))
        tables = isinstance(model, Mapping) and isinstance(training, Mapping)
        hard = tables and model.get("attention") in HARD_ATTENTION
        if tables and (hard or model.get("output") == "positions" or model.get("decoder") == "edit"):
            values = {**values, "training": {"label_smoothing": 0.0, **training}}
        data, vocabulary = (values.get(name, {}) for name in ("data", "vocabulary"))
        tables = isinstance(data, Mapping) and isinstance(vocabulary, Mapping)
        if tables and data.get("target_symbols") == "spaces":
            values = {**values, "vocabulary": {"shared": False, **vocabulary}}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> TranslatorSettings:
        refuse_without_effect(self.model, self.training)
        if self.training.teachers and self.model.output == "positions":
            raise ValueError("training.teachers need model.output = 'vocabulary'; leave out one of them")
        self._check_loss()
        if self.decoding.coverage_penalty and not self.model.aligns:
            raise ValueError(
                "decoding.coverage_penalty needs attention: set model.attention, or leave it out"
            )
        if self.training.coverage_loss and not self.model.coverage:
            raise ValueError("training.coverage_loss needs model.coverage = true")
        if self.model.tied == "all" and not self.vocabulary.shared:
            raise ValueError("model.tied = 'all' needs vocabulary.shared = true")
        if self.data.target_symbols == "spaces" and self.vocabulary.shared:
            raise ValueError("data.target_symbols = 'spaces' needs vocabulary.shared = false; leave it out")
        if self.data.target_text and self.model.output == "positions":
            raise ValueError(
                "data.target_text: with model.output = 'positions' all that is written is copied from a "
                "source; leave it out"
            )
        return self

    def _check_loss(self) -> None:
        """Refuse what the loss of the network does not have."""
        training, sums = self.training, self.model.sums
        kind = "output = 'positions'" if self.model.output == "positions" else sums
        if training.label_smoothing and kind is not None:
            raise ValueError(f"training.label_smoothing has no effect with model.{kind}; leave it out")
        if sums is not None and training.teacher_forcing != TeacherForcing():
            raise ValueError(
                f"training.teacher_forcing: with model.{sums} the loss is a sum over all ways of "
                "writing the reference, and nothing else is read; leave it out"
            )

    @property
    def raw_text(self) -> list[str]:
        """See `RunSettings.raw_text`."""
        return [*self.data.source_text, *self.data.target_text]

    def without_effect(self, *, new_model: bool) -> list[str]:
        """Messages about settings that have no effect (see `RunSettings.without_effect`)."""
        found = []
        if not self.raw_text:
            because = "without data.source_text or data.target_text (--source-text, --target-text)"
            found += given_in_vain(self.training, "training", ("text_minutes",), because)
        if not self.training.hallucinate:
            because = "without training.hallucinate"
            found += given_in_vain(self.training, "training", ("hallucinate_weight",), because)
        if not self.training.teachers:
            of_teachers, because = {"distillation", "teacher_weight"}, "without training.teachers (--teacher)"
            found += given_in_vain(self.training, "training", of_teachers, because)
        if new_model and self.vocabulary.source_file is not None:
            names = {"kind", *VOCABULARY_READERS} - {"sampling"}
            found += given_in_vain(self.vocabulary, "vocabulary", names, "with vocabulary.source_file")
        if self.decoding.beam_penalty == "none":
            because = "with decoding.beam_penalty = 'none'"
            found += given_in_vain(self.decoding, "decoding", ("length_penalty",), because)
        return found
