"""Sampling text from a language model: many streams at once, each independent of the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seqtool.decoding.randomness import gumbel
from seqtool.decoding.sampling import BLOCK, SamplingOptions, draw
from seqtool.decoding.step import sum_type
from seqtool.devices import multiplies_int8
from seqtool.errors import ModelError, SettingsError, UsageError
from seqtool.lm.loaded import LoadedLanguageModel
from seqtool.lm.stepping import HoistedStepper, SymbolStepper, stepper_of, steps_in_place
from seqtool.lm.vocabulary import START, UNKNOWN, TextDecoder, require_known
from seqtool.models.tensors import read_tensors, write_tensors
from seqtool.nn.cells import State
from seqtool.nn.deferred import at_least_float32
from seqtool.nn.quantized import require_exact_sums

AHEAD = 256  # steps whose random numbers are drawn together
WARM = 1e-6  # lowest temperature by which raw scores can be divided without overflow
RECENT = 4  # last symbols that are kept: the most bytes of a character in UTF-8
WORTH_INT8 = 1_000_000  # weights; smaller networks fit into the processor's caches in fp32 as well


@dataclass(frozen=True)
class Continuation:
    """The state of N streams, from which sampling continues exactly as if it had not stopped.

    Args:
        states: State of each layer, N rows.
        recent: The symbols that were read last, ids [N, R], with R from 1 to `RECENT`.
        steps: Number of symbols sampled so far, which determines the next random numbers.
        seen: Whether each stream has written each symbol, bool [N, V]; None = without a repetition penalty.
    """

    states: list[State]
    recent: Tensor
    steps: int = 0
    seen: Tensor | None = None

    @property
    def last(self) -> Tensor:
        """The symbols that the network reads next, ids [N]."""
        return self.recent[:, -1]

    def repeated(self, streams: int) -> Continuation:
        """Copies of a single stream, `streams` in number."""

        def rows(part: Tensor) -> Tensor:
            return part.expand(streams, -1).contiguous()

        states = [tuple(rows(part) for part in layer) for layer in self.states]
        return Continuation(
            states, rows(self.recent), self.steps, None if self.seen is None else rows(self.seen)
        )

    def decoder(self, model: LoadedLanguageModel, stream: int = 0) -> TextDecoder:
        """A decoder for the symbols that a stream writes next, which knows the last ones.

        It continues a line that has begun, and a character of which some bytes are written.
        """
        recent = self.recent[stream].tolist()
        decoder = model.symbols.decoder(at_line_start=recent[0] == START)
        for symbol in recent:
            decoder.push(symbol)
        return decoder


class Drawer:
    """Samples a symbol for each stream at every step, with the results of `decoding.sampling.draw`.

    If there are few symbols, the random numbers of many steps are drawn at once, so that a step is only an
    addition and a maximum.

    Args:
        options: Options of sampling.
        symbols: Number of symbols, V.
        streams: Number of streams, N.
        device: Device of the scores.
    """

    def __init__(self, options: SamplingOptions, symbols: int, streams: int, device: torch.device) -> None:
        self._options, self._symbols = options, symbols
        unfiltered = not options.top_k and options.top_p == 1 and not options.min_p and options.typical == 1
        # At lower temperatures the maximum has to be subtracted before the division, as `draw` does.
        warm = options.temperature >= WARM
        self._in_advance = unfiltered and warm and symbols <= BLOCK
        self._streams = torch.arange(streams, device=device)
        self._noise: tuple[Tensor, ...] = ()
        self._first = -1  # step of the first row of the noise

    def __call__(self, scores: Tensor, step: int) -> Tensor:
        """Symbols, ids [N], sampled from raw scores [N, V]; `step` counts from 0."""
        if not self._in_advance:
            when = torch.full_like(self._streams, step)
            return draw(scores, self._options, self._streams, torch.zeros_like(self._streams), when)
        place = step - self._first
        if self._first < 0 or not 0 <= place < len(self._noise):
            self._first, place = step, 0
            self._noise = self._numbers(step).unbind(0)
        return torch.add(self._noise[place], scores, alpha=1.0 / self._options.temperature).argmax(1)

    def _numbers(self, step: int) -> Tensor:
        """Gumbel noise of the next steps, [AHEAD, N, V]."""
        device = self._streams.device
        steps = torch.arange(step, step + AHEAD, device=device)[:, None, None]
        streams, symbols = self._streams[None, :, None], torch.arange(self._symbols, device=device)
        return gumbel(self._options.seed, streams, torch.zeros_like(streams), steps, symbols).to(
            sum_type(device)
        )


class Sampler:
    """Samples N streams of text from a language model, one symbol per step.

    Args:
        model: The language model.
        options: Options of sampling.
        start: State of the streams at the beginning.
        repetition_penalty: Factor, at least 1, of the log probabilities of symbols that a stream has already
            written; 1 = off (after Keskar et al. 2019, section 4.1).
        int8: Whether matrix products use 8-bit integers (LSTM layers on a CPU).
        fast: Whether to use the fast steps; False = the plain steps of the cells, their reference.

    Raises:
        UsageError: a repetition penalty below 1.
    """

    def __init__(
        self,
        model: LoadedLanguageModel,
        options: SamplingOptions,
        start: Continuation,
        *,
        repetition_penalty: float = 1.0,
        int8: bool = False,
        fast: bool = True,
    ) -> None:
        if not 1.0 <= repetition_penalty < float("inf"):
            raise UsageError(f"repetition penalty {repetition_penalty}: must be 1 (off) or more")
        network = model.network
        self._autocast = model.autocast if model.is_half else nullcontext  # entering one takes time
        with torch.inference_mode(), self._autocast():
            self._stepper: SymbolStepper = (
                stepper_of(network, start.states, (UNKNOWN,), int8=int8)
                if fast and not model.is_half
                else HoistedStepper(network, start.states, (UNKNOWN,))
            )
        self._last, self._steps, self._penalty = start.last.contiguous(), start.steps, repetition_penalty
        self._recent = deque(start.recent.unbind(1), maxlen=RECENT)
        streams, device = len(start.last), start.last.device
        self._drawer = Drawer(options, network.symbols, streams, device)
        self._seen = (
            torch.zeros(streams, network.symbols, dtype=torch.bool, device=device)
            if start.seen is None
            else start.seen.clone()
        )

    @torch.inference_mode()
    def step(self) -> list[int]:
        """Sample the next symbol of each stream."""
        with self._autocast():
            scores = self._stepper.step(self._last)
        if self._penalty != 1.0:
            log_p = scores.log_softmax(1)
            scores = torch.where(self._seen, log_p * self._penalty, log_p)
        self._last = self._drawer(scores, self._steps)
        if self._penalty != 1.0:
            self._seen[torch.arange(len(self._last)), self._last] = True
        self._steps += 1
        self._recent.append(self._last)
        return self._last.tolist()

    def continuation(self) -> Continuation:
        """The present state of the streams."""
        seen = None if self._penalty == 1.0 else self._seen
        return Continuation(self._stepper.states(), torch.stack([*self._recent], 1), self._steps, seen)


def writes_in_int8(model: LoadedLanguageModel, precision: str) -> bool:
    """Whether `--precision` selects matrix products in 8-bit integers for sampling.

    auto selects them where they are faster: for large LSTM layers, on a processor with instructions for them.

    Args:
        model: The language model.
        precision: The value of `--precision`.

    Raises:
        SettingsError: int8 for a network or processor that does not support it.
    """
    possible = steps_in_place(model.network)
    if precision == "int8" and not possible:
        raise SettingsError(
            "precision int8 is for plain stacks of LSTM layers on the CPU, without zoneout and adaptive "
            "softmax; use fp32"
        )
    if precision == "int8":
        require_exact_sums()
    large = sum(weight.numel() for weight in model.network.stack.parameters()) >= WORTH_INT8
    return precision == "int8" or (
        precision == "auto" and possible and large and multiplies_int8(model.device)
    )


def texts_of(
    sampler: Sampler, decoders: Sequence[TextDecoder], *, length: int, ends: Sequence[str]
) -> tuple[list[str], int]:
    """Sample a text from each stream, up to its end.

    Args:
        sampler: The sampler of the streams.
        decoders: Decoder of each stream, at its beginning.
        length: Maximum length of a text, symbols.
        ends: Strings any of which ends a text.

    Returns:
        The texts, and the number of symbols sampled for them in total.
    """
    written, texts = 0, ["" for _ in decoders]
    open_ones = set(range(len(texts)))
    for _ in range(length):
        symbols = sampler.step()
        written += len(open_ones)
        for number in sorted(open_ones):
            texts[number] += decoders[number].push(symbols[number])
            if any(end in texts[number] for end in ends):
                open_ones.discard(number)
        if not open_ones:
            break
    for number in open_ones:
        texts[number] += decoders[number].finish()
    return texts, written


@torch.inference_mode()
def beginning(
    model: LoadedLanguageModel,
    prompt: str = "",
    after: Continuation | None = None,
    *,
    what: str = "--prompt",
) -> Continuation:
    """The state of a stream after reading a prompt.

    Args:
        model: The language model.
        prompt: Text to read; may be empty.
        after: State of the stream before the prompt; None = at the beginning of a document.
        what: Name of the prompt in messages.

    Raises:
        DataError: the prompt contains a character for which the model has no symbol.
    """
    model.require_forward("write text")
    require_known(model.symbols, prompt, what)
    ids = model.symbols.encode(prompt)
    if after is None:
        after = Continuation(model.network.initial(1), torch.tensor([[START]], device=model.device))
    if not len(ids):
        return after
    inputs = torch.from_numpy(ids.astype("int64")).to(model.device).expand(len(after.last), -1)
    whole = torch.cat([after.last[:, None], inputs], 1)
    with model.autocast():
        _, after_prompt = model.network(whole[:, :-1], after.states)
    states = [tuple(at_least_float32(part) for part in layer) for layer in after_prompt]
    recent = torch.cat([after.recent, inputs], 1)[:, -RECENT:]
    return Continuation(states, recent, after.steps, after.seen)


def save_continuation(path: Path, continuation: Continuation, digest: str) -> None:
    """Write the state of streams to a file.

    Args:
        path: The file; it is replaced completely or not at all.
        continuation: The state.
        digest: Digest of the model, hexadecimal.
    """
    tensors = {
        f"state.{layer}.{part}": tensor.clone()
        for layer, parts in enumerate(continuation.states)
        for part, tensor in enumerate(parts)
    }
    tensors |= {"recent": continuation.recent, "steps": torch.tensor([continuation.steps])}
    if continuation.seen is not None:
        tensors["seen"] = continuation.seen
    write_tensors(path, tensors | {"model": torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8)})


def load_continuation(path: Path, model: LoadedLanguageModel, digest: str) -> Continuation:
    """Read the state of a stream that `save_continuation` wrote.

    Args:
        path: The file.
        model: The model that continues the stream.
        digest: Digest of the model, hexadecimal.

    Raises:
        UsageError: there is no such file.
        ModelError: the file is damaged, or was written for another model.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file; write one with --save-state {path}")
    tensors = read_tensors(path)
    try:
        if bytes(_part(tensors, "model", torch.uint8).tolist()).hex() != digest:
            raise ModelError(f"{path}: the state of another model than {model.place}")
        like, states = model.network.initial(1), list[State]()
        for layer, parts in enumerate(like):
            found = [
                _part(tensors, f"state.{layer}.{part}", each.dtype, each.shape)
                for part, each in enumerate(parts)
            ]
            states.append(tuple(each.to(model.device) for each in found))
        recent, steps = _part(tensors, "recent", torch.int64), _part(tensors, "steps", torch.int64, (1,))
        symbols = model.network.symbols
        in_range = bool(((recent >= 0) & (recent < symbols)).all()) and int(steps) >= 0
        if recent.dim() != 2 or len(recent) != 1 or not 1 <= recent.shape[1] <= RECENT or not in_range:
            raise ValueError("symbols that the model does not have")
        seen = _part(tensors, "seen", torch.bool, (1, symbols)) if "seen" in tensors else None
    except KeyError as error:
        raise ModelError(f"{path}: not a state of `lm sample`: {error} is missing") from error
    except ValueError as error:
        raise ModelError(f"{path}: damaged: {error}") from error
    seen = None if seen is None else seen.to(model.device)
    return Continuation(states, recent.to(model.device), int(steps), seen)


def _part(
    tensors: Mapping[str, Tensor], name: str, kind: torch.dtype, shape: Sequence[int] | None = None
) -> Tensor:
    """A tensor of the expected type and shape; KeyError if it is missing, ValueError if it differs."""
    found = tensors[name]
    if shape is not None and tuple(found.shape) != tuple(shape):
        raise ValueError("states of another shape than the model's")
    if found.dtype != kind or (kind.is_floating_point and not found.isfinite().all()):
        raise ValueError(f"{name} has another type, or values that are not finite")
    return found
