"""What every recurrent cell can do: one time step, and the fused kernel that does all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from seqtool.nn.deferred import DeferredLinear, Linears

State = tuple[Tensor, ...]  # each [B, H]; the first is the output of the step
Fused = Callable[[Tensor, State], tuple[Tensor, State]]  # [B, T, I], State -> [B, T, H], State
Stepper = Callable[[Tensor, State], State]  # [B, P], State -> State


class Cell(nn.Module, ABC):
    """One time step of a recurrent cell; it holds parameters and remembers nothing itself.

    Args:
        inputs: Width I of an input.
        hidden: Width H of the output.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.hidden = hidden

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
