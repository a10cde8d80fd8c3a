"""The table of tasks: what each task provides to the command line and to Python programs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqtool.training.defaults import Choice
    from seqtool.training.job import Job


@dataclass(frozen=True)
class Task:
    """What a task provides."""

    settings: type[Any]  # settings class of a run
    default_recipe: str | None  # recipe that is trained if neither a recipe nor files are named
    # Table and key of every setting that names files; list.key = the key of each table in the list.
    paths: tuple[tuple[str, str], ...]
    automatic: tuple[str, ...]  # dotted keys of the settings that are chosen from the data if not given
    choose: Callable[[Any, Any], Choice]  # from settings and data to values of these settings
    load_data: Callable[[Any], Any]  # from settings to data
    # From settings, data, and a model to fine-tune or None; taggers also take `readers` and `teachers`.
    prepare: Callable[..., Job[Any, Any]]
    fine_tuning_settings: Callable[[Any, Any], Any]  # from settings, and a model to fine-tune or None
    model: type[Any]  # class of its trained models
    trace: Callable[[Any, list[str], int], Any]  # from a model, lines and the index of a layer to a trace
    unit: str = "sentences"  # unit that the size of a part of the data is counted in
    folders: tuple[tuple[str, str], ...] = ()  # those of `paths` that may name folders

    @property
    def reads_folders(self) -> bool:
        """Whether a folder of files can be the training part."""
        return ("data", "train") in self.folders


def _tagger(default_recipe: str) -> Task:
    from seqtool.tagging import data, defaults, prediction, settings, tracing, train

    folders = (("data", "text"), ("model", "language_models"), ("training", "teachers"))
    files = (("data", "train"), ("data", "dev"), ("data", "test"), ("vocabulary", "pretrained"))
    return Task(
        settings=settings.TaggerSettings,
        default_recipe=default_recipe,
        paths=(*files, *folders),
        automatic=defaults.AUTOMATIC,
        choose=defaults.choose,
        load_data=data.load_training_data,
        prepare=train.prepare,
        fine_tuning_settings=train.fine_tuning_settings,
        model=prediction.TaggerModel,
        trace=tracing.trace,
        folders=folders,
    )


def _translator() -> Task:
    from seqtool.translation import data, defaults, prediction, settings, tracing, train

    folders = (("data", "source_text"), ("data", "target_text"))
    files = (("data", "train"), ("data", "dev"), ("data", "test"), ("data", "corpora.train"))
    vocabularies = (("vocabulary", "source_file"), ("vocabulary", "target_file"))
    return Task(
        settings=settings.TranslatorSettings,
        default_recipe="translate-tiny",
        paths=(*files, *vocabularies, *folders),
        automatic=defaults.AUTOMATIC,
        choose=defaults.choose,
        load_data=data.load_training_data,
        prepare=train.prepare,
        fine_tuning_settings=train.fine_tuning_settings,
        model=prediction.TranslatorModel,
        trace=tracing.trace,
        folders=folders,
    )


def _language_model() -> Task:
    from seqtool.lm import data, defaults, prediction, settings, tracing, train

    files = (("data", "train"), ("data", "dev"), ("data", "test"))
    return Task(
        settings=settings.LanguageModelSettings,
        default_recipe="lm-tiny",
        paths=files,
        automatic=defaults.AUTOMATIC,
        choose=defaults.choose,
        load_data=data.load_training_data,
        prepare=train.prepare,
        fine_tuning_settings=train.fine_tuning_settings,
        model=prediction.LanguageModel,
        trace=tracing.trace,
        unit="characters",
        folders=files,
    )


TASKS: dict[str, Callable[[], Task]] = {
    "ner": functools.cache(lambda: _tagger("ner-tiny")),
    "pos": functools.cache(lambda: _tagger("pos-ewt")),
    "translate": functools.cache(_translator),
    "lm": functools.cache(_language_model),
}


def _tagger_model() -> type[Any]:
    from seqtool.tagging.prediction import TaggerModel

    return TaggerModel


def _translator_model() -> type[Any]:
    from seqtool.translation.prediction import TranslatorModel

    return TranslatorModel


def _language_model_class() -> type[Any]:
    from seqtool.lm.prediction import LanguageModel

    return LanguageModel


# The class that loads the models of each task; importing it imports nothing that only training needs.
MODELS: dict[str, Callable[[], type[Any]]] = {
    "ner": _tagger_model,
    "pos": _tagger_model,
    "translate": _translator_model,
    "lm": _language_model_class,
}


def _tagger_ensemble() -> type[Any]:
    from seqtool.tagging.ensemble import TaggerEnsemble

    return TaggerEnsemble


def _translator_ensemble() -> type[Any]:
    from seqtool.translation.ensemble import TranslatorEnsemble

    return TranslatorEnsemble


# Classes of several models as one; called with the models.
ENSEMBLES: dict[str, Callable[[], type[Any]]] = {
    "ner": _tagger_ensemble,
    "pos": _tagger_ensemble,
    "translate": _translator_ensemble,
}


def _tagging_assessment() -> Any:
    from seqtool.tagging import assessment

    return assessment


def _translation_assessment() -> Any:
    from seqtool.translation import assessment

    return assessment


def _lm_assessment() -> Any:
    from seqtool.lm import assessment

    return assessment


# The module that evaluates the models of each task: `assessment` of its wing, which has
# `EvaluationOptions`, `metric_names`, `evaluation_data` and `assess`.
ASSESSMENTS: dict[str, Callable[[], Any]] = {
    "ner": _tagging_assessment,
    "pos": _tagging_assessment,
    "translate": _translation_assessment,
    "lm": _lm_assessment,
}


def _tagger_embedding() -> Any:
    from seqtool.tagging.embedding import embed

    return embed


def _translator_embedding() -> Any:
    from seqtool.translation.embedding import embed

    return embed


def _lm_embedding() -> Any:
    from seqtool.lm.embedding import embed

    return embed


# The function that embeds lines with the models of each task: `embed` of its wing.
EMBEDDINGS: dict[str, Callable[[], Any]] = {
    "ner": _tagger_embedding,
    "pos": _tagger_embedding,
    "translate": _translator_embedding,
    "lm": _lm_embedding,
}
