"""What every recurrent cell can do: one time step, and the ways to do all of them at once."""

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

State = tuple[Tensor, ...]  # each [B, ...], float; the first is the output of the step, [B, H]
Fused = Callable[[Tensor, State], tuple[Tensor, State]]  # [B, T, I], State -> [B, T, H], State
Stepper = Callable[[Tensor, State], State]  # [B, P], State -> State

# Weights that are multiplied with a state, where a cell has them.
RECURRENT = ("recurrent_weight", "candidate_weight", "middle_weight", "output_weight")


class KeepGate(NamedTuple):
    """Which bias says for how long a state is kept."""

    block: int  # of the bias, in blocks of `Cell.gate_width`
    writes: bool = False  # an open gate writes rather than keeps
    input: int | None = None  # block of the gate that says how much is written, where it is another one


class Cell(nn.Module, ABC):
    """One time step of a recurrent cell; it holds parameters and remembers nothing itself.

    Args:
        inputs: Width I of an input.
        hidden: Width H of the output.
        options: How it is regularised; `build_cell` sees to how it starts.
    """

    memory: ClassVar[tuple[int, ...]] = (0,)  # parts of a state that zoneout keeps, all by one choice
    keep_gate: ClassVar[KeepGate | None] = None
    gates: ClassVar[tuple[tuple[str, ...], ...]] = ()  # what each sigmoid of a step opens, in their order
    compiles: ClassVar[bool] = True  # False: a step has side effects, or learns nothing

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__()
        self.inputs = inputs
        self.hidden = hidden
        self.options = options

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Of the parts of a state; the output alone here."""
        return (self.hidden,)

    def initial(self, batch: int, like: Tensor) -> State:
        """The state before the first step, zeros, on the device and of the type of `like`."""
        return tuple(like.new_zeros(batch, width) for width in self.state_widths)

    def started(self, start: Tensor) -> State:
        """The state before the first step that remembers [B, H]."""
        return (start, *self.initial(len(start), start)[1:])

    @property
    def start_parts(self) -> tuple[int, ...]:
        """Parts of a state whose start can be learned: those that a step reads, and that may be anything."""
        return tuple(range(len(self.state_widths)))

    @property
    def gate_width(self) -> int:
        """Of a gate."""
        return self.hidden

    @property
    def runs_step_by_step(self) -> bool:
        """Whether something is drawn or mixed at each step that no kernel and no scan knows of."""
        options = self.options
        mixed = options.zoneout > 0.0 or options.zoneout_hidden > 0.0
        return mixed or (self.training and options.recurrent_dropout > 0.0)

    def dropped(self, recurrent: Tensor) -> Tensor:
        """A recurrent weight for one pass over time."""
        if not self.training or not self.options.weight_drop:
            return recurrent
        return functional.dropout(recurrent, self.options.weight_drop)

    def noise(self, like: Tensor) -> Tensor | None:
        """What the candidate of one step is multiplied by, of the shape of `like`; None = 1."""
        probability = self.options.recurrent_dropout
        if not self.training or not probability:
            return None
        return torch.empty_like(like).bernoulli_(1.0 - probability).div_(1.0 - probability)

    @abstractmethod
    def project(self, inputs: Tensor) -> Tensor:
        """Whatever does not depend on the state, all steps in one product: [..., I] -> [..., P].

        It is M x + b with the M of `input_map`, so that a decoder can add the share of what it feeds.
        """

    @abstractmethod
    def input_map(self) -> Tensor:
        """M of `project`, [P, I]; the parameter itself where it is one."""

    @abstractmethod
    def input_blocks(self) -> Sequence[Tensor]:
        """The learned weights of the input, gate by gate, [O, I] each: parts of parameters."""

    @abstractmethod
    def recurrent_blocks(self) -> Sequence[Tensor]:
        """The learned weights of the state, gate by gate, [O, H] each: parts of parameters."""

    def gate_biases(self) -> Sequence[Tensor]:
        """The biases, gate by gate: parts of a parameter; `keep_gate` says what they do."""
        return ()

    @abstractmethod
    def transition(self, linear: Linears) -> Stepper:
        """`step`, with its products with recurrent weights made by `linear`, which is given parameters."""

    def step(self, projected: Tensor, state: State) -> State:
        """One step: [B, P] and a state to the next state, whose first part is the output [B, H]."""
        return self.with_zoneout(self.transition(plain_linear))(projected, state)

    def stepper(self, linear: Linears = DeferredLinear) -> Stepper:
        """`step` for one pass over time, with whatever a pass can prepare or postpone.

        Args:
            linear: Makes the products with recurrent weights; their gradients wait for the end of the
                pass with the one given here.
        """
        return self.with_zoneout(self.transition(lambda weight: linear(self.dropped(weight))))

    def with_zoneout(self, advance: Stepper) -> Stepper:
        """A transition after which zoneout keeps some of what was."""
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
        """The mean of parts of a state that stay as they were with a probability."""
        return [torch.lerp(moved, stayed, kept) for stayed, moved in zip(before, after, strict=True)]

    def fused(self) -> Fused | None:
        """The library kernel (oneDNN, cuDNN) that runs all steps with the same parameters, or None."""
        return None


class TableCell(Cell):
    """A cell that stands in the table by itself: its size is a formula."""

    @staticmethod
    @abstractmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """How many numbers are learned."""


class AffineCell(TableCell):
    """A cell whose input goes through one weight W [P, I], perhaps with a bias.

    Args:
        inputs: Width I of an input.
        hidden: Width H of the output.
        rows: Heights of the blocks of W, a gate each; every block starts Glorot-uniform.
        biased: The first so many rows of W have a bias, which starts at 0; None = all.
        options: See `Cell`.
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
        """W x + b, [..., P]."""
        unbiased = len(self.input_weight) - len(self.bias)
        return functional.linear(inputs, self.input_weight, functional.pad(self.bias, (0, unbiased)))

    def input_map(self) -> Tensor:
        """W."""
        return self.input_weight

    def input_blocks(self) -> Sequence[Tensor]:
        """Of W."""
        return torch.split(self.input_weight, self.gate_width)

    def recurrent_blocks(self) -> Sequence[Tensor]:
        """Of what the cell has of `RECURRENT`."""
        weights = [getattr(self, name) for name in RECURRENT if hasattr(self, name)]
        return [block for weight in weights for block in torch.split(weight, self.gate_width)]

    def gate_biases(self) -> Sequence[Tensor]:
        """Of b."""
        return torch.split(self.bias, self.gate_width)


