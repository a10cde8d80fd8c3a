"""Tagging with a trained model: tags and exact confidences, independent of how sentences are batched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self, cast

import torch
from torch import Tensor

from seqtool.devices import resolve_precision
from seqtool.errors import UsageError
from seqtool.models.folder import ModelFolder
from seqtool.models.trained import ModelFiles, TrainedModel, require_several, restored
from seqtool.nn.forward_backward import Chain
from seqtool.nn.hierarchy import DocumentState, sentence_vectors
from seqtool.tagging.batches import Corpus, encode
from seqtool.tagging.decoding import Prediction, TagDecoder
from seqtool.tagging.description import TaggerDescription
from seqtool.tagging.documents import DocumentContext, documents
from seqtool.tagging.entities import (
    TRAINING_ENTITIES,
    Entity,
    entities_of,
    entities_of_lines,
    entity_lines,
    tokenised,
)
from seqtool.tagging.form_cache import FormCache
from seqtool.tagging.model import BatchOutput, BatchStates, Tagger, VocabularySizes
from seqtool.tagging.readings import Readings
from seqtool.tagging.vocabulary import Vocabularies
from seqtool.text.batching import prediction_batches
from seqtool.text.columns import TaggedSentence
from seqtool.text.tag_scheme import Scheme

if TYPE_CHECKING:
    from seqtool.lm.reading import SentenceReader

TASKS = ("ner", "pos")
BATCH_TOKENS = 4096
READ_AT_ONCE = 512  # sentences whose encoder states are in memory while the document's state passes over them
CACHED_FORMS = 60_000  # form vectors that are kept between batches; beyond that the cache is emptied


class TaggerModel(TrainedModel):
    """A trained tagger, ready to use.

    Args:
        network: The network with its weights.
        vocabularies: Vocabularies of the network.
        description: The rest of the model's configuration.
        training_entities: (type, surface form) of each entity of the training part.
        device: Device that the network is on.
        precision: Arithmetic of the encoder, float32 or bfloat16.
        place: Name of the model in messages.
    """

    TASKS = TASKS
    USAGE = "seqtool tag -m {} < sentences.txt"
    network: Tagger
    description: TaggerDescription

    def __init__(
        self,
        network: Tagger,
        vocabularies: Vocabularies,
        description: TaggerDescription,
        *,
        training_entities: set[tuple[str, str]],
        device: torch.device,
        precision: torch.dtype,
        place: str = "",
    ) -> None:
        super().__init__(network, description, device=device, precision=precision, place=place)
        self.vocabularies = vocabularies
        self.training_entities = training_entities
        self._forms = FormCache(network, vocabularies.form_table(description.vocabulary))
        tags, scheme = vocabularies.tags.symbols, description.model_scheme
        self.decoder = TagDecoder(tags, scheme, description.scheme, device)

    @property
    def members(self) -> Sequence[TaggerModel]:
        """See `TrainedModel.members`."""
        return (self,)

    @property
    def types(self) -> list[str]:
        """The entity types; none for parts of speech."""
        return self.decoder.types

    @property
    def chain(self) -> Chain:
        """Transition, start and end scores of the CRF."""
        return self.network.crf.chain()

    @property
    def kind(self) -> str:
        """What kind of model this is, for the model card."""
        return f"tagger (task `{self.description.task}`)"

    @property
    def scheme(self) -> Scheme | None:
        """Tag scheme of the tags that `tag` returns, that of the training files; None for parts of speech."""
        return self.description.scheme

    def tag(self, sentences: Iterable[Sequence[str]]) -> list[list[str]]:
        """Tags of tokenised sentences, one per token; for a tagger of documents they are one document.

            seqtool.load("runs/ner/ner-tiny").tag([["Ada", "lives", "in", "London"]])

        Raises:
            UsageError: text that is not tokenised.
            DataError: the model reads feature columns, which plain tokens do not have.
        """
        given = [sentences] if isinstance(sentences, str) else list(sentences)
        if any(isinstance(sentence, str) for sentence in given):
            plain_text = "" if self.scheme is None else '; for plain text write tagger.entities(["Ada has"])'
            raise UsageError(f'tag reads tokenised sentences, as in tagger.tag([["Ada", "has"]]){plain_text}')
        plain = [TaggedSentence(tuple(tokens)) for tokens in given]
        return [prediction.tags for prediction in self.predict(plain)]

    def entities(self, texts: Sequence[str], *, min_confidence: float = 0.0) -> list[list[Entity]]:
        """The entities of plain texts, tokenised as `seqtool tag` does it; each text is one sentence.

            (found,) = seqtool.load("runs/ner/ner-tiny").entities(["Ada Lovelace lives in London."])
            found[0].text, found[0].type, found[0].confidence

        Args:
            texts: One sentence each.
            min_confidence: Leave out entities with a lower confidence, in [0, 1].

        Raises:
            UsageError: a single text instead of a list, or a tagger without entities.
            DataError: the model reads feature columns, which plain text does not have.
        """
        require_several(texts, 'tagger.entities(["Ada lives in London."])')
        if self.scheme is None:
            raise UsageError("this model tags single tokens, not entities; write tagger.tag([[...tokens]])")
        tokens, sentences = tokenised(texts)
        found = self.predict(sentences, confidence=True, min_confidence=min_confidence)
        rows = zip(texts, tokens, found, strict=True)
        return [entities_of(text, row, p.spans, p.span_confidence or []) for text, row, p in rows]

    def predict(
        self,
        sentences: Sequence[TaggedSentence],
        *,
        confidence: bool = False,
        min_confidence: float = 0.0,
        kbest: int = 0,
        batch_tokens: int = BATCH_TOKENS,
        context: DocumentContext | None = None,
    ) -> list[Prediction]:
        """Tag sentences, with confidences and alternatives on request.

        Args:
            sentences: Sentences with the feature columns that the model reads; some may be empty.
            confidence: Whether to compute the exact confidences of spans and tokens.
            min_confidence: Least confidence of a span, in [0, 1]; those below it are removed.
            kbest: Number of alternative tag paths to return, 0 = none. They are ranked with the entity
                biases, as in the search; the posterior of each is without them.
            batch_tokens: Largest number of padded tokens in a batch; a longer sentence is its own batch.
            context: State of the document that the sentences continue, updated in place; read by a tagger
                with a document recurrence only. None = the sentences begin a document.

        Raises:
            DataError: a sentence lacks a feature column that the model reads.
        """
        empty = Prediction([], [], *(([], []) if confidence else ()))
        result = [replace(empty, alternatives=[([], 1.0)] if kbest else None)] * len(sentences)
        filled = [i for i, sentence in enumerate(sentences) if sentence.tokens]
        for part, scores, mask in self.score_batches([sentences[i] for i in filled], batch_tokens, context):
            found = self.decoded(scores, mask, confidence, min_confidence, kbest)
            for position, prediction in zip(part, found, strict=True):
                result[filled[position]] = prediction
        return result

    @torch.inference_mode()
    def score_batches(
        self,
        sentences: Sequence[TaggedSentence],
        batch_tokens: int = BATCH_TOKENS,
        context: DocumentContext | None = None,
        readings: Readings | None = None,
    ) -> Iterator[BatchOutput]:
        """Emission scores of sentences, batch by batch.

        Args:
            sentences: Sentences with at least one token each.
            batch_tokens: Largest number of padded tokens in a batch.
            context: State of the document that the sentences continue; see `predict`.
            readings: What `readings` returned for these sentences, if they are tagged more than once.

        Yields:
            Indices of B sentences, their emission scores in nats [B, T, K], and the mask [B, T].
        """
        if self.network.document is None:
            for found in self.state_batches(sentences, batch_tokens, readings):
                yield found.part, self.network.scores_after(found.states, found.lexical), found.mask
            return
        context = DocumentContext() if context is None else context
        # The document's state before a sentence depends on all sentences before it, but batches are sorted by
        # length: so encode a number of sentences, pass over them in their order, then compute their scores.
        for start in range(0, len(sentences), READ_AT_ONCE):
            some = sentences[start : start + READ_AT_ONCE]
            batches = list(self.state_batches(some, batch_tokens))
            before = self._read(self.network.document, some, batches, context)
            for part, dropped, lexical, mask in batches:
                scores = self.network.scores_after(dropped, lexical, before[part])
                yield [start + i for i in part], scores, mask

    def _read(
        self,
        document: DocumentState,
        sentences: Sequence[TaggedSentence],
        found: Sequence[BatchStates],
        context: DocumentContext,
    ) -> Tensor:
        """State of the document's recurrence before each of N sentences, [N, H]; moves `context` past them.

        Args:
            document: The recurrence over sentences.
            sentences: The N sentences in the order of the document.
            found: Their encoder states, by batches.
            context: State at the end of the sentences before.
        """
        # [N, 2H of the encoder]
        vectors = self.network.output.weight.detach().new_empty(len(sentences), self.network.encoder.outputs)
        for part, dropped, _, mask in found:
            vectors[part] = sentence_vectors(dropped, mask)
        before = []
        for span in documents(sentences):
            if context.state is None or sentences[span.start].opens:
                context.state = document.initial(1, vectors)
            with self.autocast():
                # [1, sentences of the document, H]
                states, context.state = document(vectors[None, span.start : span.stop], context.state)
            before.append(states[0].to(vectors.dtype))
        return torch.cat(before)

    @property
    def task(self) -> str:
        """The task that the model folder names."""
        return self.description.task

    def files(self) -> ModelFiles:
        """The model's files: vocabularies, and the entities of the training part."""
        texts = {**self.vocabularies.to_texts(), TRAINING_ENTITIES: entity_lines(self.training_entities)}
        if not self.readers:
            return ModelFiles(texts)
        from seqtool.lm.reading import reader_files  # imported for taggers that have some only

        return ModelFiles(texts, reader_files(self.readers))

    @property
    def readers(self) -> list[SentenceReader]:
        """The language models that sentences are read with; mostly there are none."""
        return cast("list[SentenceReader]", list(self.network.readers))

    def readings(self, sentences: Sequence[TaggedSentence], *, keep: bool = False) -> Readings | None:
        """What the language models find in sentences, all kept in memory or not; None if there are none."""
        return Readings(self.readers, sentences, keep=keep) if self.readers else None

    @classmethod
    def precision_for(cls, name: str, device: torch.device) -> torch.dtype | None:
        """The arithmetic that `--precision` names; None = auto, which depends on the model.

        A tagger with a document recurrence uses fp32, because rounding in bf16 depends on the batch and
        would accumulate from sentence to sentence. Raises the errors of `resolve_precision`.
        """
        return None if name == "auto" else resolve_precision(name, device)

    @classmethod
    def from_folder(
        cls, folder: ModelFolder, *, name: str, device: torch.device, precision: torch.dtype | None
    ) -> Self:
        """A tagger from the contents of a model folder.

        Args:
            folder: The contents.
            name: Name of the model in messages.
            device: Device that the model shall run on.
            precision: Arithmetic of the encoder; None = auto.

        Raises:
            ModelError: the contents are damaged or do not fit each other.
        """
        description = TaggerDescription.from_config({**folder.config, "task": folder.task}, name)
        vocabularies = Vocabularies.from_texts(folder.texts)
        if precision is None:
            reads_documents = bool(description.model.document_hidden)
            precision = torch.float32 if reads_documents else resolve_precision("auto", device)

        def build() -> Tagger:
            tags, scheme = vocabularies.tags.symbols, description.model_scheme
            readers = _readers(description, folder, name)
            return Tagger(VocabularySizes.of(vocabularies), description.model, tags, scheme, readers)

        return cls(
            restored(build, folder, description.model.layers, name),
            vocabularies,
            description,
            training_entities=entities_of_lines(folder.texts.get(TRAINING_ENTITIES, ""), name),
            device=device,
            precision=precision,
            place=name,
        )

    def forget(self) -> None:
        """Empty the cache of form vectors; needed after the network's weights have changed."""
        self._forms.clear()

    def _encode(self, sentences: Sequence[TaggedSentence], readings: Readings | None) -> Corpus:
        if len(self._forms.table) > CACHED_FORMS:
            self.forget()
        readings = readings or self.readings(sentences)
        return encode(sentences, self.vocabularies, self._forms.table, with_tags=False, readings=readings)

    @torch.inference_mode()
    def state_batches(
        self,
        sentences: Sequence[TaggedSentence],
        batch_tokens: int = BATCH_TOKENS,
        readings: Readings | None = None,
    ) -> Iterator[BatchStates]:
        """Encoder states of sentences, batch by batch."""
        corpus = self._encode(sentences, readings)
        for part in prediction_batches(corpus.lengths, budget=batch_tokens):
            with self.autocast():
                self._forms.update()
            rows, features, mask = corpus.columns(part)
            columns = tuple(column.to(self.device) for column in features)
            mask = mask.to(self.device)
            read = None if corpus.readings is None else corpus.readings.batch(part)
            # forms [B, T, form_outputs] to states [B, T, 2H]
            with self.autocast():
                words = self._forms.vectors[rows.to(self.device)]
                states = self.network.states(words, columns, mask, read)[1]
            yield BatchStates(part, states, self.network.of_lexical(words, mask), mask)

    def decoded(
        self, scores: Tensor, mask: Tensor, confidence: bool = False, least: float = 0.0, kbest: int = 0
    ) -> list[Prediction]:
        """Predictions for B sentences from their emission scores [B, T, K] and mask [B, T]; see `predict`."""
        chain, biased = self.chain, self.biased(scores)
        return self.decoder.decoded(scores, biased, chain, mask, confidence, least, kbest)

    def biased(self, scores: Tensor, bias: Mapping[str, float] | None = None) -> Tensor:
        """Emission scores with the entity bias added to every tag that begins an entity, [B, T, K].

        A bias counts once per entity, not per token: it changes the prior probability of an entity of
        that type, and favours long entities no more than short ones.

        Args:
            scores: Emission scores, nats, [B, T, K].
            bias: Bias of each entity type, nats; None = the biases of the model.
        """
        bias = self.description.entity_bias if bias is None else bias
        if not any(bias.values()):
            return scores
        # [types] @ [types, K] to [K], the bias of each tag
        return (
            scores
            + self.decoder.begins.new_tensor([bias.get(kind, 0.0) for kind in self.types])
            @ self.decoder.begins
        )


def _readers(description: TaggerDescription, folder: ModelFolder, name: str) -> list[SentenceReader]:
    """The language models of a tagger, whose weights are still to be restored; mostly there are none."""
    if not description.readers:
        return []
    from seqtool.lm.reading import built_readers  # imported for taggers that have some only

    return built_readers(description.readers, folder.codecs, name)
