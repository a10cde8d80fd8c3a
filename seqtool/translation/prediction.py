"""Translating with a trained model: translations that do not depend on how sources are batched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from pydantic import Field

from seqtool.devices import PRECISION_NAMES, multiplies_int8, resolve_precision
from seqtool.errors import SettingsError, UsageError
from seqtool.models.description import Description
from seqtool.models.folder import ModelFolder
from seqtool.models.trained import ModelFiles, TrainedModel, require_several, restored
from seqtool.nn.quantized import require_exact_sums
from seqtool.settings import MOST_VALUES
from seqtool.text.batching import prediction_batches
from seqtool.text.parallel import FEATURES, SentencePair, parse_source
from seqtool.translation.batches import MOST_TIMES, UNKNOWN_RATIO, EncodedPair, SourceBatch, source_batch
from seqtool.translation.candidates import Rescoring, Translation, most_like_others
from seqtool.translation.corpora import Tags, columns_of_lines
from seqtool.translation.data_settings import DataSettings
from seqtool.translation.network import Network, SearchStep
from seqtool.translation.scoring import ScoredPair, score_pairs, word_alignment
from seqtool.translation.search import SearchOptions, SearchTask, UnwritableError, run_search
from seqtool.translation.settings import DecodingSettings, ModelSettings
from seqtool.translation.steps import build_network, stepper
from seqtool.translation.vocabulary import END, EncodedSource, Vocabularies, copies_of, word_numbers
from seqtool.translation.vocabulary_settings import VocabularySettings

TASK = "translate"
MOST_TAGS = 2 * MOST_VALUES
WORTH_INT8 = 2**20  # weights of an output projection; for smaller ones int8 is no faster
BATCH_TOKENS = 8192
# Tensors of pointer networks saved by earlier versions, which are not used any more.
NEVER_READ = ("bias", "projection", "readout_norm.weight", "readout_norm.bias")


class TranslatorDescription(Description):
    """The configuration of a translator in its model folder, beside weights and vocabularies."""

    KEPT: ClassVar[Mapping[str, Set[str]]] = {
        "vocabulary": VocabularySettings.model_fields.keys() - {"source_file", "target_file"},
        # How the lines given to `translate` and the files given to `evaluate` are read.
        "data": {"columns", "feature_separator", "languages", "empty", "target_symbols"},
    }

    model: ModelSettings
    vocabulary: VocabularySettings
    data: DataSettings
    decoding: DecodingSettings
    # Target symbols per source symbol in the training data, which limits the length of outputs.
    length_ratio: float = Field(UNKNOWN_RATIO, gt=0, le=MOST_TIMES)
    # Symbols that are put before a source, and whether every source needs one.
    tags: list[str] = Field([], max_length=MOST_TAGS)
    tag_needed: bool = False


class TranslatorModel(TrainedModel):
    """A trained translator, ready to use.

    Args:
        network: The network with its weights.
        vocabularies: Vocabularies of the network.
        description: The rest of the model's configuration.
        device: Device that the network is on.
        precision: Arithmetic: float32; bfloat16 for matrix products of encoder and decoder; or int8 for
            matrix products of search steps. All else is float32.
        place: Name of the model in messages.
    """

    TASKS = (TASK,)
    USAGE = "seqtool translate -m {} < sentences.txt"
    network: Network[Any, Any]
    description: TranslatorDescription

    def __init__(
        self,
        network: Network[Any, Any],
        vocabularies: Vocabularies,
        description: TranslatorDescription,
        *,
        device: torch.device,
        precision: torch.dtype,
        place: str = "",
    ) -> None:
        super().__init__(network, description, device=device, precision=precision, place=place)
        self.vocabularies = vocabularies
        self._step_over: Callable[[Any, int], SearchStep] | None = None

    @property
    def members(self) -> Sequence[TranslatorModel]:
        """See `TrainedModel.members`."""
        return (self,)

    @property
    def tags(self) -> Tags:
        """The tags that the model knows."""
        return Tags(tuple(self.description.tags), self.description.tag_needed)

    @property
    def columns(self) -> list[str]:
        """Columns of the files and lines that it reads: those of its training files, and one for the tag."""
        return columns_of_lines(self.description.data.columns, self.tags)

    @property
    def usage(self) -> str:
        """See `TrainedModel.usage`; features are a column, and a tag an option."""
        usage = self.USAGE
        if self.description.tag_needed:
            usage = usage.replace(" <", f" --tag {self.description.tags[0]} <")
        named = [name.upper() for name in self.description.data.columns if name in ("source", FEATURES)]
        return usage if len(named) == 1 else f"{usage}  # each line: {' TAB '.join(named)}"

    @property
    def kind(self) -> str:
        """What kind of model this is, for the model card."""
        return "translator"

    def translate(
        self,
        lines: Sequence[str],
        options: SearchOptions | None = None,
        *,
        beam: int | None = None,
        rescoring: Rescoring | None = None,
        tag: str | None = None,
    ) -> list[str]:
        """The best translation of each line; that of an empty line is empty.

            seqtool.load("runs/translate/translate-tiny").translate(["the engine stops"], beam=10)

        Args:
            lines: One source each; for a model with features, its columns are separated by tabs.
            options: Options of the search; None = those of the model's recipe.
            beam: Beam size, at least 1, instead of that of `options`; 1 = greedy search.
            rescoring: A language model of the target language, with its weight; None = the translator alone.
            tag: Tag of all lines; None = each has its own, if the model has tags, as its first feature.

        Raises:
            UsageError: a single line instead of a list, or a beam size below 1, or below 2 with `rescoring`,
                or a tag that the model does not know.
            DataError: a line does not have the columns that the model reads, or lacks a tag.
        """
        require_several(lines, 'translator.translate(["the engine stops"])')
        several = self.translations(lines, options, beam=beam, rescoring=rescoring, tag=tag)
        return [found[0].text if found else "" for found in several]

    def translations(
        self,
        lines: Sequence[str],
        options: SearchOptions | None = None,
        *,
        beam: int | None = None,
        nbest: int | None = None,
        rescoring: Rescoring | None = None,
        tag: str | None = None,
    ) -> list[list[Translation]]:
        """The best translations of each line with their scores, the best first; an empty line has none.

            found = seqtool.load("runs/translate/translate-tiny").translations(["the engine stops"], nbest=3)
            [(each.text, each.score) for each in found[0]]

        Args:
            lines: One source each, as for `translate`.
            options: Options of the search; None = those of the model's recipe.
            beam: Beam size, at least 1, instead of that of `options`.
            nbest: Number of translations, at least 1, instead of that of `options`; without `beam`, the beam
                is as large at least.
            rescoring: As for `translate`.
            tag: As for `translate`.

        Raises:
            UsageError, DataError: as `translate`; UsageError: `nbest` is larger than `beam`.
        """
        require_several(lines, 'translator.translations(["the engine stops"])')
        chosen = options or SearchOptions.of(self.description.decoding)
        several = chosen.nbest if nbest is None else nbest
        size = max(chosen.beam, several) if beam is None else beam
        pairs = [self.parse(line, number, tag=tag) for number, line in enumerate(lines, 1)]
        return self.search(pairs, replace(chosen, beam=size, nbest=several), rescoring=rescoring)

    def parse(
        self, line: str, number: int = 0, file: str = "line", *, tag: str | None = None
    ) -> SentencePair:
        """Split a line into source and features, among them its tag (errors of `translate`)."""
        data = self.description.data
        columns = self.columns if tag is None else data.columns
        return self.tagged(parse_source(line, columns, data.feature_separator, file=file, number=number), tag)

    def tagged(self, pair: SentencePair, tag: str | None = None) -> SentencePair:
        """A pair with a tag, which is checked (errors of `translate`).

        Args:
            pair: The pair.
            tag: Its tag; None = its first feature, if the model has tags.
        """
        tags = self.tags
        tags.require_known(tag)
        found = tags.put(pair, tag)
        behind = " TAB ".join(name.upper() for name in self.columns if name in ("source", FEATURES))
        tags.require([found], f"write it as the first feature ({behind}), or name it with --tag")
        return found

    @torch.inference_mode()
    def search(
        self,
        pairs: Sequence[SentencePair],
        options: SearchOptions | None = None,
        *,
        prefixes: Sequence[str] | None = None,
        phrases: Sequence[Sequence[str]] | None = None,
        rescoring: Rescoring | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[list[Translation]]:
        """The n best translations of each source, the best first; an empty source has none.

        Args:
            pairs: Sources with their features; targets are ignored.
            options: Options of the search; None = those of the model's recipe.
            prefixes: Text that each translation begins with; None = no constraint.
            phrases: Texts that each translation contains; None = no constraint.
            rescoring: A language model that reorders the outputs of the beam; None = the order of the search.
            batch_tokens: Largest number of padded source symbols times hypotheses in a batch; a longer
                sentence is its own batch.

        Raises:
            UnwritableError: a prefix or phrase has a word that is not in the vocabulary and cannot be copied.
            UsageError: phrases with diverse beam search, prefixes or phrases with sampling, a coverage
                penalty without attention, or `rescoring` with sampling or a beam of 1.
        """
        asked = options or SearchOptions.of(self.description.decoding)
        chosen = asked if rescoring is None else rescoring.widened(asked)
        if chosen.draws and (any(prefixes or ()) or any(phrases or ())):
            raise UsageError("prefixes and phrases cannot be combined with sampling; leave them out")
        if chosen.diverse > 1 and phrases is not None and any(phrases):
            raise UsageError("phrases cannot be combined with diverse beam search; leave out one of them")
        for member in self.members:
            if chosen.coverage_penalty and not member.description.model.aligns:
                raise UsageError(
                    f"{member.place} has no attention, so a coverage penalty has no effect; leave it out"
                )
        filled = [i for i, pair in enumerate(pairs) if pair.source.strip()]
        tasks = [
            SearchTask(
                self.encoded_source(pairs[i]),
                pairs[i].line or i,
                "" if prefixes is None else prefixes[i],
                () if phrases is None else phrases[i],
            )
            for i in filled
        ]
        for i, task in zip(filled, tasks, strict=True):
            self._require_writable(task, pairs[i], i)
        result: list[list[Translation]] = [[] for _ in pairs]
        budget = max(batch_tokens // chosen.rows, 1)
        for part in prediction_batches([len(task.source.ids) for task in tasks], budget=budget):
            found = self._search([tasks[i] for i in part], chosen)
            for i, translations in zip(part, found, strict=True):
                result[filled[i]] = translations
        return result if rescoring is None else rescoring.ranked(result, asked)

    def read(
        self,
        pairs: Sequence[SentencePair],
        targets: Sequence[Sequence[int]] | None = None,
        *,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[ScoredPair]:
        """Score given outputs: their log probabilities, with attention and copy probabilities.

        Args:
            pairs: Sources, with targets unless `targets` are given.
            targets: Extended ids of the outputs without END, such as those of hypotheses; None = the targets
                of the pairs.
            batch_tokens: Largest number of padded symbols in a batch.
        """
        encoded, apart = [], self.description.model.reads_apart
        for number, pair in enumerate(pairs):
            source = self.encoded_source(pair)
            if targets is None:
                ids = self.vocabularies.encode_target(pair.target or "", source.extra)
            else:
                ids = [*targets[number], END]
            encoded.append(EncodedPair(source, ids))
        scored_pairs = self._scored(encoded, batch_tokens)
        return [
            scored._replace(
                source_symbols=tuple(self.vocabularies.source_symbols(pair, apart=apart)),
                target_symbols=tuple(self.vocabularies.target_symbols(each.target, each.source.extra)),
            )
            for pair, each, scored in zip(pairs, encoded, scored_pairs, strict=True)
        ]

    def _scored(self, pairs: Sequence[EncodedPair], batch_tokens: int) -> list[ScoredPair]:
        return score_pairs(
            self.network, pairs, device=self.device, autocast=self.autocast(), batch_tokens=batch_tokens
        )

    def alignment(self, pair: SentencePair, scored: ScoredPair) -> str:
        """The source word with the most attention of each output word, in Pharaoh format.

        The attention of a word is the sum over its symbols; features and END are not counted as words.

        Args:
            pair: The source, with its features.
            scored: Its output as scored by `read`.

        Returns:
            `source-target` pairs of word numbers from 0, separated by spaces.
        """
        pieces = self.vocabularies.source.pieces(pair.source)
        sources = word_numbers(self.vocabularies.source, [piece.symbol for piece in pieces])
        features = 0 if self.description.model.reads_apart else len(pair.features)
        words = max(sources, default=-1) + 1
        if self.description.model.sums:  # what is written at the end has no source word
            sources = [*sources, words]
        table = scored.attention[:-1, features : features + len(sources)]
        targets = word_numbers(self.vocabularies.target, scored.target_symbols[:-1])
        return " ".join(f"{s}-{t}" for s, t in word_alignment(table, sources, targets) if s < words)

    def files(self) -> ModelFiles:
        """The model's files: its vocabularies."""
        return ModelFiles(codecs=self.vocabularies.to_files())

    @classmethod
    def precision_for(cls, name: str, device: torch.device) -> torch.dtype | None:
        """The arithmetic that `--precision` names; None = auto, which depends on the model.

        auto is never bf16: there the last bits of a matrix product depend on the number of rows, so a
        translation could depend on the batch.

        Args:
            name: auto, fp32, bf16 or int8.
            device: Device that the model shall run on.

        Raises:
            SettingsError: int8 on another device than a CPU, or a precision that the device lacks.
        """
        if name == "int8":
            if device.type != "cpu":
                raise SettingsError(f"precision int8 is for the CPU (this is {device}); use fp32 or bf16")
            require_exact_sums()
            return torch.int8
        return None if name == "auto" else resolve_precision(name, device)

    @classmethod
    def from_folder(
        cls, folder: ModelFolder, *, name: str, device: torch.device, precision: torch.dtype | None = None
    ) -> Self:
        """A translator from the contents of a model folder.

        Args:
            folder: The contents.
            name: Name of the model in messages.
            device: Device that the model shall run on.
            precision: Arithmetic; None = int8 if that is faster, otherwise float32.

        Raises:
            ModelError: the contents are damaged or do not fit each other.
        """
        description = TranslatorDescription.from_config(folder.config, name)
        vocabularies = Vocabularies.from_files(folder.codecs, name)
        if description.model.output == "positions":
            folder = folder._replace(tensors=_without_projection(dict(folder.tensors)))
        sizes = len(vocabularies.source.symbols), len(vocabularies.target.symbols)
        layers = description.model.encoder_layers + description.model.decoder_layers
        network = restored(lambda: build_network(*sizes, description.model), folder, layers, name)
        if precision is None:
            projection = getattr(network, "projection", None)
            large = projection is not None and projection.numel() >= WORTH_INT8
            precision = torch.int8 if large and multiplies_int8(device) else torch.float32
        return cls(network, vocabularies, description, device=device, precision=precision, place=name)

    def require_attention(self, purpose: str) -> None:
        """Check that the model has attention.

        Args:
            purpose: What the attention is needed for, such as "to draw".

        Raises:
            UsageError: the model has no attention.
        """
        if not self.description.model.aligns:
            raise UsageError(f"{self.place}: this model has no attention {purpose}: model.attention = 'none'")

    def describe_search(self, options: SearchOptions, rescoring: Rescoring | None = None) -> str:
        """Short description of a search, of what reorders its outputs, and of the model's arithmetic."""
        parts = [options.describe()]
        if rescoring is not None and rescoring.weight:
            parts.append(rescoring.describe())
        return ", ".join([*parts, PRECISION_NAMES[self.precision]])

    def forget(self) -> None:
        """Drop the tables computed from the weights; needed after the weights have changed."""
        self._step_over = None

    def encoded_source(self, pair: SentencePair) -> EncodedSource:
        """The source of a pair as ids."""
        model = self.description.model
        return self.vocabularies.encode_source(pair, copies=copies_of(model), apart=model.reads_apart)

    def _search(self, tasks: Sequence[SearchTask], options: SearchOptions) -> list[list[Translation]]:
        batch = source_batch([task.source for task in tasks]).to(self.device)
        with self.autocast():
            steps = [member.step(batch) for member in self.members]
            ratio = self.description.length_ratio
            found = run_search(steps, tasks, options, self.vocabularies, self.device, ratio)
        translations = [
            [Translation(self.vocabularies.text(each.tokens, task.source.extra), each) for each in hypotheses]
            for task, hypotheses in zip(tasks, found, strict=True)
        ]
        return [most_like_others(each) for each in translations] if options.mbr else translations

    def step(self, batch: SourceBatch) -> SearchStep:
        """The decoder as a step of a search over a batch of sources."""
        if self._step_over is None:
            self._step_over = stepper(self.network, int8=self.precision == torch.int8)
        return self._step_over(self.network.encode(batch), batch.extra)

    def _require_writable(self, task: SearchTask, pair: SentencePair, number: int) -> None:
        for kind, texts in (("prefix", [task.prefix]), ("phrase", task.phrases)):
            for text in texts:
                word = self.vocabularies.unwritable(text, task.source.extra)
                if word is not None:
                    nor = (
                        ", and neither has the source"
                        if copies_of(self.description.model) != "nothing"
                        else ""
                    )
                    problem = f"{kind} {text!r}: the vocabulary has no {word!r}{nor}; leave the {kind} out"
                    raise UnwritableError(pair.place, number, kind, problem)


def _without_projection(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a pointer network in the present format; earlier versions saved a tied projection."""
    if "projection" in tensors:
        tensors.setdefault("target.weight", tensors["projection"])
    return {name: tensor for name, tensor in tensors.items() if name not in NEVER_READ}
