"""Elementwise recurrences (scans), with derivatives written by hand.

The derivative of h_t = a_t * h_{t-1} + b_t is the same scan in reverse. With G_t the total gradient of h_t,
and d_t its gradient from the output of step t alone, G_{t-1} = a_t * G_t + d_{t-1}; the gradient of b_t is
G_t and that of a_t is G_t * h_{t-1}.

On a CPU a scan runs step by step, with one operation per step, in place, which is the least work. A GPU would
wait for the launch of each operation, so there steps are combined in pairs, then fours, then eights (Hillis
and Steele 1986, "Data parallel algorithms"): log2 T rounds, each over all steps at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from seqtool.nn.cells.transitions import tanh


def linear_scan(factors: Tensor, terms: Tensor, start: Tensor) -> Tensor:
    """h_t = a_t * h_{t-1} + b_t for all t.

    Args:
        factors: a_1 to a_T, [B, T, H].
        terms: b_1 to b_T, [B, T, H].
        start: h_0, [B, H].

    Returns:
        h_1 to h_T, [B, T, H].
    """
    result: Tensor = _Scan.apply(factors, terms, start)  # type: ignore[no-untyped-call]
    return result


class _Scan(Function):
    """`linear_scan` and its derivative."""

    @staticmethod
    def forward(ctx: Any, factors: Tensor, terms: Tensor, start: Tensor) -> Tensor:
        result = torch.empty_like(terms)
        if in_parallel(terms):
            joined(factors, terms, start, out=result)
        else:
            before = start
            # [B, H] each
            for factor, term, after in zip(factors.unbind(1), terms.unbind(1), result.unbind(1), strict=True):
                before = torch.addcmul(term, factor, before, out=after)
        ctx.save_for_backward(factors, result, start)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        factors, result, start = ctx.saved_tensors
        whole = gradient.clone(memory_format=torch.contiguous_format)  # [B, T, H]
        _accumulate(factors, whole)
        return whole * shifted(result, start), whole, factors[:, 0] * whole[:, 0]


def gated_scan(gates: Tensor, peephole: Tensor, candidates: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """c_t = f_t * c_{t-1} + (1 - f_t) * w_t with f_t = sigmoid(u_t + v * c_{t-1}), for all t.

    Args:
        gates: u_1 to u_T, [B, T, H].
        peephole: v, [H].
        candidates: w_1 to w_T, [B, T, H].
        start: c_0, [B, H].

    Returns:
        c_1 to c_T and c_0 to c_{T-1}, [B, T, H] each.
    """
    result: Tensor = _GatedScan.apply(gates, peephole, candidates, start)  # type: ignore[no-untyped-call]
    return result, shifted(result, start)


class _GatedScan(Function):
    """`gated_scan` and its derivative; a gate depends on the step before, so steps cannot be combined."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, peephole: Tensor, candidates: Tensor, start: Tensor) -> Tensor:
        opened, result = torch.empty_like(gates), torch.empty_like(gates)
        before = start
        # [B, H] each
        for gate, candidate, forget, after in zip(
            gates.unbind(1), candidates.unbind(1), opened.unbind(1), result.unbind(1), strict=True
        ):
            torch.addcmul(gate, peephole, before, out=forget).sigmoid_()
            before = torch.lerp(candidate, before, forget, out=after)
        ctx.save_for_backward(opened, result, peephole, candidates, start)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        opened, result, peephole, candidates, start = ctx.saved_tensors
        before = shifted(result, start)  # c_0 to c_{T-1}, [B, T, H]
        # d c_t / d u_t, then d c_t / d c_{t-1}: the gate itself, and through the gate's peephole.
        slope = torch.ops.aten.sigmoid_backward(before - candidates, opened)
        factors = torch.addcmul(opened, slope, peephole)
        whole = gradient.clone(memory_format=torch.contiguous_format)  # [B, T, H]
        _accumulate(factors, whole)
        d_gates = slope.mul_(whole)
        d_peephole = (d_gates * before).sum((0, 1))  # [H]
        return d_gates, d_peephole, whole - whole * opened, factors[:, 0] * whole[:, 0]


