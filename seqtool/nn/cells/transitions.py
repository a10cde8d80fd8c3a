"""What stands between the products of a step, in few passes over memory in both directions.

A step of a recurrence is two or three small products; what autograd would record for the functions
between them takes as long as they do. These have their derivatives written by hand; torch.compile,
which finds its own, is given the equations.
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
    """tanh; on a CPU as 2 sigmoid(2x) - 1, since some processors' sigmoid takes a sixth of the time.

    That is right to 1e-7, which is what float32 has; float64 is for exactness, and has the library's own.

    Args:
        values: Any shape.
        out: Where to put it, which may be `values`; None = somewhere new.
    """
    if values.device.type != "cpu" or values.dtype == torch.float64:
        return torch.tanh(values, out=out)
    halves = torch.add(values, values, out=out).sigmoid_()
    return torch.add(MINUS_ONE, halves, alpha=2, out=halves)


class MemoryRule(ABC):
    """How much of its memory an LSTM keeps and how much of the candidate it writes."""

    gates: int  # how many sigmoid gates decide it

    @abstractmethod
    def weights(self, opened: Tensor) -> tuple[Tensor | None, Tensor]:
        """Gates after the sigmoid, [B, gates x H], to what keeps (None = all) and what writes, [B, H]."""

    @abstractmethod
    def backward(self, d_keep: Tensor, d_write: Tensor, opened: Tensor, d_opened: Tensor) -> None:
        """Put the gradient of the gates after the sigmoid into `d_opened`, from those of the weights."""


class ForgetRule(MemoryRule):
    """Input gate and forget gate (Gers et al. 2000)."""

    gates = 2

    def weights(self, opened: Tensor) -> tuple[Tensor | None, Tensor]:
        """f, i."""
        write, keep = opened.chunk(2, 1)
        return keep, write

    def backward(self, d_keep: Tensor, d_write: Tensor, opened: Tensor, d_opened: Tensor) -> None:
        """Side by side."""
        torch.cat([d_write, d_keep], 1, out=d_opened)


class KeepAllRule(MemoryRule):
    """An input gate, and nothing is forgotten (Hochreiter and Schmidhuber 1997)."""

    gates = 1

    def weights(self, opened: Tensor) -> tuple[Tensor | None, Tensor]:
        """1, i."""
        return None, opened

    def backward(self, d_keep: Tensor, d_write: Tensor, opened: Tensor, d_opened: Tensor) -> None:
        """That of the input gate."""
        d_opened.copy_(d_write)


class CoupledRule(MemoryRule):
    """What is forgotten makes room for what is written (Greff et al. 2017)."""

    gates = 1

    def weights(self, opened: Tensor) -> tuple[Tensor | None, Tensor]:
        """f, 1 - f."""
        return opened, 1 - opened

    def backward(self, d_keep: Tensor, d_write: Tensor, opened: Tensor, d_opened: Tensor) -> None:
        """The difference."""
        torch.sub(d_keep, d_write, out=d_opened)


class CappedRule(MemoryRule):
    """Two gates, and no more is written than has been forgotten."""

    gates = 2

    def weights(self, opened: Tensor) -> tuple[Tensor | None, Tensor]:
        """f, min(1 - f, i)."""
        write, keep = opened.chunk(2, 1)
        return keep, torch.minimum(1 - keep, write)

    def backward(self, d_keep: Tensor, d_write: Tensor, opened: Tensor, d_opened: Tensor) -> None:
        """That of the minimum goes to the smaller."""
        write, keep = opened.chunk(2, 1)
        free = d_write.masked_fill(write > 1 - keep, 0.0)
        torch.cat([free, d_keep - (d_write - free)], 1, out=d_opened)


FORGET = ForgetRule()


def remember(gates: Tensor, memory: Tensor, rule: MemoryRule, noise: Tensor | None = None) -> Tensor:
    """c_t = keep * c_{t-1} + write * d * tanh(g), with keep and write as the rule has them.

    Args:
        gates: Before their functions: those of the rule, then the candidate g, [B, (gates + 1) x H].
        memory: c_{t-1}, [B, H].
        rule: What the gates mean.
        noise: d, [B, H]; None = 1.
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
        d_gates = opened.new_empty(len(opened), split + memory.shape[1])
        d_opened, d_candidate = d_gates[:, :split], d_gates[:, split:]
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
    """sigmoid(gate) * tanh(memory), [B, H] each: what an LSTM shows of its memory."""
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
        update: Before the sigmoid, [B, H].
        candidate: n, [B, H].
        hidden: h_{t-1}, [B, H].
        noise: d, [B, H]; None = 1.
        rectified: f is max(0, n) rather than tanh.
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
        gates: Before the sigmoid, reset gate and update gate, [B, 2H].
        candidate: n, [B, H].
        recalled: n', [B, H].
        hidden: h_{t-1}, [B, H].
        noise: d, [B, H]; None = 1.
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
        opened = gates.sigmoid()
        reset, update = opened.chunk(2, 1)
        activated = tanh(torch.addcmul(candidate, reset, recalled))
        ctx.save_for_backward(opened, activated, recalled, hidden, noise)
        return torch.lerp(noised(activated, noise), hidden, update)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        opened, activated, recalled, hidden, noise = ctx.saved_tensors
        reset, update = opened.chunk(2, 1)
        d_hidden = gradient * update
        d_candidate = tanh_backward(noised(gradient - d_hidden, noise), activated)
        d_gates = torch.empty_like(opened)
        d_reset, d_update = d_gates.chunk(2, 1)
        torch.mul(d_candidate, recalled, out=d_reset)
        torch.mul(gradient, hidden - noised(activated, noise), out=d_update)
        sigmoid_backward.grad_input(d_gates, opened, grad_input=d_gates)
        return d_gates, d_candidate, d_candidate * reset, d_hidden, None
