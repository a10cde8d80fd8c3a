"""Training a language model: its loss, its scores on the development part, and the job that the loop runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from seqtool.decoding.sampling import SamplingOptions
from seqtool.devices import resolve_device
from seqtool.errors import SettingsError
from seqtool.lm.baselines import NAMES, Baselines, comparable, verdict
from seqtool.lm.batches import TrainingWindows, Window
from seqtool.lm.data import Part, TextData, first_document
from seqtool.lm.model import LanguageNetwork
from seqtool.lm.prediction import Fingerprint, LanguageModel, LanguageModelDescription, RecordedScores
from seqtool.lm.sampling import Sampler, beginning
from seqtool.lm.scoring import score_rows, warmed_rows
from seqtool.lm.settings import LanguageModelSettings, LanguageModelTraining
from seqtool.lm.vocabulary import PADDING, START, UNKNOWN, Ids, Symbols
from seqtool.nn.cells import State
from seqtool.nn.deferred import at_least_float32
from seqtool.nn.divergence import symmetric_divergence
from seqtool.nn.losses import LossSum
from seqtool.nn.regularization import StatePenalties
from seqtool.training import distributed
from seqtool.training.finetuning import settings_of_base
from seqtool.training.job import Job
from seqtool.training.passes import Pass, loss_of_passes
from seqtool.training.progress import FitResult

SHOWN_TEMPERATURE, SHOWN_CHARACTERS = 0.8, 200  # temperature and length of the samples shown in training
DEV_ROWS, DEV_WARMUP = 32, 256  # pieces that the dev part of a stream is read in, and symbols before each


class StreamLoss:
    """The loss of a window, which carries the states of each group from window to window.

    Args:
        network: The network that is being trained.
        settings: The training settings.
        symbols: The symbols of the network, which determine the unit of the loss.
    """

    def __init__(self, network: LanguageNetwork, settings: LanguageModelTraining, symbols: Symbols) -> None:
        self._network, self._settings, self._unit = network, settings, symbols.unit
        self._penalties = StatePenalties(*settings.state_penalties)
        self._carried: dict[int, list[State]] = {}

    def __call__(self, window: Window) -> LossSum:
        """The loss summed over a window's symbols, nats; moves the states of its group past the window."""
        rows = len(window.inputs)
        before = self._carried.get(window.group)
        if window.fresh or before is None:
            before = self._network.initial(rows)
        states = [tuple(part[:rows] for part in layer) for layer in before]
        real = window.targets != PADDING

        def once() -> Pass:
            return self._pass(window, states, real)

        return loss_of_passes(self._network, once, self._divergence, self._settings)

    def _pass(self, window: Window, states: Sequence[State], real: Tensor) -> Pass:
        """Read the window once; the states of its group become those after the last pass."""
        outputs, after = self._network(window.inputs, states)
        self._carried[window.group] = [
            tuple(at_least_float32(part.detach()) for part in layer) for layer in after
        ]
        count = int(real.sum())
        whole = count == real.numel()  # a stream has no padding, so nothing has to be selected
        # [M, D], [M]
        features = outputs.features.flatten(0, 1) if whole else outputs.features[real]
        targets = window.targets.flatten() if whole else window.targets[real]
        total = self._network.cross_entropy(features, targets, smoothing=self._settings.label_smoothing)
        penalty = self._penalties(outputs.states, outputs.dropped, real)
        return Pass(LossSum(total + penalty, count, self._unit), features)

    def _divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Symmetric divergence, nats, of the distributions from the features [M, D] of two passes."""
        return symmetric_divergence(*(self._network.log_probabilities(each) for each in (first, second)))

    def tensors(self) -> dict[str, Tensor]:
        """The states by name, for a checkpoint; each process numbers its own groups from 0."""
        return {
            f"{number}.{layer}.{part}": tensor
            for number, group in enumerate(sorted(self._carried))
            for layer, parts in enumerate(self._carried[group])
            for part, tensor in enumerate(parts)
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the states from what `tensors` returned."""
        found: dict[int, dict[int, dict[int, Tensor]]] = {}
        for name, tensor in tensors.items():
            number, layer, part = map(int, name.split("."))
            group = number * distributed.world_size() + distributed.rank()
            found.setdefault(group, {}).setdefault(layer, {})[part] = tensor
        device = self._network.embedding.weight.device
        self._carried = {
            group: [
                tuple(layers[layer][part].to(device) for part in sorted(layers[layer]))
                for layer in sorted(layers)
            ]
            for group, layers in found.items()
        }


