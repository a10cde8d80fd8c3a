"""Training a translator: its loss, its scores on the development part, and the job that the loop runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from seqtool.devices import resolve_device
from seqtool.errors import DataError, SettingsError, counted
from seqtool.evaluation.text_scores import bleu_informs, text_scores
from seqtool.nn.losses import LossSum
from seqtool.nn.regularization import StatePenalties
from seqtool.text.batching import prediction_batches
from seqtool.text.parallel import SentencePair
from seqtool.training.finetuning import settings_of_base
from seqtool.training.job import Job
from seqtool.training.passes import Pass, loss_of_passes
from seqtool.translation.batches import (
    Batch,
    TrainingBatches,
    encode_pairs,
    is_writable,
    longer_side,
    only_copies,
    pair_batch,
)
from seqtool.translation.corpora import Tags
from seqtool.translation.data import TranslationData
from seqtool.translation.forcing import mixed_forcing_pass, reference_ratio
from seqtool.translation.network import ForwardPass
from seqtool.translation.prediction import TranslatorDescription, TranslatorModel
from seqtool.translation.search import SearchOptions
from seqtool.translation.sequence_loss import SequenceLoss
from seqtool.translation.settings import TranslatorSettings
from seqtool.translation.steps import build_network
from seqtool.translation.teaching import Teacher, describe_teacher, with_lessons
from seqtool.translation.unseen import unseen
from seqtool.translation.vocabulary import Vocabularies, copies_of, feature_symbol


class Evaluator:
    """Scores the network on the development part, for the training loop.

    The loss is that of teacher forcing, without label smoothing, over the pairs whose target the network can
    produce; the other scores compare the outputs of greedy search with the references.

    Args:
        model: The model whose network is being trained.
        pairs: The development part.
        settings: The run's settings.

    Raises:
        DataError: the network can produce none of the targets.
    """

    def __init__(
        self, model: TranslatorModel, pairs: Sequence[SentencePair], settings: TranslatorSettings
    ) -> None:
        self._model, self._pairs = model, list(pairs)
        self._budget = settings.training.batch_tokens
        copies, apart = copies_of(settings.model), settings.model.reads_apart
        encoded = encode_pairs(self._pairs, model.vocabularies, copies=copies, apart=apart)
        # Whatever its weights are, the network gives the other targets a probability of 0.
        size, self._reason = len(model.vocabularies.target.symbols), only_copies(settings.model)
        self._encoded = [pair for pair in encoded if is_writable(pair, settings.model, size)]
        if encoded and not self._encoded:
            raise DataError(
                f"dev: every target has symbols that its source lacks, and {self._reason}; or name other "
                "pairs with --dev"
            )
        self._greedy = replace(SearchOptions.of(settings.decoding), beam=1)
        self._references = [pair.references for pair in self._pairs]
        names = ("bleu", "chrf", "exact_match")
        sentences = settings.data.target_symbols == "text" and bleu_informs(self._references)
        self._scores = names if sentences else names[::-1]  # the one that counts first

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the training part does not have, and how many pairs are left out of the loss."""
        description = self._model.description
        remarks = unseen(self._model.vocabularies, description.data.columns, self._pairs, self._model.tags)
        found = tuple(f"dev: {remark}" for remark in remarks)
        missing = len(self._pairs) - len(self._encoded)
        if not missing:
            return found
        return (
            *found,
            f"dev: {counted(missing, 'pair')} with symbols in the target that the source lacks left out of "
            f"the loss, since {self._reason.partition(';')[0]}",
        )

    def __call__(self) -> dict[str, float]:
        """`loss` (nats per target symbol), `bleu`, `chrf` and `exact_match`."""
        self._model.forget()
        found = self._model.search(self._pairs, self._greedy, batch_tokens=self._budget)
        texts = [translations[0].text if translations else "" for translations in found]
        scores = text_scores(texts, self._references, self._scores)
        return {"loss": self._loss(), **{name: score.value for name, score in scores.items()}}

    def _loss(self) -> float:
        total, count = 0.0, 0
        lengths = [longer_side(pair) for pair in self._encoded]
        for part in prediction_batches(lengths, budget=self._budget):
            batch = pair_batch([self._encoded[i] for i in part]).to(self._model.device)
            loss = self._model.network.loss(batch)
            total, count = total + float(loss.total), count + loss.count
        return total / max(count, 1)