def pooled(gates: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """c_t = f_t * c_{t-1} + (1 - f_t) * z_t; h_t = o_t * c_t, for all t.

    Args:
        gates: z, f and o before tanh and the sigmoids, concatenated, [B, T, 3H].
        start: c_0, [B, H].

    Returns:
        h_1 to h_T and c_1 to c_T, [B, T, H] each.
    """
    result: tuple[Tensor, Tensor] = _Pooled.apply(gates, start)  # type: ignore[no-untyped-call]
    return result


class _Pooled(Function):
    """`pooled` and its derivative.

    The activation functions are part of it, because tensors of all steps are large and each pass over one
    takes time.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        width = start.shape[1]
        opened = gates.clone(memory_format=torch.contiguous_format)
        tanh(opened[..., :width], out=opened[..., :width])
        opened[..., width:].sigmoid_()
        candidate, forget_gate, output_gate = opened.chunk(3, 2)  # [B, T, H] each
        memory = torch.empty_like(candidate, memory_format=torch.contiguous_format)
        if in_parallel(memory):
            joined(forget_gate, candidate - forget_gate * candidate, start, out=memory)
        else:
            before = start
            # [B, H] each
            for new, forget, after in zip(
                candidate.unbind(1), forget_gate.unbind(1), memory.unbind(1), strict=True
            ):
                before = torch.lerp(new, before, forget, out=after)
        ctx.save_for_backward(opened, memory, start)
        return output_gate * memory, memory

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor, d_memory: Tensor) -> tuple[Tensor, Tensor]:
        opened, memory, start = ctx.saved_tensors
        candidate, forget_gate, output_gate = opened.chunk(3, 2)
        d_gates = torch.empty_like(opened)  # [B, T, 3H], filled through the views below
        for_candidate, for_forget, for_output = d_gates.chunk(3, 2)
        whole = torch.addcmul(d_memory, d_outputs, output_gate)  # total gradient of c, [B, T, H]
        _accumulate(forget_gate, whole)
        torch.mul(d_outputs, memory, out=for_output)
        # d c_t / d f_t = c_{t-1} - z_t
        torch.sub(memory[:, :-1], candidate[:, 1:], out=for_forget[:, 1:])
        torch.sub(start, candidate[:, 0], out=for_forget[:, 0])
        for_forget.mul_(whole)
        torch.addcmul(whole, whole, forget_gate, value=-1, out=for_candidate)
        torch.ops.aten.tanh_backward.grad_input(for_candidate, candidate, grad_input=for_candidate)
        both, sigmoids = d_gates[..., start.shape[1] :], opened[..., start.shape[1] :]
        torch.ops.aten.sigmoid_backward.grad_input(both, sigmoids, grad_input=both)
        return d_gates, forget_gate[:, 0] * whole[:, 0]


def _accumulate(factors: Tensor, gradient: Tensor) -> None:
    """Turn the gradient from each step's output into the total gradient of each step, in place, in reverse.

    Args:
        factors: d h_t / d h_{t-1}, [B, T, H].
        gradient: Gradient from the outputs, overwritten by the total gradient, [B, T, H].
    """
    if in_parallel(gradient):
        # In reversed time, the factor of a step is that of the step after it.
        ahead = torch.cat([factors[:, 1:], torch.zeros_like(factors[:, :1])], 1).flip(1)
        none = torch.zeros_like(gradient[:, 0])
        gradient.copy_(joined(ahead, gradient.flip(1), none, out=torch.empty_like(gradient)).flip(1))
        return
    steps = gradient.unbind(1)
    for factor, after, before in zip(
        reversed(factors.unbind(1)), reversed(steps), reversed(steps[:-1]), strict=False
    ):
        before.addcmul_(factor, after)


def in_parallel(values: Tensor) -> bool:
    """Whether to combine steps in rounds rather than running them one after the other."""
    return values.device.type != "cpu"


def joined(factors: Tensor, terms: Tensor, start: Tensor, *, out: Tensor) -> Tensor:
    """`linear_scan` into `out`, in log2 T rounds.

    After round n each step combines 2^n steps: h_t = (product of their a) * h_{t - 2^n} + out_t.
    """
    out.copy_(terms)
    out[:, 0].addcmul_(factors[:, 0], start)
    through, reach = factors.clone(), 1  # the product of a over `reach` steps, [B, T, H]
    while reach < out.shape[1]:
        out[:, reach:] = torch.addcmul(out[:, reach:], through[:, reach:], out[:, :-reach])
        through[:, reach:] = through[:, reach:] * through[:, :-reach]
        reach *= 2
    return out


def shifted(values: Tensor, start: Tensor) -> Tensor:
    """The value before each step: `start` [B, H], then all `values` [B, T, H] but the last; [B, T, H]."""
    return torch.cat([start[:, None], values[:, :-1]], 1)