class Evaluator:
    """Scores the network on the development part, for the training loop.

    A stream is read in `DEV_ROWS` pieces in parallel, each after `DEV_WARMUP` symbols that only bring
    the state into use: a fast estimate of the score by the streaming protocol.

    Args:
        model: The model whose network is being trained.
        part: The development part.
        is_stream: Whether it is one stream, rather than documents that each begin with a fresh state.
    """

    def __init__(self, model: LanguageModel, part: Part, *, is_stream: bool) -> None:
        self._model = model
        self._characters = part.size
        documents = [model.symbols.encode(document) for document in part.documents]
        if is_stream:
            self._rows = warmed_rows(documents[0], rows=DEV_ROWS, warmup=DEV_WARMUP)
        else:
            self._rows = [(np.concatenate([[START], ids]).astype(np.int32), 0) for ids in documents]

    def __call__(self) -> dict[str, float]:
        """Loss (nats per symbol), nats and bits per character, perplexity (per symbol)."""
        rows, skipped = zip(*self._rows, strict=True)
        found = score_rows(self._model.network, rows, self._model.device)
        values = np.concatenate([each[first:] for each, first in zip(found, skipped, strict=True)])
        nats = -float(values.sum())
        loss, by_character = nats / len(values), nats / self._characters
        return {
            "loss": loss,
            "nats_per_character": by_character,
            "bits_per_character": by_character / math.log(2),
            "perplexity": math.exp(min(loss, 700.0)),
        }


def prepare(
    settings: LanguageModelSettings, data: TextData, initial: LanguageModel | None = None
) -> Job[LanguageModel, Window]:
    """The job of training a language model, with everything checked that can be checked before training.

    Args:
        settings: The run's settings.
        data: The training and development parts.
        initial: The model to fine-tune, whose symbols and network are kept; None = a new model.

    Raises:
        DataError: the training text is too short.
        SettingsError: a setting does not fit the data or `initial`.
    """
    device = resolve_device(settings.device)
    torch.manual_seed(settings.seed)
    model = build_model(settings, data, device) if initial is None else adopted(initial, settings)
    documents = [model.symbols.encode(document) for document in data.train.documents]
    loss = StreamLoss(model.network, settings.training, model.symbols)

    def conclude(model: LanguageModel, result: FitResult, say: Callable[[str], None]) -> list[str]:
        measured = _measured(model, data, documents, result, say)
        model.description = model.description.model_copy(update={"measured": measured})
        return _facts_of(measured)

    return Job(
        settings=settings,
        data=data,
        model=model,
        batches=training_windows(documents, settings, device),
        loss=loss,
        evaluate=Evaluator(model, data.dev, is_stream=settings.data.documents == "stream"),
        select="-loss",
        facts=(describe_symbols(model),),
        warnings=data.warnings,
        conclude=conclude,
        sample=_samples(model, settings) if _writes(settings) else None,
        carried=loss,
    )


def _writes(settings: LanguageModelSettings) -> bool:
    """Whether samples are shown in training; a text that is written from its end is hard to read."""
    return settings.training.sample_length > 0 and settings.data.direction == "forward"


def _samples(model: LanguageModel, settings: LanguageModelSettings) -> Callable[[], str]:
    """A function that returns a line with a text sampled from the model, each time with another seed."""
    seeds = itertools.count(settings.seed)
    return lambda: f"sample: {sample_of(model, settings.training.sample_length, next(seeds))}"


