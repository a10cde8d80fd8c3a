"""The long short-term memory (LSTM)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from seqtool.nn.cell_options import PLAIN, CellOptions
from seqtool.nn.cells.cell import Fused, KeepGate, State, Stepper
from seqtool.nn.cells.kernel import KernelCell, half_gradient_is_right, weights_of
from seqtool.nn.cells.transitions import FORGET, exposed, remember, sigmoid_backward, tanh, tanh_backward
from seqtool.nn.deferred import Linears


class LSTMCell(KernelCell):
    """LSTM with forget gates, without peepholes.

    i, f, g, o = W x_t + U h_{t-1} + b (input gate, forget gate, candidate, output gate)
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t)

    The bias of the forget gate starts at 1 (Jozefowicz et al. 2015, section 4).

    Reference: Hochreiter and Schmidhuber 1997; Gers et al. 2000 (forget gate).
    """

    memory = (1,)
    keep_gate = KeepGate(1, input=0)
    gates = (("input gate", "forget gate"), ("output gate",))

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, nn.LSTM(inputs, hidden, batch_first=True), options=options)
        with torch.no_grad():
            weights_of(self.kernel).input_bias[hidden : 2 * hidden] = 1.0

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Two weights and two biases of four gates."""
        return 4 * hidden * (inputs + hidden + 2)

    def project(self, inputs: Tensor) -> Tensor:
        """W x + b, the input half of the four gates, [..., I] -> [..., 4H]."""
        weights = weights_of(self.kernel)
        return functional.linear(inputs, weights.inputs, weights.input_bias + weights.recurrent_bias)

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Widths of hidden state and cell state."""
        return self.hidden, self.hidden

    def transition(self, linear: Linears) -> Stepper:
        """Projected input [B, 4H], (h, c) -> (h, c)."""
        recurrent = linear(weights_of(self.kernel).recurrent)

        def step(projected: Tensor, state: State) -> State:
            return lstm_step(projected, recurrent(state[0]), state[1], self.noise(state[1]))

        return step

    def fused(self) -> Fused | None:
        """torch's LSTM kernel, or None where its gradient is wrong (see `half_gradient_is_right`)."""
        weights = weights_of(self.kernel)
        half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        learning = half and torch.is_grad_enabled() and weights.inputs.device.type == "cpu"
        if learning and not half_gradient_is_right(self.hidden):
            return None
        dropped = [*weights._replace(recurrent=self.dropped(weights.recurrent))]

        def run(inputs: Tensor, state: State) -> tuple[Tensor, State]:
            before = [each[None] for each in state]
            outputs, hidden, memory = torch.lstm(
                inputs, before, dropped, True, 1, 0.0, self.training, False, True
            )
            return outputs, (hidden[0], memory[0])

        return run


def lstm_step(projected: Tensor, recurrent: Tensor, memory: Tensor, noise: Tensor | None = None) -> State:
    """The step of an LSTM after its products.

    Args:
        projected: Input half of i, f, g, o, [B, 4H].
        recurrent: Recurrent half of i, f, g, o, [B, 4H].
        memory: Cell state c_{t-1}, [B, H].
        noise: Factor of the candidate after tanh, [B, H]; None = 1.

    Returns:
        Hidden state h_t and cell state c_t, [B, H] each.
    """
    if torch.compiler.is_compiling():
        # i, f, g [B, 3H] and o [B, H]
        writing, output_gate = torch.split(projected + recurrent, [3 * memory.shape[1], memory.shape[1]], 1)
        memory = remember(writing, memory, FORGET, noise)
        return exposed(output_gate, memory), memory
    following: State = _Transition.apply(projected, recurrent, memory, noise)  # type: ignore[no-untyped-call]
    return following


class _Transition(Function):
    """`lstm_step` in as few passes over memory as possible, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, recurrent: Tensor, memory: Tensor, noise: Tensor | None
    ) -> State:
        width = memory.shape[1]
        gates = projected + recurrent  # i, f, g, o, [B, 4H], to which the functions are applied in place
        gates[:, : 2 * width].sigmoid_()
        tanh(gates[:, 2 * width : 3 * width], out=gates[:, 2 * width : 3 * width])
        gates[:, 3 * width :].sigmoid_()
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, 1)  # [B, H] each
        written = candidate if noise is None else candidate * noise
        following = (forget_gate * memory).addcmul_(input_gate, written)
        squashed = tanh(following)
        ctx.save_for_backward(gates, memory, squashed, noise)
        return output_gate * squashed, following

    @staticmethod
    def backward(ctx: Any, d_hidden: Tensor, d_memory: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        gates, memory, squashed, noise = ctx.saved_tensors
        width = memory.shape[1]
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, 1)
        d_gates = torch.empty_like(gates)  # [B, 4H], filled through the views below
        for_input, for_forget, for_candidate, for_output = d_gates.chunk(4, 1)
        # the gradient of c_t, through h_t and through the next step
        d_following = tanh_backward(d_hidden * output_gate, squashed).add_(d_memory)
        d_written = d_following if noise is None else d_following * noise
        # the gradients of the gates after their functions, then before them
        torch.mul(d_written, candidate, out=for_input)
        torch.mul(d_following, memory, out=for_forget)
        torch.mul(d_written, input_gate, out=for_candidate)
        torch.mul(d_hidden, squashed, out=for_output)
        both = d_gates[:, : 2 * width]
        sigmoid_backward.grad_input(both, gates[:, : 2 * width], grad_input=both)
        tanh_backward.grad_input(for_candidate, candidate, grad_input=for_candidate)
        sigmoid_backward.grad_input(for_output, output_gate, grad_input=for_output)
        return d_gates, d_gates, d_following.mul_(forget_gate), None
