"""Teacher forcing with a ratio below 1: the decoder is fed what it said itself, now and then.

The coin is tossed for every token of every sentence. What is fed back is drawn from the
model's own distribution, and no gradient goes through the draw. Where the next input depends
on the last output there is nothing to compute ahead, so this is slower than plain teacher forcing.

Reference: Bengio et al. 2015, section 2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seqtool.nn.deferred import at_least_float32
from seqtool.translation.batches import Batch
from seqtool.translation.decoders import StepOutput
from seqtool.translation.model import ForwardPass, Readout, Source, Translator
from seqtool.translation.settings import TeacherForcing
from seqtool.translation.vocabulary import NEVER


def reference_ratio(settings: TeacherForcing, step: int) -> float:
    """Probability that a step is fed the reference, at an update.

    Args:
        settings: The schedule.
        step: Updates made so far.

    Returns:
        In [0, 1]; from `start` to `end` over `steps` updates along a line, a power of a constant,
        or the reversed sigmoid (Bengio et al. 2015, section 2.4), each of which comes to within a
        hundredth of the way of its end; then `end`.
    """
    if settings.schedule == "constant":
        return settings.ratio
    share = min(step / settings.steps, 1.0)
    left = {
        "linear": 1.0 - share,
        "exponential": 0.01**share,
        "inverse_sigmoid": 1.0 / (1.0 + math.exp(2 * math.log(99) * (share - 0.5))),
    }[settings.schedule]
    return settings.end if share == 1.0 else settings.end + (settings.start - settings.end) * left


def mixed_forcing_pass(model: Translator, batch: Batch, ratio: float) -> ForwardPass:
    """A pass over a batch in which each step is fed the reference with a probability.

    Args:
        model: In training mode or not.
        batch: With targets.
        ratio: 1 = all steps at once, 0 = the reference is only what the outputs are compared with.
    """
    if ratio == 1.0:
        return model.forward_pass(batch)
    encoded = model.encoded(batch.source)
    source = model.prepared(encoded, batch.symbols)
    return ForwardPass(encoded, source, unroll(model, source, batch.inputs, ratio))


def unroll(model: Translator, source: Source, inputs: Tensor, ratio: float) -> Readout:
    """The readout of all steps, each fed the reference or what was drawn at the step before.

    Args:
        model: The translator.
        source: Encoded.
        inputs: The reference's inputs [B, T], extended ids.
        ratio: Probability of the reference; the first input is always START.
    """
    decoder, memory = model.decoder, source.memory
    advance = decoder.stepper(memory)
    state = decoder.initial(source.start, memory.mask.shape[1])
    embed = model.embedder(len(inputs))
    given = inputs[:, 0]
    outputs: list[StepOutput] = []
    embedded: list[Tensor] = []
    for step in range(inputs.shape[1]):
        if step:
            drawn = _drawn(model, source, outputs[-1], embedded[-1])
            coins = torch.rand(len(inputs), device=inputs.device) < ratio
            given = torch.where(coins, inputs[:, step], drawn)
        embedded.append(embed(given))
        projected = at_least_float32(decoder.project(embedded[-1]))
        with torch.autocast(inputs.device.type, enabled=False):
            output, state = advance(projected, state)
        outputs.append(output)
    stacked = StepOutput(
        torch.stack([output.hidden for output in outputs], 1),
        torch.stack([output.weights for output in outputs], 1),
    )
    return model.finish(stacked, model.share(torch.stack(embedded, 1)), memory)


@torch.no_grad()
def _drawn(model: Translator, source: Source, output: StepOutput, embedded: Tensor) -> Tensor:
    """A symbol for each sentence from the distribution of a step, [B] extended ids."""
    alone = StepOutput(output.hidden[:, None], output.weights[:, None])
    readout = model.finish(alone, model.share(embedded[:, None]), source.memory)
    scores = model.log_probabilities(readout, source)[:, 0]
    scores[:, NEVER] = -torch.inf  # as in a search
    return torch.multinomial(scores.float().exp(), 1)[:, 0]
