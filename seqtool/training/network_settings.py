"""What the `[model]` table of every task has: recurrent cells, their layers, their regularisation."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Annotated

from pydantic import Field, model_validator

from seqtool.nn.cell_names import BATCH_NORMALISED, CELL_HELP, CellName
from seqtool.nn.cell_options import (
    CellOptions,
    InputInitializer,
    LayerOptions,
    RecurrentInitializer,
    refusal,
    suited,
)
from seqtool.settings import MOST_COUNT, MOST_FACTOR, Settings
from seqtool.training.settings import TrainingSettings

FARTHEST = 10_000  # steps that a dilated layer may reach back; its state has as many parts
PLACED = {"dropout", "embedding_dropout", "output_dropout"}  # around the layers
DRAWN = ("weight_drop", "zoneout", "zoneout_hidden", "input_noise")  # and everything called dropout
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


class NetworkSettings(Settings):
    """The recurrent part of a network; a wing adds widths, depths and what only its task has."""

    cell: CellName = Field("lstm", description=CELL_HELP)
    residual: bool = Field(False, description="Add the input of each upper layer to its output.")
    highway: bool = Field(
        False, description="A gate mixes the input of each upper layer with its output (Srivastava 2015)."
    )
    dilation: int = Field(
        1,
        ge=1,
        le=MOST_COUNT,
        description="Each layer's recurrence reaches back so many times as far as that of the layer below; "
        "1 = one step everywhere (Chang 2017).",
    )
    learned_start: bool = Field(False, description="Learn the state before the first step; else zeros.")

    dropout: Probability = Field(
        0.0, description="Probability that a unit around the recurrent layers is left out in training."
    )
    embedding_dropout: Probability | None = Field(
        None, description="Dropout of what the lowest layer reads; else that of dropout."
    )
    output_dropout: Probability | None = Field(
        None, description="Dropout of what the uppermost layer gives; else that of dropout."
    )
    locked: bool = Field(
        True,
        description="Dropout leaves out a unit at every step of a sequence or at none (Gal 2016); false = a "
        "choice for each step.",
    )
    weight_drop: Probability = Field(
        0.0,
        description="Probability that a recurrent weight is left out, for a whole batch (Merity 2018).",
    )
    recurrent_dropout: Probability = Field(
        0.0, description="Probability that a step writes nothing to a unit of the state (Semeniuta 2016)."
    )
    zoneout: Probability = Field(
        0.0,
        description="Probability that a unit of the memory stays as it was at a step (Krueger 2017): of the "
        "cell state, or of the hidden state where there is no other.",
    )
    zoneout_hidden: Probability = Field(
        0.0,
        description="Probability that a unit of the hidden state stays as it was at a step, of cells that "
        "have a cell state beside it (where there is none, zoneout is of the hidden state).",
    )
    word_dropout: Probability = Field(
        0.0,
        description="Probability that an input symbol is replaced by the unknown one in training, each place "
        "by itself.",
    )
    type_dropout: Probability = Field(
        0.0,
        description="Probability that a symbol of the vocabulary is left out wherever it stands in a batch "
        "(embedding dropout, Merity 2018).",
    )
    input_noise: float = Field(
        0.0,
        ge=0,
        le=MOST_FACTOR,
        description="Standard deviation of the noise added to embeddings in training.",
    )

    input_init: InputInitializer = Field(
        "default", description="What recurrent layers' weights of the input start with; default = the cell's."
    )
    recurrent_init: RecurrentInitializer = Field(
        "default", description="What recurrent layers' weights of the state start with; default = the cell's."
    )
    forget_bias: float | None = Field(
        None,
        ge=-MOST_FACTOR,
        le=MOST_FACTOR,
        description="Bias that the gate which keeps the state starts with; else the cell's own.",
    )
    chrono: int = Field(
        0,
        ge=0,
        le=MOST_COUNT,
        description="Longest time that states are to last: gates that keep them start so that they keep for "
        "1 to this many steps (Tallec 2018); at least 3, or 0 = off.",
    )
    spectral_radius: float = Field(
        0.9, gt=0, le=MOST_FACTOR, description="Of the fixed recurrent weights of echo_state."
    )

    @property
    def depth(self) -> int:
        """Layers on top of each other, at most."""
        raise NotImplementedError

    @property
    def of_outputs(self) -> float:
        """Probability of the dropout of what the uppermost layer gives."""
        return self.dropout if self.output_dropout is None else self.output_dropout

    @property
    def of_inputs(self) -> float:
        """Probability of the dropout of what the lowest layer reads."""
        return self.dropout if self.embedding_dropout is None else self.embedding_dropout

    @property
    def drops(self) -> bool:
        """Whether units are left out at any place around the layers."""
        return any((self.of_inputs, self.depth > 1 and self.dropout, self.of_outputs))

    @property
    def cells(self) -> tuple[str, ...]:
        """All kinds of cells that there are, the encoder's first."""
        return (self.cell,)

    @property
    def dilated_cells(self) -> tuple[str, ...]:
        """Those that stand above other layers, which is where dilation begins."""
        return (self.cell,) if self.depth > 1 else ()

    @property
    def learns_states(self) -> bool:
        """Whether the states that penalties are for have a gradient."""
        return self.cell != "echo_state" or self.highway

    @property
    def draws(self) -> bool:
        """Whether two passes over the same batch differ in training."""
        names = {name for name in type(self).model_fields if "dropout" in name} - PLACED | set(DRAWN)
        return self.drops or any(getattr(self, name) for name in names - self.without_effect)

    @property
    def without_effect(self) -> frozenset[str]:
        """Settings that may be given and that nothing reads here."""
        return frozenset()

    @property
    def layer_options(self) -> LayerOptions:
        """What the layers are made of."""
        return self.layers_of(self.cell)

    def layers_of(self, cell: str) -> LayerOptions:
        """The same with one of the `cells`."""
        options = suited(cell, self._options)
        return LayerOptions(
            cell, options, self.residual, self.highway, self.dilation, self.learned_start, self.locked
        )

    @property
    def _options(self) -> CellOptions:
        return CellOptions(**{field.name: getattr(self, field.name) for field in fields(CellOptions)})

    @model_validator(mode="after")
    def _cells_fit_together(self) -> NetworkSettings:
        self.layers_of(self.cell)  # has checks of its own
        dilated = self.dilated_cells if self.dilation > 1 else ()
        reason = refusal(self.cells, self._options, dilated=dilated, learned_start=self.learned_start)
        if reason is not None:
            raise ValueError(reason)
        if self.type_dropout and self.cell in BATCH_NORMALISED:
            raise ValueError(
                f"type_dropout does not go with cell = {self.cell!r}, to which a position of zeros is "
                "padding; leave it out"
            )
        if self.dilation > 1 and (self.depth - 1) * math.log(self.dilation) > math.log(FARTHEST):
            raise ValueError(
                f"dilation = {self.dilation}: the uppermost of {self.depth} layers would reach back more "
                f"than {FARTHEST} steps"
            )
        if not self.locked and not self.drops:
            raise ValueError("locked = false is for dropout, and there is none; leave it out")
        elsewhere = self.embedding_dropout is not None and self.output_dropout is not None
        usual = type(self).model_fields["dropout"].default
        if elsewhere and self.depth == 1 and self.dropout not in (0.0, usual):
            raise ValueError(
                "dropout has no effect with one layer, where embedding_dropout and output_dropout are all "
                "that there is; leave it out, or set it to 0"
            )
        for name in ("residual", "highway", "dilation"):
            if self.depth == 1 and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no effect with one layer; leave it out")
        return self


def refuse_without_effect(model: NetworkSettings, training: TrainingSettings) -> None:
    """Settings of training that a cell has nothing for.

    Raises:
        ValueError: there is one.
    """
    if any(training.state_penalties) and not model.learns_states:
        raise ValueError(
            "training.activation_penalty, slowness_penalty and norm_penalty do not go with model.cell = "
            "'echo_state', whose states are not learned; leave them out"
        )
    if training.adversarial and set(model.cells) == {"echo_state"}:
        raise ValueError(
            "training.adversarial does not go with model.cell = 'echo_state', which lets no gradient "
            "through; leave it out"
        )
    if training.r_drop and not model.draws:
        raise ValueError(
            "training.r_drop compares two passes with different dropout, and here both are the same: set "
            "model.dropout, or leave it out"
        )
