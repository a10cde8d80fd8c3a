"""The part of the `[model]` table that every task has: recurrent cells, layers and regularization."""

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

FARTHEST = 10_000  # time steps that a dilated layer may reach back; its state has as many parts
PLACED = {"dropout", "embedding_dropout", "output_dropout"}  # dropout between layers: see `drops`
DRAWN = ("weight_drop", "zoneout", "zoneout_hidden", "input_noise")  # random like every "..._dropout"
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


class NetworkSettings(Settings):
    """The recurrent part of a network; each task adds widths, depths and settings of its own."""

    cell: CellName = Field("lstm", description=CELL_HELP)
    residual: bool = Field(
        False, description="Residual connections: add the input of each layer above the first to its output."
    )
    highway: bool = Field(
        False,
        description="Highway connections: a gate mixes the input of each layer above the first with its "
        "output (Srivastava 2015).",
    )
    dilation: int = Field(
        1,
        ge=1,
        le=MOST_COUNT,
        description="Dilated recurrence: each layer reaches back this many times as far as the layer below "
        "(Chang 2017); 1 = one time step in every layer.",
    )
    learned_start: bool = Field(
        False, description="Learn the initial state of each layer; otherwise it is zero."
    )

    dropout: Probability = Field(
        0.0, description="Dropout probability of the inputs and outputs of the recurrent layers."
    )
    embedding_dropout: Probability | None = Field(
        None, description="Dropout probability of the input of the lowest layer; by default that of dropout."
    )
    output_dropout: Probability | None = Field(
        None, description="Dropout probability of the output of the top layer; by default that of dropout."
    )
    locked: bool = Field(
        True,
        description="Variational dropout: one dropout mask for all time steps of a sequence (Gal 2016); "
        "false = a new mask at each time step.",
    )
    weight_drop: Probability = Field(
        0.0,
        description="DropConnect probability of recurrent weights, with one mask per batch (Merity 2018).",
    )
    recurrent_dropout: Probability = Field(
        0.0,
        description="Dropout probability of the update to the recurrent state at each time step (Semeniuta "
        "2016).",
    )
    zoneout: Probability = Field(
        0.0,
        description="Zoneout probability (Krueger 2017): a unit of the cell state keeps its previous value; "
        "in cells without a cell state, a unit of the hidden state.",
    )
    zoneout_hidden: Probability = Field(
        0.0,
        description="Zoneout probability of the hidden state, in cells that have a cell state as well.",
    )
    word_dropout: Probability = Field(
        0.0,
        description="Probability that an input symbol is replaced by the unknown symbol in training, drawn "
        "for each position.",
    )
    type_dropout: Probability = Field(
        0.0,
        description="Probability that a symbol's embedding is zeroed at all its positions in a batch "
        "(embedding dropout, Merity 2018).",
    )
    input_noise: float = Field(
        0.0,
        ge=0,
        le=MOST_FACTOR,
        description="Standard deviation of Gaussian noise added to embeddings in training.",
    )

    input_init: InputInitializer = Field(
        "default",
        description="Initializer of the input-to-hidden weights; default = the one that the cell defines.",
    )
    recurrent_init: RecurrentInitializer = Field(
        "default",
        description="Initializer of the hidden-to-hidden weights; default = the one that the cell defines.",
    )
    forget_bias: float | None = Field(
        None,
        ge=-MOST_FACTOR,
        le=MOST_FACTOR,
        description="Initial bias of the forget gate; by default the one that the cell defines.",
    )
    chrono: int = Field(
        0,
        ge=0,
        le=MOST_COUNT,
        description="Chrono initialization (Tallec 2018): forget-gate biases are drawn for memories of 1 to "
        "this many time steps; at least 3, or 0 = off.",
    )
    spectral_radius: float = Field(
        0.9,
        gt=0,
        le=MOST_FACTOR,
        description="Spectral radius of the fixed recurrent weights (cell echo_state).",
    )

    @property
    def depth(self) -> int:
        """Number of stacked layers; of the deeper side where there are two."""
        raise NotImplementedError

    @property
    def of_outputs(self) -> float:
        """Dropout probability of the top layer's output."""
        return self.dropout if self.output_dropout is None else self.output_dropout

    @property
    def of_inputs(self) -> float:
        """Dropout probability of the lowest layer's input."""
        return self.dropout if self.embedding_dropout is None else self.embedding_dropout

    @property
    def drops(self) -> bool:
        """Whether there is dropout before, between or after the layers."""
        return any((self.of_inputs, self.depth > 1 and self.dropout, self.of_outputs))

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of the network, the encoder's first."""
        return (self.cell,)

    @property
    def dilated_cells(self) -> tuple[str, ...]:
        """The cells of layers above the lowest: only those are dilated."""
        return (self.cell,) if self.depth > 1 else ()

    @property
    def learns_states(self) -> bool:
        """Whether the states that the penalties act on have a gradient."""
        return self.cell != "echo_state" or self.highway

    @property
    def draws(self) -> bool:
        """Whether two passes over the same batch differ in training."""
        names = {name for name in type(self).model_fields if "dropout" in name} - PLACED | set(DRAWN)
        return self.drops or any(getattr(self, name) for name in names - self.without_effect)

    @property
    def without_effect(self) -> frozenset[str]:
        """Names of settings that are accepted although this network does not use them."""
        return frozenset()

    @property
    def layer_options(self) -> LayerOptions:
        """The cell and the connections of the layers."""
        return self.layers_of(self.cell)

    def layers_of(self, cell: str) -> LayerOptions:
        """The same as `layer_options` for one of the `cells`."""
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
                f"type_dropout does not go with cell = {self.cell!r}, which takes a position of zeros for "
                "padding; leave it out"
            )
        if self.dilation > 1 and (self.depth - 1) * math.log(self.dilation) > math.log(FARTHEST):
            raise ValueError(
                f"dilation = {self.dilation}: the top one of {self.depth} layers would reach back more "
                f"than {FARTHEST} time steps; use a smaller dilation or fewer layers"
            )
        if not self.locked and not self.drops:
            raise ValueError("locked = false has no effect without dropout; set dropout, or leave it out")
        elsewhere = self.embedding_dropout is not None and self.output_dropout is not None
        usual = type(self).model_fields["dropout"].default
        if elsewhere and self.depth == 1 and self.dropout not in (0.0, usual):
            raise ValueError(
                "dropout has no effect with one layer when embedding_dropout and output_dropout are both "
                "given; leave it out, or set it to 0"
            )
        for name in ("residual", "highway", "dilation"):
            if self.depth == 1 and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no effect with one layer; leave it out")
        return self


def refuse_without_effect(model: NetworkSettings, training: TrainingSettings) -> None:
    """Refuse settings of training that have no effect on a network.

    Args:
        model: The run's `[model]` table.
        training: The run's `[training]` table.

    Raises:
        ValueError: there is such a setting; the message names it and says why.
    """
    if any(training.state_penalties) and not model.learns_states:
        raise ValueError(
            "training.activation_penalty, slowness_penalty and norm_penalty do not go with model.cell = "
            "'echo_state', whose states are not learned; leave them out"
        )
    if training.adversarial and set(model.cells) == {"echo_state"}:
        raise ValueError(
            "training.adversarial does not go with model.cell = 'echo_state', which passes no gradient to "
            "its inputs; leave it out"
        )
    if training.r_drop and not model.draws:
        raise ValueError(
            "training.r_drop compares two passes with different dropout masks, and this model has no "
            "dropout: set model.dropout, or leave it out"
        )
