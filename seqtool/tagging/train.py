"""A tagger's run from settings to a model folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from seqtool.devices import resolve_device
from seqtool.errors import DataError, SettingsError, nearest
from seqtool.nn.crf import negative_log_likelihood, viterbi
from seqtool.nn.embeddings import pretrained_rows
from seqtool.nn.losses import LossSum
from seqtool.nn.regularization import StatePenalties
from seqtool.tagging.batches import Batch, Corpus, TrainingBatches, encode
from seqtool.tagging.data import Part, TaggingData, tag_inventory
from seqtool.tagging.model import VocabularySizes, Tagger, class_weights
from seqtool.tagging.prediction import TaggerDescription, TaggerModel
from seqtool.tagging.remarks import remarks_on
from seqtool.tagging.scores import accuracy, entities, span_scores
from seqtool.tagging.settings import ModelSettings, TaggerSettings
from seqtool.tagging.vocabulary import Vocabularies
from seqtool.text.columns import TaggedSentence
from seqtool.text.tag_scheme import Scheme
from seqtool.training.finetuning import settings_of_base
from seqtool.training.job import Job
from seqtool.training.passes import Pass, loss_of_passes
from seqtool.training.progress import FitResult

BIASES = tuple(step / 2 for step in range(11))  # nats; what entity_bias = "auto" starts from, for all types
MOVES = (-1.5, -1.0, -0.5, 0.5, 1.0, 1.5)  # nats; what it then tries for each type alone
BIAS = "entity_bias."  # heads the metrics that say what the biases were


class Evaluator:
    """Scores the network on the development part, for the training loop.

    With `entity_bias = "auto"` the search runs under a few biases on the same scores, first one
    for all types, then moved for each type in turn, and the best F1 counts. Maximising F1 needs a
    decision threshold of half the F1 that is reached, not one half (Lipton, Elkan and
    Naryanaswamy 2014, section 4), so where F1 is low a search for the likeliest path finds far too
    few entities; and where types are more or less frequent than in training, each has a prior of
    its own to be corrected (Saerens, Latinne and Decaestecker 2002).

    Args:
        model: Around the network that is being trained.
        sentences: The development part, tags in the scheme of the model.
        bias: A number, one by type, or "auto".
        partial_gold: Whether `?` and `|` in gold tags mark partial annotation.

    Raises:
        SettingsError: a bias for a type that the model does not have.
    """

    def __init__(
        self,
        model: TaggerModel,
        sentences: Sequence[TaggedSentence],
        bias: float | Mapping[str, float] | Literal["auto"],
        *,
        partial_gold: bool = True,
    ) -> None:
        self._model = model
        self._partial_gold = partial_gold
        self._sentences = list(sentences)
        self._gold = [list(sentence.tags or ()) for sentence in sentences]
        known = {tag: number for number, tag in enumerate(model.vocabularies.tags.symbols)}
        self._ids = [[known.get(tag, -1) for tag in tags] for tags in self._gold]
        self._fixed = None if bias == "auto" else _by_type(bias, model.types)

    def __call__(self) -> dict[str, float]:
        """loss, precision, recall, f1 (of spans), accuracy, and the entity biases that gave them."""
        self._model.forget()
        batches = [(part, scores, mask) for part, scores, mask in self._model.score_batches(self._sentences)]
        return {**self._loss(batches), **self._decoded(batches)}

    def _loss(self, batches: Sequence[Any]) -> dict[str, float]:
        """Nats a token, without biases; sentences with tags that the model can never give are left out."""
        total, tokens, chain = 0.0, 0, self._model.network.crf.chain()
        for part, scores, mask in batches:
            gold = torch.full(mask.shape, -1)
            for row, position in enumerate(part):
                gold[row, : len(self._ids[position])] = torch.tensor(self._ids[position])
            gold = gold.to(mask.device)
            known = ((gold >= 0) | ~mask).all(1)
            losses = negative_log_likelihood(scores, chain, gold.clamp(min=0), mask)
            known &= losses.isfinite()
            total += float(losses[known].sum().detach())
            tokens += int(mask[known].sum())
        return {"loss": total / tokens} if tokens else {}

    def _decoded(self, batches: Sequence[Any]) -> dict[str, float]:
        """What the search gives under the best biases, or the fixed ones."""
        if self._fixed is not None:
            return self._metrics(batches, self._fixed)
        types = self._model.types
        best = self._best(batches, [dict.fromkeys(types, bias) for bias in BIASES[: None if types else 1]])
        for kind in types if len(types) > 1 else ():
            present = biases_of(best)
            best = self._best(batches, [{**present, kind: present[kind] + move} for move in MOVES], best)
        return best

    def _best(
        self,
        batches: Sequence[Any],
        candidates: Sequence[dict[str, float]],
        best: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """The best metrics; between equals the first: what changes nothing is left as it was."""
        metric = "f1" if self._model.scheme else "accuracy"
        for biases in candidates:
            found = self._metrics(batches, biases)
            if best is None or found[metric] > best[metric]:
                best = found
        assert best is not None
        return best

    def _metrics(self, batches: Sequence[Any], biases: Mapping[str, float]) -> dict[str, float]:
        names = self._model.vocabularies.tags.symbols
        chain = self._model.network.crf.chain()
        predicted: list[list[str]] = [[]] * len(self._sentences)
        for part, scores, mask in batches:
            paths = viterbi(self._model.biased(scores, biases), chain, mask)[0].tolist()
            for position, path in zip(part, paths, strict=True):
                predicted[position] = [names[i] for i in path[: len(self._gold[position])]]
        correct = accuracy(self._gold, predicted, partial_gold=self._partial_gold).value
        scheme = self._model.description.model_scheme
        if scheme is None:
            return {"accuracy": correct}
        scores_by_name = span_scores(self._gold, predicted, scheme)
        metrics = {name: score.value for name, score in scores_by_name.items()}
        details = {BIAS + kind: bias for kind, bias in biases.items()}
        return {**metrics, "accuracy": correct, **details}


def biases_of(metrics: Mapping[str, float]) -> dict[str, float]:
    """The entity biases, by type, that metrics were reached with."""
    return {name.removeprefix(BIAS): value for name, value in metrics.items() if name.startswith(BIAS)}


def prepare(
    settings: TaggerSettings, data: TaggingData, initial: TaggerModel | None = None
) -> Job[TaggerModel, Batch]:
    """A tagger's run, ready to train.

    Args:
        settings: Settings of the run.
        data: The training and development parts.
        initial: The model to fine-tune, whose vocabularies and network stay; None = a new one.

    Raises:
        DataError: tags that the loss cannot use.
        SettingsError: settings that do not fit the data or `initial`.
    """
    device = resolve_device(settings.device)
    torch.manual_seed(settings.seed)
    if initial is None:
        model = build_model(settings, data, device)
        facts = load_pretrained(model, settings)
    else:
        model, facts = adopted(initial, settings, data), ()
    table = model.vocabularies.form_table(model.description.vocabulary)
    corpus = encode(data.train, model.vocabularies, table, with_tags=True)
    _require_known_tags(corpus, data.parts["train"])
    return Job(
        settings=settings,
        data=data,
        model=model,
        batches=TrainingBatches(model.vocabularies, data, corpus, settings, device),
        loss=loss_function(model, corpus, settings),
        evaluate=Evaluator(model, data.dev, settings.decoding.entity_bias, partial_gold=data.partial),
        select="f1" if model.scheme else "accuracy",
        facts=facts,
        warnings=(*data.warnings, *remarks_on(data, set(model.vocabularies.tags.symbols))),
        conclude=_keep_biases,
    )


def _keep_biases(model: TaggerModel, result: FitResult, say: Callable[[str], None]) -> tuple[str, ...]:
    """The entity biases that the best evaluation was reached with become the model's."""
    model.description = model.description.model_copy(update={"entity_bias": biases_of(result.metrics)})
    return ()


