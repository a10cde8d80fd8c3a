"""The interface of recurrent cells: one time step, and faster forms of many steps.

Shapes: B sentences, T steps, I input, H hidden, P width of a projected input (the sum of a cell's gates).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.cell_options import PLAIN, CellOptions
from seqtool.nn.deferred import DeferredLinear, Linear, Linears, at_least_float32

State = tuple[Tensor, ...]  # float tensors [B, ...]; the first is the output of the step, [B, H]
Fused = Callable[[Tensor, State], tuple[Tensor, State]]  # [B, T, I], State -> [B, T, H], State
Stepper = Callable[[Tensor, State], State]  # [B, P], State -> State

# Names of the weights that are multiplied with a state; a cell has some of them.
RECURRENT = ("recurrent_weight", "candidate_weight", "middle_weight", "output_weight")


class KeepGate(NamedTuple):
    """The gate whose bias determines for how long a state is kept."""

    block: int  # its block of the bias; blocks are `Cell.gate_width` wide
    writes: bool = False  # whether an open gate overwrites the state rather than keeping it
    input: int | None = None  # block of the gate that determines what is written; None = the same gate


class Cell(nn.Module, ABC):
    """One time step of a recurrent cell; it holds parameters only, the state is passed in and returned.

    Args:
        inputs: Width I of an input.
        hidden: Width H of the output.
        options: Regularisation of the cell. Its initialisation is applied by `build_cell`.
    """

    memory: ClassVar[tuple[int, ...]] = (0,)  # parts of a state that zoneout keeps, with one mask for all
    keep_gate: ClassVar[KeepGate | None] = None
    gates: ClassVar[tuple[tuple[str, ...], ...]] = ()  # names of the gates of each sigmoid call, in order
    compiles: ClassVar[bool] = True  # False where a step has side effects, or learns nothing

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__()
        self.inputs = inputs
        self.hidden = hidden
        self.options = options

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Widths of the parts of a state; by default the output alone."""
        return (self.hidden,)

    def initial(self, batch: int, like: Tensor) -> State:
        """The state before the first step, zeros, on the device and of the type of `like`."""
        return tuple(like.new_zeros(batch, width) for width in self.state_widths)

    def started(self, start: Tensor) -> State:
        """The state before the first step, with the memory `start`, [B, H]."""
        return (start, *self.initial(len(start), start)[1:])

    @property
    def start_parts(self) -> tuple[int, ...]:
        """Parts of a state whose start can be learned: those that a step reads and that may be anything."""
        return tuple(range(len(self.state_widths)))

    @property
    def gate_width(self) -> int:
        """Width of a gate."""
        return self.hidden

    @property
    def runs_step_by_step(self) -> bool:
        """Whether zoneout or recurrent dropout is active, which kernels and scans do not support."""
        options = self.options
        mixed = options.zoneout > 0.0 or options.zoneout_hidden > 0.0
        return mixed or (self.training and options.recurrent_dropout > 0.0)

    def dropped(self, recurrent: Tensor) -> Tensor:
        """A recurrent weight after weight drop, for one pass over time."""
        if not self.training or not self.options.weight_drop:
            return recurrent
        return functional.dropout(recurrent, self.options.weight_drop)

    def noise(self, like: Tensor) -> Tensor | None:
        """The mask of recurrent dropout for one step, of the shape of `like`; None = no dropout."""
        probability = self.options.recurrent_dropout
        if not self.training or not probability:
            return None
        return torch.empty_like(like).bernoulli_(1.0 - probability).div_(1.0 - probability)

    @abstractmethod
    def project(self, inputs: Tensor) -> Tensor:
        """The part of a step that does not depend on the state, for all steps in one product.

        It equals M x + b, with M from `input_map`, so that a decoder can add the contribution of what it
        feeds back.

        Args:
            inputs: Inputs x, [..., I].

        Returns:
            Projected inputs, [..., P].
        """

    @abstractmethod
    def input_map(self) -> Tensor:
        """The matrix M of `project`, [P, I]; the parameter itself where M is one."""

    @abstractmethod
    def input_blocks(self) -> Sequence[Tensor]:
        """The learned input weights, gate by gate, [O, I] each, as views of the parameters."""

    @abstractmethod
    def recurrent_blocks(self) -> Sequence[Tensor]:
        """The learned recurrent weights, gate by gate, [O, H] each, as views of the parameters."""

    def gate_biases(self) -> Sequence[Tensor]:
        """The biases, gate by gate, as views of a parameter; `keep_gate` refers to them by number."""
        return ()

    @abstractmethod
    def transition(self, linear: Linears) -> Stepper:
        """`step` without zoneout; `linear` makes the products with recurrent weights, which it is given."""

    def step(self, projected: Tensor, state: State) -> State:
        """One step: a projected input [B, P] and a state to the next state, which begins with the output."""
        return self.with_zoneout(self.transition(plain_linear))(projected, state)

    def stepper(self, linear: Linears = DeferredLinear) -> Stepper:
        """`step` for one pass over time: what is common to all steps is computed once.

        Args:
            linear: Makes the products with recurrent weights; the default computes the gradients of the
                weights once, at the end of the backward pass.
        """
        return self.with_zoneout(self.transition(lambda weight: linear(self.dropped(weight))))

    def with_zoneout(self, advance: Stepper) -> Stepper:
        """A transition followed by zoneout, which keeps some units of the previous state."""
        options = self.options
        rates = ((options.zoneout, self.memory), (options.zoneout_hidden, (0,)))
        active = [(probability, parts) for probability, parts in rates if probability]

        def step(projected: Tensor, state: State) -> State:
            after = list(advance(projected, state))
            for probability, parts in active:
                before, moved = [state[part] for part in parts], [after[part] for part in parts]
                mix = _chosen if self.training else self.expected
                for part, values in zip(parts, mix(before, moved, probability), strict=True):
                    after[part] = values
            return tuple(after)

        return step if active else advance

    def expected(self, before: Sequence[Tensor], after: Sequence[Tensor], kept: float) -> Sequence[Tensor]:
        """The expected parts of a state under zoneout with probability `kept`."""
        return [torch.lerp(moved, stayed, kept) for stayed, moved in zip(before, after, strict=True)]

    def fused(self) -> Fused | None:
        """The library kernel (oneDNN, cuDNN) that runs all steps with these parameters, or None."""
        return None


