"""Text that a language model goes on with: many streams at once, each the same whatever the others."""

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

AHEAD = 256  # steps whose random numbers are made together
WARM = 1e-6  # temperature that scores can be divided by as they are
RECENT = 4  # symbols: as many bytes as a character of UTF-8 has at most
WORTH_INT8 = 1_000_000  # weights; fewer stay in the processor's nearest caches whatever their size


@dataclass(frozen=True)
class Continuation:
    """Where some streams stand: enough to go on as if they had never stopped.

    Args:
        states: Of all layers, N rows.
        recent: The symbols that were read last, [N, R] with R from 1 to `RECENT`.
        steps: Symbols drawn so far; the next draw's random numbers depend on it.
        seen: Symbols that each stream has written, bool [N, V], where a penalty for them was kept up.
    """

    states: list[State]
    recent: Tensor
    steps: int = 0
    seen: Tensor | None = None

    @property
    def last(self) -> Tensor:
        """The symbol that comes next into the network, [N]."""
        return self.recent[:, -1]

    def repeated(self, streams: int) -> Continuation:
        """One stream as so many that begin alike."""

        def rows(part: Tensor) -> Tensor:
            return part.expand(streams, -1).contiguous()

        states = [tuple(rows(part) for part in layer) for layer in self.states]
        return Continuation(
            states, rows(self.recent), self.steps, None if self.seen is None else rows(self.seen)
        )

    def decoder(self, model: LoadedLanguageModel, stream: int = 0) -> TextDecoder:
        """For what a stream writes next: it knows of the line that has begun, and of half a character."""
        recent = self.recent[stream].tolist()
        decoder = model.symbols.decoder(at_line_start=recent[0] == START)
        for symbol in recent:
            decoder.push(symbol)
        return decoder


class Drawer:
    """Draws a symbol for each of some streams, step after step; the draws are those of `draw`.

    With few symbols the random numbers of many steps are made at once, so that a draw is an addition
    and a maximum.

    Args:
        options: How to draw.
        symbols: V.
        streams: N.
        device: Where the scores are.
    """

    def __init__(self, options: SamplingOptions, symbols: int, streams: int, device: torch.device) -> None:
        self._options, self._symbols = options, symbols
        unfiltered = not options.top_k and options.top_p == 1 and not options.min_p and options.typical == 1
        # Below, scores have to be moved to 0 before they are divided, as `draw` does.
        warm = options.temperature >= WARM
        self._in_advance = unfiltered and warm and symbols <= BLOCK
        self._streams = torch.arange(streams, device=device)
        self._noise: tuple[Tensor, ...] = ()
        self._first = -1  # step of the first noise

    def __call__(self, scores: Tensor, step: int) -> Tensor:
        """Raw scores [N, V] of step `step` (from 0) to symbols [N]."""
        if not self._in_advance:
            when = torch.full_like(self._streams, step)
            return draw(scores, self._options, self._streams, torch.zeros_like(self._streams), when)
        place = step - self._first
        if self._first < 0 or not 0 <= place < len(self._noise):
            self._first, place = step, 0
            self._noise = self._numbers(step).unbind(0)
        return torch.add(self._noise[place], scores, alpha=1.0 / self._options.temperature).argmax(1)

    def _numbers(self, step: int) -> Tensor:
        """Noise of the next steps, [AHEAD, N, V]."""
        device = self._streams.device
        steps = torch.arange(step, step + AHEAD, device=device)[:, None, None]
        streams, symbols = self._streams[None, :, None], torch.arange(self._symbols, device=device)
        return gumbel(self._options.seed, streams, torch.zeros_like(streams), steps, symbols).to(
            sum_type(device)
        )


class Sampler:
    """Streams of text that a model writes.

    Args:
        model: The writer.
        options: How to draw.
        start: Where the streams stand.
        repetition_penalty: What log probabilities of symbols that a stream has written are multiplied
            by; 1 = nothing (after Keskar et al. 2019, section 4.1).
        int8: Products in 8-bit integers (LSTM layers on a CPU).
        fast: False = by the plain steps of the cells, the reference for the fast ones.
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
            raise UsageError(f"repetition penalty {repetition_penalty}: 1 (off) or more is allowed")
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
        """The next symbol of each stream."""
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
        """Where the streams stand now."""
        seen = None if self._penalty == 1.0 else self._seen
        return Continuation(self._stepper.states(), torch.stack([*self._recent], 1), self._steps, seen)


def writes_in_int8(model: LoadedLanguageModel, precision: str) -> bool:
    """Whether `--precision` means products in 8-bit integers for this writer.

    `auto` takes them where they are faster: LSTM layers of some size, on a processor that has
    instructions for them.

    Raises:
        SettingsError: int8 for a network, or a processor, that has no such products.
    """
    possible = steps_in_place(model.network)
    if precision == "int8" and not possible:
        raise SettingsError(
            "precision int8 is for LSTM layers on the CPU, one after the other, without zoneout and adaptive "
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
    """What all streams write, each up to its end, and of how many symbols that is.

    Args:
        sampler: Of all streams.
        decoders: Of each stream, at where it begins.
        length: Symbols of a text at most.
        ends: Each ends a text.
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
    """One stream that has read a prompt.

    Args:
        model: The reader.
        prompt: Any text.
        after: Where the stream stood before; None = at the beginning of a document.
        what: What messages call the prompt.

    Raises:
        DataError: the prompt has something without a symbol.
    """
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
    """Write where some streams stand.

    Args:
        path: The file; replaced whole or not at all.
        continuation: What to write.
        digest: Of the model.
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
    """The inverse of `save_continuation`.

    Raises:
        UsageError: no such file.
        ModelError: damaged, or of another model.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file; --save-state writes one")
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
    """A tensor that is what it must be; KeyError and ValueError else."""
    found = tensors[name]
    if shape is not None and tuple(found.shape) != tuple(shape):
        raise ValueError("states of another shape than the model's")
    if found.dtype != kind or (kind.is_floating_point and not found.isfinite().all()):
        raise ValueError(f"{name} holds something else")
    return found
