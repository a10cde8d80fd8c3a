"""A trained model from its folder, whatever its task."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from seqtool import devices
from seqtool.errors import ModelError
from seqtool.models.folder import load_model_folder, model_task
from seqtool.tasks import MODELS
from seqtool.training.run_folder import find_latest

if TYPE_CHECKING:  # a wing is imported when its task is asked for: starting up should cost one wing, not all
    from seqtool.lm.prediction import LanguageModel
    from seqtool.tagging.prediction import TaggerModel
    from seqtool.translation.prediction import TranslatorModel

    AnyModel: TypeAlias = TaggerModel | TranslatorModel | LanguageModel


def load(path: str | Path, *, device: str = "auto", precision: str = "auto") -> AnyModel:
    """A trained model, ready to use: a tagger, a translator or a language model.

    Args:
        path: A run folder or its `model/` folder.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto (the fast one: bf16 where the hardware has it, for translators int8), fp32,
            bf16, or for translators int8.

    Raises:
        UsageError: no such model or device.
        ModelError: damaged, foreign, or made by a newer seqtool.
    """
    where = devices.resolve_device(device)
    folder = load_model_folder(Path(path))
    if folder.task not in MODELS:
        raise ModelError(f"{path}: a model for {folder.task!r}, expected one for {' or '.join(MODELS)}")
    reader = MODELS[folder.task]()
    kind = reader.precision_for(precision, where)
    model: AnyModel = reader.from_folder(folder, name=str(path), device=where, precision=kind)
    return model


def load_tagger(path: str | Path, *, device: str = "auto", precision: str = "auto") -> TaggerModel:
    """`load`, and an error if it is not a tagger."""
    from seqtool.tagging.prediction import TaggerModel

    return TaggerModel.load(Path(path), device=device, precision=precision)


def load_translator(path: str | Path, *, device: str = "auto", precision: str = "auto") -> TranslatorModel:
    """`load`, and an error if it is not a translator."""
    from seqtool.translation.prediction import TranslatorModel

    return TranslatorModel.load(Path(path), device=device, precision=precision)


def load_language_model(path: str | Path, *, device: str = "auto", precision: str = "auto") -> LanguageModel:
    """`load`, and an error if it is not a language model."""
    from seqtool.lm.prediction import LanguageModel

    return LanguageModel.load(Path(path), device=device, precision=precision)


def task_of(model: str | Path) -> str:
    """The task of a model folder or of the model in a run folder (errors of `load`)."""
    return model_task(Path(model))


def latest_model(tasks: Iterable[str]) -> Path | None:
    """The newest finished run of any of the tasks under `runs/`; None where there is none."""
    runs = [run for run in map(find_latest, tasks) if run is not None]
    return max(runs, key=lambda run: (run / "model").stat().st_mtime, default=None)
