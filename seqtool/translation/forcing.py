"""Scheduled sampling: the decoder is sometimes fed its own output instead of the reference.

Whether it is, is drawn for each token of each sentence. What is fed back is sampled from the
model's distribution, and no gradient flows through the sample. Since each input may depend on the
output before it, steps cannot be computed in parallel, so this is slower than plain teacher forcing.

Reference: Bengio et al. 2015, section 2.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from seqtool.nn.deferred import at_least_float32
from seqtool.translation.batches import Batch
from seqtool.translation.decoders import StepOutput
from seqtool.translation.model import Readout, Source, Translator
from seqtool.translation.network import ForwardPass, Network
from seqtool.translation.training_settings import TeacherForcing
from seqtool.translation.vocabulary import NEVER


def reference_ratio(settings: TeacherForcing, step: int) -> float:
    """Probability that the decoder is fed the reference symbol at one update.

    Args:
        settings: The schedule.
        step: Number of updates made so far.

    Returns:
        In [0, 1]. It falls from `start` to `end` over `steps` updates, linearly, exponentially, or
        along the inverse sigmoid (Bengio et al. 2015, section 2.4), and stays at `end`. The last two
        have covered 99 % of the way when they are set to `end`.
    """
    if settings.schedule == "constant":
        return settings.ratio
    share = min(step / settings.steps, 1.0)
    # the part of the way from `start` to `end` that is left, in [0, 1]
    left = {
        "linear": 1.0 - share,
        "exponential": 0.01**share,
        "inverse_sigmoid": 1.0 / (1.0 + math.exp(2 * math.log(99) * (share - 0.5))),
    }[settings.schedule]
    return settings.end if share == 1.0 else settings.end + (settings.start - settings.end) * left


def mixed_forcing_pass(model: Network[Any, Any], batch: Batch, ratio: float) -> ForwardPass[Any, Any]:
    """A pass over a batch in which each step is fed the reference with a given probability.

    Args:
        model: The translator, in training or evaluation mode.
        batch: A batch with targets.
        ratio: Probability of the reference, in [0, 1]. 1 is teacher forcing, which computes all steps at
            once; with 0 the decoder reads its own outputs only.
    """
    if ratio == 1.0:
        return model.forward_pass(batch)
    assert isinstance(model, Translator), "refused by the settings"
    encoded = model.encoded(batch)
    source = model.prepared(encoded, batch)
    return ForwardPass(encoded, source, unroll(model, source, batch.inputs, ratio))


def unroll(model: Translator, source: Source, inputs: Tensor, ratio: float) -> Readout:
    """The readout of all steps, each fed the reference or a sample from the step before.

    Args:
        model: The translator.
        source: The encoded sources.
        inputs: Inputs of the reference, extended ids, [B, T]; the first is START.
        ratio: Probability of the reference from the second step on, in [0, 1].
    """
    decoder, memory = model.decoder, source.memory
    advance = decoder.stepper(memory)
    state = decoder.initial(source.start, memory.mask.shape[1])
    embed = model.embedder(len(inputs))
    # [B], the inputs of the current step
    given = inputs[:, 0]
    outputs: list[StepOutput] = []
    embedded: list[Tensor] = []
    for step in range(inputs.shape[1]):
        if step:
            drawn = _drawn(model, source, outputs[-1], embedded[-1])
            # drawn for each sentence: True = feed the reference, [B]
            coins = torch.rand(len(inputs), device=inputs.device) < ratio
            given = torch.where(coins, inputs[:, step], drawn)
        # [B, E] to the input half of the gates, [B, P]
        embedded.append(embed(given))
        projected = at_least_float32(decoder.project(embedded[-1]))
        with torch.autocast(inputs.device.type, enabled=False):
            output, state = advance(projected, state)
        outputs.append(output)
    return model.finish(StepOutput.stacked(outputs), model.share(torch.stack(embedded, 1)), memory)


@torch.no_grad()
def _drawn(model: Translator, source: Source, output: StepOutput, embedded: Tensor) -> Tensor:
    """One symbol per sentence, sampled from the distribution that a step predicts, extended ids, [B].

    Args:
        model: The translator.
        source: The encoded sources.
        output: Output of the step, [B, O] and [B, G x S].
        embedded: Embedded inputs of the step, [B, E].
    """
    # One step, as a sequence of length 1: [B, 1, ...].
    alone = StepOutput(output.hidden[:, None], output.weights[:, None])
    readout = model.finish(alone, model.share(embedded[:, None]), source.memory)
    scores = model.log_probabilities(readout, source)[:, 0]
    scores[:, NEVER] = -torch.inf  # as in a search
    return torch.multinomial(scores.float().exp(), 1)[:, 0]
