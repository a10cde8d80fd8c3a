"""One step of every cell in numpy, from the papers: the reference for the cells of the package.

A step takes the stored numbers by name, an input [I] and the parts of a state, and gives the parts of
the next state. Nothing here knows how the package computes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = dict[str, Array]
Step = Callable[[Numbers, Array, list[Array]], list[Array]]


def sigmoid(x: Array) -> Array:
    return np.asarray([1 / (1 + math.exp(-each)) for each in x])


def relu(x: Array) -> Array:
    return np.where(x > 0, x, 0.0)


def blocks(values: Array, count: int) -> list[Array]:
    """Gates, one after the other."""
    return np.split(values, count)


def affine(p: Numbers, x: Array, h: Array) -> Array:
    return p["input_weight"] @ x + p["recurrent_weight"] @ h + p["bias"]


def kernel(p: Numbers, kind: str, values: Array) -> Array:
    """W x + b ("ih") or U h + b ("hh") of a kernel of the library."""
    return p[f"kernel.weight_{kind}_l0"] @ values + p[f"kernel.bias_{kind}_l0"]


def remembered(i: Array, f: Array, g: Array, o: Array, c: Array) -> list[Array]:
    """The memory rule and output of the standard LSTM: h and c."""
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def rnn(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    return [np.tanh(kernel(p, "ih", x) + kernel(p, "hh", state[0]))]


def irnn(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    return [relu(kernel(p, "ih", x) + kernel(p, "hh", state[0]))]


def lstm(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    h, c = state
    return remembered(*blocks(kernel(p, "ih", x) + kernel(p, "hh", h), 4), c)


def lstm_no_forget(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    h, c = state
    i, g, o = blocks(affine(p, x, h), 3)
    c = c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def coupled_lstm(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    h, c = state
    f, g, o = blocks(affine(p, x, h), 3)
    c = sigmoid(f) * c + (1 - sigmoid(f)) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def capped_lstm(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    h, c = state
    i, f, g, o = blocks(affine(p, x, h), 4)
    c = sigmoid(f) * c + np.minimum(1 - sigmoid(f), sigmoid(i)) * np.tanh(g)
    return [sigmoid(o) * np.tanh(c), c]


def peephole_lstm(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    h, c = state
    i, f, g, o = blocks(affine(p, x, h), 4)
    to_input, to_forget, to_output = p["peepholes"]
    c_next = sigmoid(f + to_forget * c) * c + sigmoid(i + to_input * c) * np.tanh(g)
    return [sigmoid(o + to_output * c_next) * np.tanh(c_next), c_next]


def projected_lstm(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    r, c = state
    m, c = remembered(*blocks(affine(p, x, r), 4), c)
    return [p["output_weight"] @ m, c]


def multiplicative_lstm(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    h, c = state
    width = len(h)
    own, middle = p["input_weight"][: 4 * width], p["input_weight"][4 * width :]
    m = (middle @ x) * (p["middle_weight"] @ h)
    return remembered(*blocks(own @ x + p["recurrent_weight"] @ m + p["bias"], 4), c)


def mogrifier_lstm(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    h, c = state
    x = 2 * sigmoid(p["rounds.0"] @ h) * x
    h = 2 * sigmoid(p["rounds.1"] @ x) * h
    x = 2 * sigmoid(p["rounds.2"] @ h) * x
    h = 2 * sigmoid(p["rounds.3"] @ x) * h
    x = 2 * sigmoid(p["rounds.4"] @ h) * x
    return remembered(*blocks(affine(p, x, h), 4), c)


def layer_norm(values: Array, gain: Array) -> Array:
    mean = sum(values) / len(values)
    variance = sum((values - mean) ** 2) / len(values)
    return gain * (values - mean) / math.sqrt(variance + 1e-5)


def layernorm_lstm(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    h, c = state
    own = layer_norm(p["input_weight"] @ x, p["input_gain"])
    i, f, g, o = blocks(own + layer_norm(p["recurrent_weight"] @ h, p["recurrent_gain"]) + p["bias"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(layer_norm(c, p["memory_gain"]) + p["memory_bias"]), c]


def batchnorm_lstm(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    """In evaluation."""
    h, c, steps = state
    number = min(int(steps[0]), 99)

    def norm(name: str, values: Array) -> Array:
        mean, variance = p[f"{name}.running_mean"][number], p[f"{name}.running_variance"][number]
        return p[f"{name}.gain"] * (values - mean) / np.sqrt(variance + 1e-5)

    gates = norm("input_norm", p["input_weight"] @ x) + norm("recurrent_norm", p["recurrent_weight"] @ h)
    i, f, g, o = blocks(gates + p["bias"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return [sigmoid(o) * np.tanh(norm("memory_norm", c) + p["memory_bias"]), c, steps + 1]


def slstm(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    """Without the stabiliser: what it keeps in range is divided out again."""
    h, c, n, m = state
    i, f, g, o = blocks(affine(p, x, h), 4)
    scale = np.exp(m)  # c and n stand for c exp(m) and n exp(m)
    memory = sigmoid(f) * c * scale + np.exp(i) * np.tanh(g)
    normaliser = sigmoid(f) * n * scale + np.exp(i)
    m = np.maximum(np.log(sigmoid(f)) + m, i)
    return [sigmoid(o) * memory / normaliser, memory / np.exp(m), normaliser / np.exp(m), m]


def minlstm(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    f, i, n = blocks(p["input_weight"] @ x + p["bias"], 3)
    total = sigmoid(f) + sigmoid(i)
    return [sigmoid(f) / total * state[0] + sigmoid(i) / total * n]


def gru(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    (h,) = state
    (r, z, n), (r_again, z_again, n_again) = blocks(kernel(p, "ih", x), 3), blocks(kernel(p, "hh", h), 3)
    z = sigmoid(z + z_again)
    return [(1 - z) * np.tanh(n + sigmoid(r + r_again) * n_again) + z * h]


def gru_original(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    (h,) = state
    r, z, n = blocks(p["input_weight"] @ x + p["bias"], 3)
    r_again, z_again = blocks(p["recurrent_weight"] @ h, 2)
    z = sigmoid(z + z_again)
    return [z * h + (1 - z) * np.tanh(n + p["candidate_weight"] @ (sigmoid(r + r_again) * h))]


def layernorm_gru(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    (h,) = state
    width = len(h)

    def norms(weight: str, gain: str, values: Array) -> tuple[Array, Array]:
        product = p[weight] @ values
        gates = layer_norm(product[: 2 * width], p[gain][: 2 * width])
        return gates, layer_norm(product[2 * width :], p[gain][2 * width :])

    gates, candidate = norms("input_weight", "input_gain", x)
    again, recalled = norms("recurrent_weight", "recurrent_gain", h)
    r, z = blocks(gates + again + p["bias"][: 2 * width], 2)
    candidate = candidate + p["bias"][2 * width :] + sigmoid(r) * (recalled + p["candidate_bias"])
    return [sigmoid(z) * h + (1 - sigmoid(z)) * np.tanh(candidate)]


def light_gru(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    """In evaluation."""
    (h,) = state
    normal = (p["input_weight"] @ x - p["norm.running_mean"][0]) / np.sqrt(
        p["norm.running_variance"][0] + 1e-5
    )
    z, n = blocks(p["norm.gain"] * normal + p["bias"] + p["recurrent_weight"] @ h, 2)
    return [sigmoid(z) * h + (1 - sigmoid(z)) * relu(n)]


def mgu(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    (h,) = state
    f, n = blocks(p["input_weight"] @ x + p["bias"], 2)
    f = sigmoid(f + p["recurrent_weight"] @ h)
    return [(1 - f) * h + f * np.tanh(n + p["candidate_weight"] @ (f * h))]


def mingru(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    z, n = blocks(p["input_weight"] @ x + p["bias"], 2)
    return [(1 - sigmoid(z)) * state[0] + sigmoid(z) * n]


def sru(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    _, c = state
    width = len(c)
    f, r, w, *passed = blocks(p["input_weight"] @ x, len(p["input_weight"]) // width)
    f = sigmoid(f + p["bias"][:width] + p["peepholes"][0] * c)
    r = sigmoid(r + p["bias"][width:] + p["peepholes"][1] * c)
    c = f * c + (1 - f) * w
    return [r * c + (1 - r) * math.sqrt(3) * (passed[0] if passed else x), c]


def qrnn(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    _, c, before = state
    width = len(c)
    own, of_the_next = p["input_weight"][: 3 * width], p["input_weight"][3 * width :]
    z, f, o = blocks(own @ x + before + p["bias"], 3)
    c = sigmoid(f) * c + (1 - sigmoid(f)) * np.tanh(z)
    return [sigmoid(o) * c, c, of_the_next @ x]


def qrnn1(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    z, f, o = blocks(p["input_weight"] @ x + p["bias"], 3)
    c = sigmoid(f) * state[1] + (1 - sigmoid(f)) * np.tanh(z)
    return [sigmoid(o) * c, c]


def echo_state(p: Numbers, x: Array, state: list[Array]) -> list[Array]:
    return [np.tanh(p["input_weight"] @ x + p["recurrent_weight"] @ state[0])]


EQUATIONS: dict[str, Step] = {
    step.__name__: step
    for step in (
        rnn, irnn, lstm, lstm_no_forget, coupled_lstm, capped_lstm, peephole_lstm, projected_lstm,
        multiplicative_lstm, mogrifier_lstm, layernorm_lstm, batchnorm_lstm, slstm, minlstm, gru,
        gru_original, layernorm_gru, light_gru, mgu, mingru, sru, qrnn, qrnn1, echo_state,
    )
}  # fmt: skip
