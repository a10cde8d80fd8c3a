"""Training a tagger: its loss, its scores on the development part, and the job that the loop runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from seqtool.devices import resolve_device
from seqtool.errors import SettingsError, counted, nearest
from seqtool.lm.reading import SentenceReader, load_reader
from seqtool.models.ensemble import load_members
from seqtool.nn.embeddings import pretrained_rows
from seqtool.nn.losses import LossSum
from seqtool.nn.regularization import StatePenalties
from seqtool.nn.word_prediction import WordPrediction
from seqtool.settings import validate
from seqtool.settings_keys import given_keys, put
from seqtool.tagging.batches import Batch, Corpus, TrainingBatches
from seqtool.tagging.data import TaggingData, tag_inventory
from seqtool.tagging.defaults import OF_FEW
from seqtool.tagging.description import TaggerDescription
from seqtool.tagging.ensemble import TaggerEnsemble
from seqtool.tagging.evaluator import Evaluator, biases_of
from seqtool.tagging.growth import grown
from seqtool.tagging.model import Tagger, VocabularySizes, class_weights
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.remarks import remarks_on
from seqtool.tagging.scores import entities
from seqtool.tagging.settings import ModelSettings, TaggerSettings
from seqtool.tagging.teaching import lesson_of, taught_corpus
from seqtool.tagging.vocabulary import Vocabularies
from seqtool.text.tag_scheme import Scheme
from seqtool.training.finetuning import settings_of_base
from seqtool.training.job import Job
from seqtool.training.passes import Pass, loss_of_passes
from seqtool.training.progress import FitResult


def prepare(
    settings: TaggerSettings,
    data: TaggingData,
    initial: TaggerModel | None = None,
    readers: Sequence[SentenceReader] = (),
    teachers: Mapping[str, TaggerModel] | None = None,
) -> Job[TaggerModel, Batch]:
    """The job of training a tagger, with everything checked that can be checked before training.

    Args:
        settings: The run's settings.
        data: The training and development parts.
        initial: The model to fine-tune, whose vocabularies and network are kept; None = a new model.
        readers: Language models that were trained for this run; `model.language_models` names others.
        teachers: Taggers whose opinion of raw text is learned, by their names in messages;
            None = none; `training.teachers` names others.

    Raises:
        SettingsError: a setting does not fit the data or `initial`.
    """
    device = resolve_device(settings.device)
    torch.manual_seed(settings.seed)
    if initial is None:
        others = [load_reader(Path(path), device) for path in settings.model.language_models]
        model = build_model(settings, data, device, [*readers, *others])
        facts = load_pretrained(model, settings)
    else:
        model, facts = adopted(initial, settings, data)
    named = {
        path: TaggerEnsemble(load_members(TaggerModel, [Path(path)], device=str(device)))
        for path in settings.training.teachers
    }
    _add_word_prediction(model, settings)
    lesson = lesson_of({**(teachers or {}), **named}, model, settings, data)
    corpus = taught_corpus(model, settings, data, lesson)
    return Job(
        settings=settings,
        data=data,
        model=model,
        batches=TrainingBatches(model.vocabularies, data, corpus, settings, device, lesson.sentences),
        loss=loss_function(model, corpus, settings),
        evaluate=Evaluator(model, data.dev, settings.decoding.entity_bias, partial_gold=data.partial),
        select="f1" if model.scheme else "accuracy",
        facts=(*facts, *lesson.facts),
        warnings=(*data.warnings, *remarks_on(data, set(model.vocabularies.tags.symbols))),
        conclude=_conclude,
        ignored=settings.without_effect(new_model=initial is None),
        inputs={
            **{f"language model {n}": reader.digest for n, reader in enumerate(model.readers, 1)},
            **{f"teacher {n}": digest for n, digest in enumerate(lesson.digests, 1)},
        },
    )


def _add_word_prediction(model: TaggerModel, settings: TaggerSettings) -> None:
    """Let the network predict words as well, if the settings say so, until training is over."""
    if not settings.training.word_prediction:
        return
    if model.readers:
        raise SettingsError(
            "training.word_prediction: the model has language models, which do that; leave it out"
        )
    # A word that occurs once cannot be expected, so it counts as unknown; a trained model holds no counts.
    counts, known = model.vocabularies.word_counts, len(model.vocabularies.words)
    words = min(1 + sum(count > 1 for count in counts.values()), known) if counts else known
    model.network.word_prediction = WordPrediction(settings.model.hidden, words).to(model.device)


def _conclude(model: TaggerModel, result: FitResult, say: Callable[[str], None]) -> tuple[str, ...]:
    """Store the entity biases of the best evaluation in the model, and drop what only training needs."""
    model.network.word_prediction = None
    model.description = model.description.model_copy(update={"entity_bias": biases_of(result.metrics)})
    return ()


def loss_function(model: TaggerModel, corpus: Corpus, settings: TaggerSettings) -> Callable[[Batch], LossSum]:
    """The function that computes the training loss of a batch, as the settings define it.

    Args:
        model: The model whose network is trained.
        corpus: The training part, encoded.
        settings: The run's settings.

    Raises:
        SettingsError: class weights for an unknown class, or together with partial annotation.
    """
    tags, scheme = model.vocabularies.tags.symbols, model.description.model_scheme
    _require_known_classes(settings, tags, scheme)
    weights = class_weights(settings.training.class_weights, tags, scheme)
    if weights is not None and corpus.partial:
        raise SettingsError(
            "training.class_weights cannot be used with partial tags, which the training part has; remove it"
        )
    weights = None if weights is None else weights.to(model.device)
    network, training = model.network, settings.training
    penalties = StatePenalties(*training.state_penalties)

    def loss_of(scores: Tensor, batch: Batch) -> LossSum:
        gold = partial(network.loss_of, label_smoothing=training.label_smoothing, class_weights=weights)
        if batch.taught is None or batch.annotated is None or corpus.lessons is None:
            return gold(scores, batch)
        total, others = scores.new_zeros(()), ~batch.annotated
        if batch.annotated.any():
            total = gold(scores[batch.annotated], batch.annotated_part).total
        if others.any():
            taught, mask = batch.taught[others], batch.mask[others]
            total = total + network.taught_loss(scores[others], taught, corpus.lessons.chain, mask)
        return LossSum(total, int(batch.mask.sum()), "token")

    total = sum(corpus.lengths)

    def of_lexical(tokens: int) -> Tensor | float:
        """The share of a batch of so many tokens in the penalty of the lexical weights."""
        if network.lexical is None or not (training.lexical_l1 or training.lexical_l2):
            return 0.0
        return network.lexical.penalty(training.lexical_l1, training.lexical_l2) * (tokens / total)

    def once(batch: Batch) -> Pass:
        found = network.encoded(batch)
        loss = loss_of(found.scores, batch)
        penalty = penalties(found.states, found.dropped, batch.mask) + of_lexical(loss.count)
        penalty = penalty + training.word_prediction * network.word_loss(found.dropped, batch)
        return Pass(loss._replace(total=loss.total + penalty), found.scores)

    def loss(batch: Batch) -> LossSum:
        def divergence(first: Tensor, second: Tensor) -> Tensor:
            return network.divergence(first, second, batch.mask)

        return loss_of_passes(network, partial(once, batch), divergence, training)

    return loss


def build_model(
    settings: TaggerSettings,
    data: TaggingData,
    device: torch.device,
    readers: Sequence[SentenceReader] = (),
) -> TaggerModel:
    """A new model with vocabularies from the training part, which reads sentences with language models."""
    tags = tag_inventory(data.train, data.scheme, partial=data.partial)
    vocabularies = Vocabularies.build(data.train, tags, settings.vocabulary, lexical=settings.model.lexical)
    network = Tagger(VocabularySizes.of(vocabularies), settings.model, tuple(tags), data.scheme, readers)
    set_word_dropout(network, vocabularies, settings.model)
    return TaggerModel(
        network,
        vocabularies,
        TaggerDescription(
            task=settings.task,
            name=settings.name,
            # Without the paths of language models, since they become part of this model.
            model=settings.model.model_copy(update={"language_models": []}),
            vocabulary=settings.vocabulary,
            scheme=data.file_scheme,
            model_scheme=data.scheme,
            columns=settings.data,
            entity_bias={},
            readers=[reader.description.model_dump() for reader in readers],
        ),
        training_entities=_entities(data),
        device=device,
        precision=torch.float32,
    )


def set_word_dropout(network: Tagger, vocabularies: Vocabularies, settings: ModelSettings) -> None:
    """Set the probability with which training replaces each word by the unknown word, by its count.

    A model folder holds no counts, so in fine-tuning every word counts as a frequent one.
    """
    counts = [vocabularies.word_counts.get(word, 0) for word in vocabularies.words.symbols]
    network.forms.set_word_dropout(
        counts, singletons=settings.singleton_dropout, others=settings.word_dropout
    )


def _entities(data: TaggingData) -> set[tuple[str, str]]:
    if data.scheme is None:
        return set()
    pairs = [(sentence.tokens, sentence.tags) for sentence in data.train if sentence.tags]
    return entities([tokens for tokens, _ in pairs], [tags for _, tags in pairs], data.scheme)


def _require_known_classes(settings: TaggerSettings, tags: Sequence[str], scheme: Scheme | None) -> None:
    """Refuse a weight for a class that does not exist, which would have no effect."""
    known = {*tags, *(tag.split("-", 1)[-1] for tag in tags if scheme is not None)}
    for name in settings.training.class_weights:
        if name not in known:
            raise SettingsError(
                f"training.class_weights.{name}: neither an entity type nor a tag of the training part; "
                f"there are {', '.join(sorted(known))}{nearest(name, known)}"
            )


def load_pretrained(model: TaggerModel, settings: TaggerSettings) -> tuple[str, ...]:
    """Put pretrained vectors, if the settings name a file of them, in place of the words' own.

    Returns:
        How many words have one, for people.

    Raises:
        SettingsError: the vectors have another width than the embeddings.
    """
    path = settings.vocabulary.pretrained
    if path is None:
        return ()
    words = model.vocabularies.words.symbols
    vectors, found = pretrained_rows(Path(path), {word: row for row, word in enumerate(words)})
    width = settings.model.word_embedding
    if vectors.shape[1] != width:
        raise SettingsError(
            f"model.word_embedding = {width}, but {path} has vectors of width "
            f"{vectors.shape[1]}; set model.word_embedding={vectors.shape[1]}"
        )
    model.network.load_pretrained(vectors, found, freeze=settings.vocabulary.freeze_pretrained)
    count, total = int(found.sum()), len(words) - 1  # the unknown word is none
    remark = "; is it the file of another language?" if 10 * count < total else ""
    return (f"{count:,} of {total:,} words have a pretrained vector{remark}",)


def fine_tuning_settings(settings: TaggerSettings, initial: TaggerModel | None) -> TaggerSettings:
    """Settings of a fine-tuning run, in which network and vocabularies are those of the model.

    Args:
        settings: The settings as given.
        initial: The model to fine-tune; None = a new model, for which the settings stay as given.

    Raises:
        SettingsError: the settings name another network or vocabulary than the model's, or a setting
            that has no effect on its network.
    """
    if initial is not None:
        base = initial.description
        if settings.data.text:
            raise SettingsError(
                "--text trains language models for a new tagger; --init-from keeps those of the model: leave "
                "one of them out"
            )
        settings = settings_of_base(settings, model=base.model, vocabulary=base.vocabulary)
        # What a new model has to learn from few labels, a trained one knows.
        tables = settings.model_dump(exclude_unset=True, by_alias=True)
        for key in OF_FEW.keys() - given_keys(settings):
            tables = put(tables, key, 0.0)
        settings = validate(TaggerSettings, tables, "--init-from")
    # Checked here, since only the model to fine-tune determines whether there is a document recurrence.
    given = settings.training.passage != type(settings.training).model_fields["passage"].default
    if given and not settings.model.document_hidden:
        raise SettingsError("training.passage has no effect with model.document_hidden = 0; remove it")
    return settings


def adopted(
    initial: TaggerModel, settings: TaggerSettings, data: TaggingData
) -> tuple[TaggerModel, tuple[str, ...]]:
    """The model to fine-tune, with the name, data settings, training entities and new tags of this run.

    Returns:
        The model, and what to tell the user about it.

    Raises:
        SettingsError: the model was trained for spans and the data has none, or the reverse.
    """
    if initial.description.model_scheme != data.scheme:
        raise SettingsError(
            "--init-from: the model was trained for another kind of tags (spans or plain tags); "
            "name a model of the same task"
        )
    known = len(initial.vocabularies.tags)
    initial = grown(initial, tag_inventory(data.train, data.scheme, partial=data.partial))
    set_word_dropout(initial.network, initial.vocabularies, settings.model)
    model = TaggerModel(
        initial.network,
        initial.vocabularies,
        initial.description.model_copy(
            update={"name": settings.name, "scheme": data.file_scheme, "data": settings.data}
        ),
        training_entities=initial.training_entities | _entities(data),
        device=initial.device,
        precision=torch.float32,
    )
    return model, _new_tags(model, known)


def _new_tags(model: TaggerModel, known: int) -> tuple[str, ...]:
    """What to tell the user if the model has more tags than the `known` ones of the model to fine-tune."""
    new = model.vocabularies.tags.symbols[known:]
    if not new:
        return ()
    types = dict.fromkeys(tag[2:] for tag in new)
    what = counted(len(new), "new tag") if model.scheme is None else counted(len(types), "new entity type")
    names = ", ".join(new if model.scheme is None else types)
    return (f"{what}: {names}; the model grows from {known} to {known + len(new)} tags",)
