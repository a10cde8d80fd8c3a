"""The elementwise parts of a step, in few passes over memory, with derivatives written by hand.

A step of a recurrence has two or three small matrix products, and the operations that autograd would record
for the elementwise functions between them take as long as the products. So these functions have derivatives
written by hand. torch.compile, which derives its own, is given the equations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from seqtool.nn.cells.cell import noised

sigmoid_backward = torch.ops.aten.sigmoid_backward
tanh_backward = torch.ops.aten.tanh_backward


MINUS_ONE = torch.tensor(-1.0)


def tanh(values: Tensor, out: Tensor | None = None) -> Tensor:
    """tanh, on a CPU as 2 sigmoid(2x) - 1, since on some processors sigmoid takes a sixth of the time.

    This is accurate to 1e-7, the resolution of float32; float64 uses the library's own tanh.

    Args:
        values: Values of any shape.
        out: Tensor for the result, which may be `values`; None = a new tensor.
    """
    if values.device.type != "cpu" or values.dtype == torch.float64:
        return torch.tanh(values, out=out)
    halves = torch.add(values, values, out=out).sigmoid_()
    return torch.add(MINUS_ONE, halves, alpha=2, out=halves)


class MemoryRule(ABC):
    """How much of its memory an LSTM keeps, and how much of the candidate it writes."""

    gates: int  # number of sigmoid gates of the rule

    @abstractmethod
    def weights(self, opened: Tensor) -> tuple[Tensor | None, Tensor]:
        """The weights of keeping and writing.

        Args:
            opened: Gates after the sigmoid, [B, gates x H].

        Returns:
            keep, [B, H], None = 1 everywhere; write, [B, H].
        """

    @abstractmethod
    def backward(self, d_keep: Tensor, d_write: Tensor, opened: Tensor, d_opened: Tensor) -> None:
        """The derivative of `weights`.

        Args:
            d_keep: Gradient of keep, [B, H].
            d_write: Gradient of write, [B, H].
            opened: Gates after the sigmoid, [B, gates x H].
            d_opened: Filled with the gradient of `opened`, [B, gates x H].
        """


class ForgetRule(MemoryRule):
    """Input gate and forget gate (Gers et al. 2000)."""

    gates = 2

    def weights(self, opened: Tensor) -> tuple[Tensor | None, Tensor]:
        """keep = f, write = i."""
        write, keep = opened.chunk(2, 1)
        return keep, write

    def backward(self, d_keep: Tensor, d_write: Tensor, opened: Tensor, d_opened: Tensor) -> None:
        """The gradients of i and f, concatenated."""
        torch.cat([d_write, d_keep], 1, out=d_opened)


class KeepAllRule(MemoryRule):
    """An input gate only; nothing is forgotten (Hochreiter and Schmidhuber 1997)."""

    gates = 1

    def weights(self, opened: Tensor) -> tuple[Tensor | None, Tensor]:
        """keep = 1, write = i."""
        return None, opened

    def backward(self, d_keep: Tensor, d_write: Tensor, opened: Tensor, d_opened: Tensor) -> None:
        """The gradient of i."""
        d_opened.copy_(d_write)


class CoupledRule(MemoryRule):
    """One gate: as much is written as is forgotten (Greff et al. 2017)."""

    gates = 1

    def weights(self, opened: Tensor) -> tuple[Tensor | None, Tensor]:
        """keep = f, write = 1 - f."""
        return opened, 1 - opened

    def backward(self, d_keep: Tensor, d_write: Tensor, opened: Tensor, d_opened: Tensor) -> None:
        """The gradient of f: that of keep minus that of write."""
        torch.sub(d_keep, d_write, out=d_opened)


class CappedRule(MemoryRule):
    """Two gates; at most as much is written as is forgotten."""

    gates = 2

    def weights(self, opened: Tensor) -> tuple[Tensor | None, Tensor]:
        """keep = f, write = min(1 - f, i)."""
        write, keep = opened.chunk(2, 1)
        return keep, torch.minimum(1 - keep, write)

    def backward(self, d_keep: Tensor, d_write: Tensor, opened: Tensor, d_opened: Tensor) -> None:
        """The gradients of i and f; that of the minimum goes to the smaller of its two arguments."""
        write, keep = opened.chunk(2, 1)
        free = d_write.masked_fill(write > 1 - keep, 0.0)  # gradient of i: 0 where the cap is in force
        torch.cat([free, d_keep - (d_write - free)], 1, out=d_opened)


FORGET = ForgetRule()


def remember(gates: Tensor, memory: Tensor, rule: MemoryRule, noise: Tensor | None = None) -> Tensor:
    """c_t = keep * c_{t-1} + write * d * tanh(g), with keep and write from the rule.

    Args:
        gates: The rule's gates before the sigmoid, then the candidate g before tanh, [B, (gates + 1) x H].
        memory: c_{t-1}, [B, H].
        rule: Rule that computes keep and write from the gates.
        noise: Factor d of the candidate, [B, H]; None = 1.

    Returns:
        c_t, [B, H].
    """
    if torch.compiler.is_compiling():
        split = rule.gates * memory.shape[1]
        keep, write = rule.weights(gates[:, :split].sigmoid())
        written = noised(gates[:, split:].tanh(), noise)
        return (memory if keep is None else keep * memory) + write * written
    following: Tensor = _Remember.apply(gates, memory, rule, noise)  # type: ignore[no-untyped-call]
    return following


class _Remember(Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, memory: Tensor, rule: MemoryRule, noise: Tensor | None) -> Tensor:
        split = rule.gates * memory.shape[1]
        opened, candidate = gates[:, :split].sigmoid(), tanh(gates[:, split:])
        keep, write = rule.weights(opened)
        ctx.rule = rule
        ctx.save_for_backward(opened, candidate, memory, noise)
        written = noised(candidate, noise)
        return torch.addcmul(memory if keep is None else keep * memory, write, written)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        opened, candidate, memory, noise = ctx.saved_tensors
        keep, write = ctx.rule.weights(opened)
        split = opened.shape[1]
        d_gates = opened.new_empty(len(opened), split + memory.shape[1])  # [B, (gates + 1) x H]
        d_opened, d_candidate = d_gates[:, :split], d_gates[:, split:]  # views, [B, gates x H] and [B, H]
        of_written = noised(gradient, noise)
        ctx.rule.backward(gradient * memory, of_written * candidate, opened, d_opened)
        sigmoid_backward.grad_input(d_opened, opened, grad_input=d_opened)
        torch.mul(of_written, write, out=d_candidate)
        tanh_backward.grad_input(d_candidate, candidate, grad_input=d_candidate)
        return d_gates, gradient if keep is None else gradient * keep, None, None


def gated(gate: Tensor, values: Tensor) -> Tensor:
    """sigmoid(gate) * values, [B, H] each."""
    if torch.compiler.is_compiling():
        return gate.sigmoid() * values
    result: Tensor = _Gated.apply(gate, values)  # type: ignore[no-untyped-call]
    return result


class _Gated(Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, values: Tensor) -> Tensor:
        opened = gate.sigmoid()
        ctx.save_for_backward(opened, values)
        return opened * values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        opened, values = ctx.saved_tensors
        return sigmoid_backward(gradient * values, opened), gradient * opened


def exposed(gate: Tensor, memory: Tensor) -> Tensor:
    """sigmoid(gate) * tanh(memory), [B, H] each: the output of an LSTM."""
    if torch.compiler.is_compiling():
        return gate.sigmoid() * memory.tanh()
    result: Tensor = _Exposed.apply(gate, memory)  # type: ignore[no-untyped-call]
    return result


class _Exposed(Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, memory: Tensor) -> Tensor:
        opened, squashed = gate.sigmoid(), tanh(memory)
        ctx.save_for_backward(opened, squashed)
        return opened * squashed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        opened, squashed = ctx.saved_tensors
        d_gate = sigmoid_backward(gradient * squashed, opened)
        return d_gate, tanh_backward(gradient * opened, squashed)


def blended(
    update: Tensor, candidate: Tensor, hidden: Tensor, noise: Tensor | None = None, *, rectified: bool = False
) -> Tensor:
    """h_t = z * h_{t-1} + (1 - z) * d * f(n), with z = sigmoid(update).

    Args:
        update: Update gate before the sigmoid, [B, H].
        candidate: n, [B, H].
        hidden: h_{t-1}, [B, H].
        noise: Factor d of the candidate, [B, H]; None = 1.
        rectified: Whether f is ReLU rather than tanh.

    Returns:
        h_t, [B, H].
    """
    if torch.compiler.is_compiling():
        written = noised(candidate.relu() if rectified else candidate.tanh(), noise)
        return torch.lerp(written, hidden, update.sigmoid())
    following: Tensor = _Blended.apply(  # type: ignore[no-untyped-call]
        update, candidate, hidden, noise, rectified
    )
    return following


class _Blended(Function):
    @staticmethod
    def forward(
        ctx: Any, update: Tensor, candidate: Tensor, hidden: Tensor, noise: Tensor | None, rectified: bool
    ) -> Tensor:
        opened, activated = update.sigmoid(), candidate.relu() if rectified else tanh(candidate)
        ctx.rectified = rectified
        ctx.save_for_backward(opened, activated, hidden, noise)
        return torch.lerp(noised(activated, noise), hidden, opened)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        opened, activated, hidden, noise = ctx.saved_tensors
        written = noised(activated, noise)
        d_hidden = gradient * opened
        d_update = sigmoid_backward((hidden - written).mul_(gradient), opened)
        d_activated = gradient - d_hidden
        if noise is not None:
            d_activated *= noise
        if ctx.rectified:
            return d_update, d_activated.masked_fill_(activated == 0, 0.0), d_hidden, None, None
        return d_update, tanh_backward(d_activated, activated), d_hidden, None, None


def reset_blended(
    gates: Tensor, candidate: Tensor, recalled: Tensor, hidden: Tensor, noise: Tensor | None = None
) -> Tensor:
    """h_t = z * h_{t-1} + (1 - z) * d * tanh(n + r * n'), with r, z = sigmoid(gates).

    Args:
        gates: Reset gate and update gate before the sigmoid, [B, 2H].
        candidate: n, the input half of the candidate, [B, H].
        recalled: n', the recurrent half of the candidate, [B, H].
        hidden: h_{t-1}, [B, H].
        noise: Factor d of the candidate, [B, H]; None = 1.

    Returns:
        h_t, [B, H].
    """
    if torch.compiler.is_compiling():
        reset, update = gates.chunk(2, 1)
        return blended(update, candidate + gated(reset, recalled), hidden, noise)
    following: Tensor = _ResetBlended.apply(  # type: ignore[no-untyped-call]
        gates, candidate, recalled, hidden, noise
    )
    return following


class _ResetBlended(Function):
    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, candidate: Tensor, recalled: Tensor, hidden: Tensor, noise: Tensor | None
    ) -> Tensor:
        return reset_blend(ctx, gates.sigmoid(), candidate, recalled, hidden, noise)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        opened = ctx.saved_tensors[0]
        d_gates = torch.empty_like(opened)
        d_candidate, d_hidden = reset_blend_backward(ctx, gradient, d_gates)
        return d_gates, d_candidate, d_candidate * opened[:, : d_hidden.shape[1]], d_hidden, None


def reset_blend(
    ctx: Any, opened: Tensor, candidate: Tensor, recalled: Tensor, hidden: Tensor, noise: Tensor | None
) -> Tensor:
    """The forward pass of `reset_blended`, from the gates after the sigmoid.

    The layer-normalised GRU has gates and candidate in separate tensors, the standard GRU has them in one.
    Each has an autograd function of its own; the formula and its derivative are shared.

    Args:
        ctx: Context that saves the tensors for `reset_blend_backward`.
        opened: Reset gate and update gate after the sigmoid, [B, 2H].
        candidate: n, [B, H].
        recalled: n', [B, H].
        hidden: h_{t-1}, [B, H].
        noise: Factor d of the candidate, [B, H]; None = 1.

    Returns:
        h_t, [B, H].
    """
    reset, update = opened.chunk(2, 1)
    activated = tanh(torch.addcmul(candidate, reset, recalled))
    ctx.save_for_backward(opened, activated, recalled, hidden, noise)
    return torch.lerp(noised(activated, noise), hidden, update)


def reset_blend_backward(ctx: Any, gradient: Tensor, d_gates: Tensor) -> tuple[Tensor, Tensor]:
    """The backward pass of `reset_blend`.

    Args:
        ctx: Context of the forward pass.
        gradient: Gradient of h_t, [B, H].
        d_gates: Filled with the gradient of the gates before the sigmoid, [B, 2H].

    Returns:
        Gradients of the candidate n and of h_{t-1}, [B, H] each; that of n' is r times the first.
    """
    opened, activated, recalled, hidden, noise = ctx.saved_tensors
    d_reset, d_update = d_gates.chunk(2, 1)  # views, [B, H] each
    d_hidden = gradient * opened[:, hidden.shape[1] :]
    d_candidate = tanh_backward(noised(gradient - d_hidden, noise), activated)
    torch.mul(d_candidate, recalled, out=d_reset)
    torch.mul(gradient, hidden - noised(activated, noise), out=d_update)
    sigmoid_backward.grad_input(d_gates, opened, grad_input=d_gates)
    return d_candidate, d_hidden