def prepare(
    settings: TranslatorSettings,
    data: TranslationData,
    initial: TranslatorModel | None = None,
    *,
    pretrained: TranslatorModel | None = None,
) -> Job[TranslatorModel, Batch]:
    """The job of training a translator, with everything checked that can be checked before training.

    Args:
        settings: The run's settings.
        data: The training and development parts.
        initial: The model to fine-tune, whose vocabularies and network are kept; None = a new model.
        pretrained: A new model of these settings that has learned from raw text; None = there is none.

    Raises:
        DataError: no training pair is within the length limits, or the model cannot produce a target.
        SettingsError: a setting does not fit the data or `initial`.
    """
    device = resolve_device(settings.device)
    teacher = Teacher.of(settings, device)
    torch.manual_seed(settings.seed)
    begun = pretrained if initial is None else initial
    model = build_model(settings, data, device, teacher) if begun is None else adopted(begun, settings)
    taught = with_lessons(data, teacher, model, settings)
    batches = TrainingBatches(model.vocabularies, taught, settings, device)
    tags = tags_of(data.tags, model.vocabularies, initial)
    of_data = {"length_ratio": batches.length_ratio, "tags": list(tags.names), "tag_needed": tags.needed}
    model.description = model.description.model_copy(update=of_data)
    tags.require(data.dev, "set data.tag to that of dev")
    evaluator = Evaluator(model, data.dev, settings)
    select = selecting_metric(settings.training.select, data.dev)
    return Job(
        settings=settings,
        data=_as_read(data, batches),
        model=model,
        batches=batches,
        loss=loss_function(model, settings, teacher),
        evaluate=evaluator,
        select="-loss" if select == "loss" else select,
        tiebreak="chrf" if select == "bleu" else None,
        facts=(
            describe_vocabularies(model.vocabularies),
            *_describe_selection(settings, select),
            *_describe_search(settings),
            *describe_teacher(settings, len(taught.train) - len(data.train)),
        ),
        warnings=(*data.warnings, *batches.warnings, *evaluator.warnings),
        scored="on the development part, greedy search",
        ignored=settings.without_effect(new_model=initial is None),
        inputs={} if teacher is None else teacher.digests,
    )


def _as_read(data: TranslationData, batches: TrainingBatches) -> TranslationData:
    """The data, with the sizes of what its corpora are read from."""
    found = data.counted_anew() if batches.counts_anew else data
    return replace(found, corpora=batches.corpora)


def tags_of(tags: Tags, vocabularies: Vocabularies, initial: TranslatorModel | None) -> Tags:
    """The tags of a model: those of its data, and of the model that is trained further.

    Args:
        tags: Tags of the training part.
        vocabularies: Vocabularies of the model.
        initial: The model that is trained further; None = a new model.

    Raises:
        SettingsError: a tag is not in the vocabulary, or the data has no tags and `initial` needs one.
    """
    before = Tags() if initial is None else initial.tags
    known = ", ".join(before.names) or "none"
    for name in tags.names:
        if vocabularies.unknown_features(SentencePair("", features=(name,))):
            raise SettingsError(
                f"tag {name!r}: the vocabulary has no {feature_symbol(name)}, and it is not made from this "
                f"data; name one of its own tags ({known}), or train a new model with a vocabulary of its own"
            )
    if before.needed and not tags.needed:
        raise SettingsError(
            f"data.tag: the model that is trained further needs a tag before each source; name one of {known}"
        )
    names = tuple(dict.fromkeys((*before.names, *tags.names)))
    return Tags(names, tags.needed and (before.needed or not initial))


def selecting_metric(asked: str, dev: Sequence[SentencePair]) -> str:
    """The metric that selects the best checkpoint: chrF if BLEU was asked for and is not informative.

    Args:
        asked: Name of the metric that was asked for (`training.select`).
        dev: The development part.
    """
    return "chrf" if asked == "bleu" and not bleu_informs([pair.references for pair in dev]) else asked


def _describe_selection(settings: TranslatorSettings, select: str) -> tuple[str, ...]:
    if select == settings.training.select:
        return ()
    return (
        "the best checkpoint is selected by chrF, not by BLEU: BLEU counts sequences of four words, and "
        "nearly all references of dev are shorter",
    )


def _describe_search(settings: TranslatorSettings) -> tuple[str, ...]:
    search = SearchOptions.of(settings.decoding)
    if search.beam == 1:
        return ()
    return (f"dev is scored by greedy search; `evaluate` and `translate` use {search.describe()}",)