def _measured(
    model: LanguageModel,
    data: TextData,
    documents: Sequence[Ids],
    result: FitResult,
    say: Callable[[str], None],
) -> RecordedScores:
    """The scores of the network and the baselines on dev, which are also reported by `say`."""
    symbols, dev = model.symbols, data.dev
    held_out = [symbols.encode(each) for each in dev.documents]
    baselines = Baselines.train(
        documents, kind=symbols.codec.kind, size=len(symbols), texts=data.train.documents, dev=held_out
    )
    figures = baselines.score(held_out, dev.documents)
    unknown, count = sum(int((ids == UNKNOWN).sum()) for ids in held_out), sum(map(len, held_out))
    if unknown:
        say(
            f"{unknown:,} of the {count:,} symbols of dev are unknown to the model: the characters that they "
            "stand for are not predicted, so its scores per character cannot be compared with those of xz or "
            "of other models"
        )
    network = float(result.metrics["nats_per_character"])
    beside = ", ".join(f"{NAMES[name]} {value:.4f}" for name, value in figures.nats_per_character.items())
    say(f"nats per character on dev: this network {network:.4f}, {beside}")
    warning = verdict(network, comparable(figures.nats_per_character, unknown), result.reason)
    if warning:
        say(warning)
    is_stream = model.description.data.documents == "stream"
    protocol = f"streaming in {DEV_ROWS} pieces" if is_stream else "streaming"
    return RecordedScores(
        fingerprint=Fingerprint(
            digest=dev.digest, characters=dev.size, split=dev.protocol, protocol=protocol
        ),
        nats_per_character={"network": network, **figures.nats_per_character},
    )


def _facts_of(measured: RecordedScores) -> list[str]:
    figures = [f"{NAMES.get(name, name)} {value:.4f}" for name, value in measured.nats_per_character.items()]
    return [f"nats per character on dev ({measured.fingerprint.short}): {', '.join(figures)}"]


def sample_of(model: LanguageModel, length: int, seed: int) -> str:
    """A text sampled from the model, with visible line ends; `length` is its number of symbols."""
    sampler = Sampler(model, SamplingOptions(temperature=SHOWN_TEMPERATURE, seed=seed), beginning(model))
    text = model.symbols.decode(sampler.step()[0] for _ in range(length))[:SHOWN_CHARACTERS]
    return first_document(text, model.description.data.documents).replace("\n", "\u23ce ")


def training_windows(
    documents: Sequence[Ids], settings: LanguageModelSettings, device: torch.device
) -> TrainingWindows:
    """The windows of the training part."""
    return TrainingWindows(
        documents,
        is_stream=settings.data.documents == "stream",
        settings=settings.training,
        seed=settings.seed,
        parallel_groups=windows_per_update(settings),
        device=device,
    )


def windows_per_update(settings: LanguageModelSettings) -> int:
    """Number of windows that one update sums, over all processes."""
    return settings.training.accumulation * distributed.world_size()


def build_model(settings: LanguageModelSettings, data: TextData, device: torch.device) -> LanguageModel:
    """A new model with symbols from the training part.

    Raises:
        SettingsError: a cutoff of the adaptive softmax is not below the number of symbols.
    """
    symbols = Symbols.build(data.train.documents, settings.vocabulary)
    cutoffs = settings.model.cutoffs
    if cutoffs and cutoffs[-1] >= len(symbols):
        raise SettingsError(
            f"model.cutoffs = {cutoffs}: expected less than {len(symbols)}, the number of symbols"
        )
    network = LanguageNetwork(len(symbols), settings.model, symbols.impossible)
    return LanguageModel(network, symbols, _description(settings), device=device, precision=torch.float32)


def adopted(initial: LanguageModel, settings: LanguageModelSettings) -> LanguageModel:
    """The model to fine-tune, with the name and settings of this run."""
    base = initial.description
    description = _description(settings).model_copy(
        update={"model": base.model, "vocabulary": base.vocabulary}
    )
    return LanguageModel(
        initial.network, initial.symbols, description, device=initial.device, precision=torch.float32
    )


def fine_tuning_settings(
    settings: LanguageModelSettings, initial: LanguageModel | None
) -> LanguageModelSettings:
    """Settings of a fine-tuning run, in which network and symbols are those of the model.

    Args:
        settings: The settings as given.
        initial: The model to fine-tune; None = a new model, for which the settings stay as given.

    Raises:
        SettingsError: see `settings_of_base`.
    """
    if initial is None:
        return settings
    base = initial.description
    return settings_of_base(settings, model=base.model, vocabulary=base.vocabulary)


def describe_symbols(model: LanguageModel) -> str:
    """One line about the vocabulary: number and kind of its symbols."""
    symbols = model.symbols
    return f"vocabulary: {len(symbols):,} symbols ({symbols.codec.kind})"


def _description(settings: LanguageModelSettings) -> LanguageModelDescription:
    return LanguageModelDescription(
        name=settings.name,
        model=settings.model,
        vocabulary=settings.vocabulary,
        data=settings.data,
        adaptation=settings.adaptation,
        measured=None,
    )
