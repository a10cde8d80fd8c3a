"""What every recurrent cell can do: one time step, and the fused kernel that does all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.deferred import DeferredLinear, Linears

State = tuple[Tensor, ...]  # each [B, H]; the first is the output of the step
Fused = Callable[[Tensor, State], tuple[Tensor, State]]  # [B, T, I], State -> [B, T, H], State
Stepper = Callable[[Tensor, State], State]  # [B, P], State -> State


class Cell(nn.Module, ABC):
    """One time step of a recurrent cell; it holds parameters and remembers nothing itself.

    Args:
        inputs: Width I of an input.
        hidden: Width H of the output.
        weight_drop: Probability of leaving out a recurrent weight in training, one choice for all steps
            of a pass, in [0, 1) (Merity et al. 2018, section 2).
    """

    def __init__(self, inputs: int, hidden: int, *, weight_drop: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= weight_drop < 1.0:
            raise ValueError(f"weight drop {weight_drop} is not in [0, 1)")
        self.inputs = inputs
        self.hidden = hidden
        self.weight_drop = weight_drop

    def dropped(self, recurrent: Tensor) -> Tensor:
        """A recurrent weight for one pass over time."""
        if not self.training or not self.weight_drop:
            return recurrent
        return functional.dropout(recurrent, self.weight_drop)

    @abstractmethod
    def project(self, inputs: Tensor) -> Tensor:
        """Whatever does not depend on the state, all steps in one product: [B, T, I] -> [B, T, P]."""

    @abstractmethod
    def initial(self, batch: int, like: Tensor) -> State:
        """The state before the first step, zeros, on the device and of the type of `like`."""

    @abstractmethod
    def step(self, projected: Tensor, state: State) -> State:
        """One step: [B, P] and a state to the next state, whose first part is the output [B, H]."""

    def stepper(self, linear: Linears = DeferredLinear) -> Stepper:
        """`step` for one pass over time, with whatever a pass can prepare or postpone; `step` itself here.

        Args:
            linear: Makes the products with recurrent weights.
        """
        return self.step

    @abstractmethod
    def fused(self) -> Fused | None:
        """The library kernel (oneDNN, cuDNN) that runs all steps with the same parameters, or None."""