class ScanCell(Cell):
    """A cell whose recurrence goes unit by unit, without a matrix, so that all steps can be run at once."""

    linear: ClassVar[bool] = True  # False: gates see the state, so even a GPU has to go step by step

    def gathered(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """What `scan` reads of all inputs [B, T, I], and what of the last state is known without it."""
        return self.project(inputs), ()

    @abstractmethod
    def scan(self, gathered: Tensor, state: State) -> tuple[Tensor, State]:
        """All steps: [B, T, ...] and a state to outputs [B, T, H] and the state after the last."""

    @abstractmethod
    def advance(self, projected: Tensor, state: State) -> State:
        """The transition; there is no product to make."""

    def recurrent_blocks(self) -> list[Tensor]:
        """None."""
        return []

    def transition(self, linear: Linears) -> Stepper:
        """`advance`, in full precision; there is no product to make."""
        return lambda projected, state: self.advance(at_least_float32(projected), state)


def plain_linear(weight: Tensor) -> Linear:
    """`x -> x W^T`."""
    return partial(functional.linear, weight=weight)


def glorot(outputs: int, inputs: int) -> Tensor:
    """Uniform with the variance of Glorot and Bengio 2010, [O, I]."""
    return nn.init.xavier_uniform_(torch.empty(outputs, inputs))


def glorot_blocks(rows: Sequence[int], inputs: int) -> nn.Parameter:
    """An input weight of blocks of these heights [O, I] each, every one as `glorot` makes it."""
    weight = torch.empty(sum(rows), inputs)
    for block in torch.split(weight, list(rows)):
        nn.init.xavier_uniform_(block)
    return nn.Parameter(weight)


def orthogonal(gates: int, outputs: int, inputs: int | None = None) -> nn.Parameter:
    """A recurrent weight of so many blocks [O, I], each orthogonal (Saxe et al. 2014); I = O if not given."""
    weight = torch.empty(gates * outputs, outputs if inputs is None else inputs)
    for block in torch.split(weight, outputs):
        nn.init.orthogonal_(block)
    return nn.Parameter(weight)


def noised(values: Tensor, noise: Tensor | None) -> Tensor:
    """values * noise; None = 1."""
    return values if noise is None else values * noise


def _chosen(before: Sequence[Tensor], after: Sequence[Tensor], kept: float) -> Sequence[Tensor]:
    """Each unit as it was with a probability; all parts by the same draw."""
    stays = torch.empty_like(after[0]).bernoulli_(kept).bool()
    return [torch.where(stays, stayed, moved) for stayed, moved in zip(before, after, strict=True)]
