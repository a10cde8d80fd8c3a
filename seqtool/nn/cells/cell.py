"""What every recurrent cell can do: one time step, and the ways to do all of them at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.deferred import DeferredLinear, Linear, Linears

State = tuple[Tensor, ...]  # each [B, ...], float; the first is the output of the step, [B, H]
Fused = Callable[[Tensor, State], tuple[Tensor, State]]  # [B, T, I], State -> [B, T, H], State
Stepper = Callable[[Tensor, State], State]  # [B, P], State -> State


class Cell(nn.Module, ABC):
    """One time step of a recurrent cell; it holds parameters and remembers nothing itself.

    Args:
        inputs: Width I of an input.
        hidden: Width H of the output.
        weight_drop: Probability of leaving out a recurrent weight in training, one choice for all steps
            of a pass, in [0, 1) (Merity et al. 2018, section 2).

    Raises:
        ValueError: the probability is outside its range, or there are no recurrent weights to leave out.
    """

    def __init__(self, inputs: int, hidden: int, *, weight_drop: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= weight_drop < 1.0:
            raise ValueError(f"weight drop {weight_drop} is not in [0, 1)")
        self.inputs = inputs
        self.hidden = hidden
        self.weight_drop = weight_drop

    @staticmethod
    @abstractmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """How many numbers are learned."""

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

    def dropped(self, recurrent: Tensor) -> Tensor:
        """A recurrent weight for one pass over time."""
        if not self.training or not self.weight_drop:
            return recurrent
        return functional.dropout(recurrent, self.weight_drop)

    @abstractmethod
    def project(self, inputs: Tensor) -> Tensor:
        """Whatever does not depend on the state, all steps in one product: [..., I] -> [..., P].

        It is M x + b with the M of `input_map`, so that a decoder can add the share of what it feeds.
        """

    @abstractmethod
    def input_map(self) -> Tensor:
        """M of `project`, [P, I]; the parameter itself where it is one."""

    @abstractmethod
    def transition(self, linear: Linears) -> Stepper:
        """`step`, with its products with recurrent weights made by `linear`, which is given parameters."""

    def step(self, projected: Tensor, state: State) -> State:
        """One step: [B, P] and a state to the next state, whose first part is the output [B, H]."""
        return self.transition(plain_linear)(projected, state)

    def stepper(self, linear: Linears = DeferredLinear) -> Stepper:
        """`step` for one pass over time, with whatever a pass can prepare or postpone.

        Args:
            linear: Makes the products with recurrent weights; their gradients wait for the end of the
                pass with the one given here.
        """
        return self.transition(lambda weight: linear(self.dropped(weight)))

    def fused(self) -> Fused | None:
        """The library kernel (oneDNN, cuDNN) that runs all steps with the same parameters, or None."""
        return None


class AffineCell(Cell):
    """A cell whose input goes through one weight W [P, I], perhaps with a bias.

    Args:
        inputs: Width I of an input.
        hidden: Width H of the output.
        rows: Heights of the blocks of W, a gate each; every block starts Glorot-uniform.
        biased: The first so many rows of W have a bias, which starts at 0; None = all.
        weight_drop: See `Cell`.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        *,
        rows: Sequence[int],
        biased: int | None = None,
        weight_drop: float = 0.0,
    ) -> None:
        super().__init__(inputs, hidden, weight_drop=weight_drop)
        self.input_weight = nn.Parameter(torch.cat([glorot(height, inputs) for height in rows]))
        self.bias = nn.Parameter(torch.zeros(sum(rows) if biased is None else biased))

    def project(self, inputs: Tensor) -> Tensor:
        """W x + b, [..., P]."""
        unbiased = len(self.input_weight) - len(self.bias)
        return functional.linear(inputs, self.input_weight, functional.pad(self.bias, (0, unbiased)))

    def input_map(self) -> Tensor:
        """W."""
        return self.input_weight


class ScanCell(Cell):
    """A cell whose recurrence goes unit by unit, without a matrix, so that all steps can be run at once.

    Args:
        inputs, hidden: See `Cell`.
        weight_drop: 0; there is nothing to leave out.
    """

    def __init__(self, inputs: int, hidden: int, *, weight_drop: float = 0.0) -> None:
        super().__init__(inputs, hidden, weight_drop=weight_drop)
        refuse_weight_drop(weight_drop, "its recurrence goes unit by unit, without a matrix")

    @abstractmethod
    def scan(self, projected: Tensor, state: State) -> tuple[Tensor, State]:
        """All steps: [B, T, P] and a state to outputs [B, T, H] and the state after the last."""

    @abstractmethod
    def step(self, projected: Tensor, state: State) -> State:
        """See `Cell.step`."""

    def transition(self, linear: Linears) -> Stepper:
        """`step`: there is no product to make."""
        return self.step


def plain_linear(weight: Tensor) -> Linear:
    """`x -> x W^T`."""
    return partial(functional.linear, weight=weight)


def glorot(outputs: int, inputs: int) -> Tensor:
    """Uniform with the variance of Glorot and Bengio 2010, [O, I]."""
    return nn.init.xavier_uniform_(torch.empty(outputs, inputs))


def orthogonal(gates: int, outputs: int, inputs: int | None = None) -> nn.Parameter:
    """A recurrent weight of so many blocks [O, I], each orthogonal (Saxe et al. 2014); I = O if not given."""
    width = outputs if inputs is None else inputs
    return nn.Parameter(torch.cat([nn.init.orthogonal_(torch.empty(outputs, width)) for _ in range(gates)]))


def refuse_weight_drop(weight_drop: float, reason: str) -> None:
    """Nothing may be asked for that has no effect."""
    if weight_drop:
        raise ValueError(f"weight drop {weight_drop}: this cell has no recurrent weights to learn, {reason}")