def loss_function(model: TaggerModel, corpus: Corpus, settings: TaggerSettings) -> Callable[[Batch], LossSum]:
    """The loss of a batch, with the class weights and the smoothing of the settings."""
    tags, scheme = model.vocabularies.tags.symbols, model.description.model_scheme
    _require_known_classes(settings, tags, scheme)
    weights = class_weights(settings.training.class_weights, tags, scheme)
    if weights is not None and corpus.partial:
        raise SettingsError("training.class_weights: some training tags are partial; leave it out")
    weights = None if weights is None else weights.to(model.device)
    network, training = model.network, settings.training
    penalties = StatePenalties(*training.state_penalties)

    def once(batch: Batch) -> Pass:
        found = network.encoded(batch)
        loss = network.loss_of(
            found.scores, batch, label_smoothing=training.label_smoothing, class_weights=weights
        )
        penalty = penalties(found.states, found.dropped, batch.mask)
        return Pass(loss._replace(total=loss.total + penalty), found.scores)

    def loss(batch: Batch) -> LossSum:
        def divergence(first: Tensor, second: Tensor) -> Tensor:
            return network.divergence(first, second, batch.mask)

        return loss_of_passes(network, partial(once, batch), divergence, training)

    return loss


def build_model(settings: TaggerSettings, data: TaggingData, device: torch.device) -> TaggerModel:
    """A fresh model with vocabularies from the training part."""
    tags = tag_inventory(data.train, data.scheme, partial=data.partial)
    vocabularies = Vocabularies.build(data.train, tags, settings.vocabulary)
    network = Tagger(VocabularySizes.of(vocabularies), settings.model, tuple(tags), data.scheme)
    set_word_dropout(network, vocabularies, settings.model)
    return TaggerModel(
        network,
        vocabularies,
        TaggerDescription(
            task=settings.task,
            name=settings.name,
            model=settings.model,
            vocabulary=settings.vocabulary,
            scheme=data.file_scheme,
            model_scheme=data.scheme,
            columns=settings.data,
            entity_bias={},
        ),
        training_entities=_entities(data),
        device=device,
        precision=torch.float32,
    )