class TableCell(Cell):
    """A cell of the table `CELLS`, whose number of parameters is given by a formula."""

    @staticmethod
    @abstractmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Number of learned parameters."""


class AffineCell(TableCell):
    """A cell with one input weight W [P, I], and a bias b for all or the first of its rows.

    Args:
        inputs: Width I of an input.
        hidden: Width H of the output.
        rows: Numbers of rows of W's blocks, one per gate; each block starts Glorot-uniform.
        biased: Number of rows of W, from the first on, that have a bias, which starts at 0; None = all.
        options: Regularisation, see `Cell`.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        *,
        rows: Sequence[int],
        biased: int | None = None,
        options: CellOptions = PLAIN,
    ) -> None:
        super().__init__(inputs, hidden, options=options)
        self.input_weight = glorot_blocks(rows, inputs)
        self.bias = nn.Parameter(torch.zeros(sum(rows) if biased is None else biased))

    def project(self, inputs: Tensor) -> Tensor:
        """W x + b, [..., I] -> [..., P]."""
        unbiased = len(self.input_weight) - len(self.bias)
        return functional.linear(inputs, self.input_weight, functional.pad(self.bias, (0, unbiased)))

    def input_map(self) -> Tensor:
        """W, [P, I]."""
        return self.input_weight

    def input_blocks(self) -> Sequence[Tensor]:
        """The blocks of W."""
        return torch.split(self.input_weight, self.gate_width)

    def recurrent_blocks(self) -> Sequence[Tensor]:
        """The blocks of the weights in `RECURRENT` that the cell has."""
        weights = [getattr(self, name) for name in RECURRENT if hasattr(self, name)]
        return [block for weight in weights for block in torch.split(weight, self.gate_width)]

    def gate_biases(self) -> Sequence[Tensor]:
        """The blocks of b."""
        return torch.split(self.bias, self.gate_width)


class ScanCell(Cell):
    """A cell with an elementwise recurrence (no recurrent matrix), so that all steps can run as a scan."""

    linear: ClassVar[bool] = True  # False where gates read the state, so that even a GPU runs step by step

    def gathered(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """The input of `scan`, and the parts of the last state that do not depend on the scan.

        Args:
            inputs: Inputs of all steps, [B, T, I].
            state: State before the first step.
        """
        return self.project(inputs), ()

    @abstractmethod
    def scan(self, gathered: Tensor, state: State) -> tuple[Tensor, State]:
        """Run all steps.

        Args:
            gathered: What `gathered` returned for the inputs, [B, T, ...].
            state: State before the first step.

        Returns:
            Outputs, [B, T, H], and the state after the last step, without the parts known beforehand.
        """

    @abstractmethod
    def advance(self, projected: Tensor, state: State) -> State:
        """One step: a projected input [B, P] and a state to the next state."""

    def recurrent_blocks(self) -> list[Tensor]:
        """No blocks: there is no recurrent matrix."""
        return []

    def transition(self, linear: Linears) -> Stepper:
        """`advance` in full precision; `linear` is not needed."""
        return lambda projected, state: self.advance(at_least_float32(projected), state)


def plain_linear(weight: Tensor) -> Linear:
    """`x -> x W^T`."""
    return partial(functional.linear, weight=weight)


def glorot(outputs: int, inputs: int) -> nn.Parameter:
    """A weight [O, I], uniform with the variance of Glorot and Bengio 2010."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(outputs, inputs)))


def glorot_blocks(rows: Sequence[int], inputs: int) -> nn.Parameter:
    """An input weight [sum of rows, I] of blocks with these numbers of rows, each like `glorot`."""
    weight = torch.empty(sum(rows), inputs)
    for block in torch.split(weight, list(rows)):
        nn.init.xavier_uniform_(block)
    return nn.Parameter(weight)


def orthogonal(gates: int, outputs: int, inputs: int | None = None) -> nn.Parameter:
    """A recurrent weight [gates x O, I] of orthogonal blocks (Saxe et al. 2014); by default I = O."""
    weight = torch.empty(gates * outputs, outputs if inputs is None else inputs)
    for block in torch.split(weight, outputs):
        nn.init.orthogonal_(block)
    return nn.Parameter(weight)


def noised(values: Tensor, noise: Tensor | None) -> Tensor:
    """values * noise, or values where the noise is None."""
    return values if noise is None else values * noise


def _chosen(before: Sequence[Tensor], after: Sequence[Tensor], kept: float) -> Sequence[Tensor]:
    """Zoneout in training: each unit keeps its value with probability `kept`, by one mask for all parts."""
    stays = torch.empty_like(after[0]).bernoulli_(kept).bool()
    return [torch.where(stays, stayed, moved) for stayed, moved in zip(before, after, strict=True)]