def build_model(
    settings: TranslatorSettings,
    data: TranslationData,
    device: torch.device,
    teacher: Teacher | None = None,
) -> TranslatorModel:
    """A new model with vocabularies from the training part, or with those of its teacher.

    Raises:
        SettingsError: the model is to copy, but its vocabulary changes the text (by lower-casing it, say).
        UsageError, ModelError: as for `Vocabularies.build`.
    """
    if teacher is None:
        vocabularies = Vocabularies.build(
            data.train, settings.vocabulary, spaced=settings.data.target_symbols == "spaces"
        )
        description = _description(settings)
    else:
        vocabularies = teacher.model.vocabularies
        built_as = teacher.model.description.vocabulary
        description = _description(settings).model_copy(update={"vocabulary": built_as})
    if settings.model.tied == "all" and not vocabularies.is_shared:
        raise SettingsError(
            "model.tied = 'all' needs a vocabulary that both sides share; the teacher has none"
        )
    if copies_of(settings.model) != "nothing":
        vocabularies.require_exact_copies()
    sizes = len(vocabularies.source.symbols), len(vocabularies.target.symbols)
    network = build_network(*sizes, settings.model)
    return TranslatorModel(network, vocabularies, description, device=device, precision=torch.float32)


def describe_vocabularies(vocabularies: Vocabularies) -> str:
    """One line about the vocabularies: sizes, kind, whether they are shared."""
    sizes = [(codec.kind, len(codec.symbols)) for codec in (vocabularies.source, vocabularies.target)]
    if vocabularies.is_shared:
        return f"vocabulary: {sizes[0][1]:,} symbols ({sizes[0][0]}), shared"
    return f"vocabulary: {sizes[0][1]:,} source and {sizes[1][1]:,} target symbols ({sizes[0][0]})"


def fine_tuning_settings(settings: TranslatorSettings, initial: TranslatorModel | None) -> TranslatorSettings:
    """Settings of a fine-tuning run, in which network and vocabularies are those of the model.

    Args:
        settings: The settings as given.
        initial: The model to fine-tune; None = a new model, which takes the settings as given.

    Raises:
        SettingsError: the settings name another network or vocabulary than the model's, or a setting
            that has no effect on it; or a new model is to be trained with a sequence-level objective,
            from which an untrained network cannot learn, since all its samples have no reward.
    """
    if initial is None:
        if settings.training.objective != "mle":
            raise SettingsError(
                f"training.objective = {settings.training.objective!r} fine-tunes a trained model; name it "
                "with --init-from MODEL (with --resume too), or train one first with objective = 'mle'"
            )
        return settings
    if settings.raw_text:
        raise SettingsError(
            "--source-text and --target-text are for a new translator, which learns from them first; with "
            "--init-from leave them out"
        )
    base = initial.description
    return settings_of_base(settings, model=base.model, vocabulary=base.vocabulary)


def loss_function(
    model: TranslatorModel, settings: TranslatorSettings, teacher: Teacher | None = None
) -> Callable[[Batch], LossSum]:
    """The function that computes the training loss of a batch, as the settings define it.

    Args:
        model: The model whose network is trained.
        settings: The run's settings.
        teacher: Whose distributions are learned as well; None = there is none.
    """
    training = settings.training

    network, penalties = model.network, StatePenalties(*training.state_penalties)

    def once(batch: Batch) -> Pass:
        ratio = reference_ratio(training.teacher_forcing, batch.step)
        forward = mixed_forcing_pass(network, batch, ratio)
        loss = network.loss_of(
            forward,
            batch,
            smoothing=training.label_smoothing,
            coverage_loss=training.coverage_loss,
            penalties=penalties,
        )
        if teacher is not None and training.distillation != "sequence":
            taught = teacher.cross_entropy(network, forward, batch)
            loss = loss._replace(total=loss.total + training.teacher_weight * taught)
        if batch.beside is not None:
            made_up = network.loss(batch.beside, smoothing=training.label_smoothing)
            loss = loss._replace(total=loss.total + training.hallucinate_weight * made_up.total)
        return Pass(loss, forward)

    def plain(batch: Batch) -> LossSum:
        def divergence(first: ForwardPass[Any, Any], second: ForwardPass[Any, Any]) -> Tensor:
            return network.divergence(first, second, batch.target_mask)

        return loss_of_passes(network, partial(once, batch), divergence, training)

    if training.objective == "mle":
        return plain
    return SequenceLoss(model.network, model.vocabularies, training, seed=settings.seed, plain=plain)


def _description(settings: TranslatorSettings) -> TranslatorDescription:
    return TranslatorDescription(
        name=settings.name,
        model=settings.model,
        vocabulary=settings.vocabulary,
        data=settings.data,
        decoding=settings.decoding,
    )


def adopted(initial: TranslatorModel, settings: TranslatorSettings) -> TranslatorModel:
    """The model to fine-tune, with the name and settings of this run."""
    return TranslatorModel(
        initial.network,
        initial.vocabularies,
        _description(settings).model_copy(update={"model": initial.description.model}),
        device=initial.device,
        precision=torch.float32,
    )