def set_word_dropout(network: Tagger, vocabularies: Vocabularies, settings: ModelSettings) -> None:
    """Set how often each word is replaced by the unknown word in training, from its count.

    A model folder holds no counts: when it is fine-tuned, every word counts as a frequent one.
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


def _require_known_tags(corpus: Corpus, part: Part) -> None:
    """Fine-tuning may meet a tag that the model does not have."""
    for number, tags in enumerate(corpus.tags or ()):
        possible = corpus.partial.get(number)
        unknown = tags < 0 if possible is None else ~possible.any(1)
        if unknown.any():
            position = int(unknown.argmax())
            sentence = part.sentences[number]
            tag = (sentence.tags or ())[position]
            raise DataError(
                f"{sentence.source}:{sentence.line + position}: the model to fine-tune has no tag {tag!r}"
            )


def _require_known_classes(settings: TaggerSettings, tags: Sequence[str], scheme: Scheme | None) -> None:
    """A weight for a class that does not exist would be accepted and ignored."""
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
    """Settings of a run that goes on from a model: network and vocabularies are those of the model.

    Args:
        settings: As they were given.
        initial: The model; None = a fresh one, which is trained with the settings as they are.

    Raises:
        SettingsError: the settings ask for another network or vocabulary, or for what this one has not.
    """
    if initial is not None:
        base = initial.description
        settings = settings_of_base(settings, model=base.model, vocabulary=base.vocabulary)
    # Only now it is known what the network is.
    given = settings.training.passage != type(settings.training).model_fields["passage"].default
    if given and not settings.model.document_hidden:
        raise SettingsError("training.passage has no effect with model.document_hidden = 0; leave it out")
    return settings


def adopted(initial: TaggerModel, settings: TaggerSettings, data: TaggingData) -> TaggerModel:
    """The model to fine-tune as a model of this run."""
    if initial.description.model_scheme != data.scheme:
        raise SettingsError("--init-from: the model was made for another kind of tags (spans or none)")
    set_word_dropout(initial.network, initial.vocabularies, settings.model)
    return TaggerModel(
        initial.network,
        initial.vocabularies,
        initial.description.model_copy(
            update={"name": settings.name, "scheme": data.file_scheme, "data": settings.data}
        ),
        training_entities=initial.training_entities | _entities(data),
        device=initial.device,
        precision=torch.float32,
    )


def _by_type(bias: float | Mapping[str, float], types: Sequence[str]) -> dict[str, float]:
    if not isinstance(bias, Mapping):
        return dict.fromkeys(types, float(bias))
    for kind in bias:
        if kind not in types:
            raise SettingsError(
                f"decoding.entity_bias.{kind}: no such entity type; there are {', '.join(types)}"
                f"{nearest(kind, types)}"
            )
    return {kind: bias.get(kind, 0.0) for kind in types}
