"""What the command line calls and a Python program may call: `train` and `load`."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

import seqtool
from seqtool.errors import ModelError
from seqtool.resolution import (
    Files,
    recipe_text,
    require_files,
    resolve_settings,
    settings_of_run,
    task_of_recipe,
)
from seqtool.tasks import TASKS
from seqtool.training import devices, distributed
from seqtool.training.checkpoint import Checkpoints
from seqtool.training.datafiles import PartName
from seqtool.training.estimate import Estimate
from seqtool.training.modelfolder import load_model_folder, model_task
from seqtool.training.progress import Reporter, SilentReporter, TensorBoardReporter
from seqtool.training.runfolder import RunFolder, find_latest

if TYPE_CHECKING:  # a wing is imported when its task is asked for: starting up should cost one wing, not all
    from seqtool.lm.prediction import LanguageModel
    from seqtool.lm.settings import LanguageModelSettings
    from seqtool.lm.train import LanguageModelRun
    from seqtool.tagging.assessment import TaggerEvaluation
    from seqtool.tagging.prediction import TaggerModel
    from seqtool.tagging.settings import TaggerSettings
    from seqtool.tagging.train import TaggerRun
    from seqtool.translation.assessment import TranslatorEvaluation
    from seqtool.translation.prediction import TranslatorModel
    from seqtool.translation.settings import TranslatorSettings
    from seqtool.translation.train import TranslatorRun

    AnySettings: TypeAlias = TaggerSettings | TranslatorSettings | LanguageModelSettings
    AnyRun: TypeAlias = TaggerRun | TranslatorRun | LanguageModelRun
    AnyModel: TypeAlias = TaggerModel | TranslatorModel | LanguageModel


def train(
    recipe: str | Path | Mapping[str, Any] | AnySettings | None = None,
    *,
    task: str | None = None,
    files: Mapping[str, Files | None] | None = None,
    overrides: Iterable[str] = (),
    output: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    initial: str | Path | None = None,
    reporter: Reporter | None = None,
    track: str | None = None,
) -> AnyRun:
    """Train a model: what `seqtool train` does.

    Args:
        recipe: Name of a bundled recipe, a TOML file, its tables, or complete settings.
        task: Name of the task; read from the recipe when None.
        files: `{"train": ..., "dev": ..., "test": ...}` in place of the recipe's data.
        overrides: `KEY=VALUE`, as for `--set`.
        output: The run folder; None = `runs/<task>/<name>`, or the first free `<name>-2`, ...
        resume: Continue the run in that folder.
        overwrite: Replace the run in that folder.
        initial: A model to fine-tune.
        reporter: Hears of progress; None = silence.
        track: "tensorboard", or None.

    Returns:
        The run: its folder, the model, the result of training.

    Raises:
        SeqtoolError: one of its subclasses; see `seqtool.errors`.
    """
    if isinstance(recipe, str | Path | Mapping) or recipe is None:
        settings = resolve_settings(task or task_of_recipe(recipe), recipe, files=files, overrides=overrides)
    else:
        settings = recipe
    spec = TASKS[settings.task]()
    listener = reporter or SilentReporter()
    devices.configure(settings.threads, settings.deterministic)
    device = devices.resolve_device(settings.device)
    devices.resolve_precision(settings.training.precision, device)
    started = time.time()
    settings, base = starting_from(settings, initial)
    require_files(settings)
    with (
        distributed.process_group(device),
        _run_folder(settings, output, device, resume=resume, overwrite=overwrite) as run,
    ):
        if not run.writes:
            listener = SilentReporter()  # under torchrun one process speaks
        data = spec.load_data(settings)
        if track == "tensorboard" and run.writes:
            listener = TensorBoardReporter(run.path / "tensorboard", listener)
        for line in data.describe():
            listener.message(line)
        if resume and _is_finished(run):
            listener.message(f"{run.path}: continuing a finished run if its limits were raised")
        elif resume and not Checkpoints(run.state).steps():
            listener.message(f"{run.path}: no run to continue here; a new one begins")
        run.recipe_text = recipe_text(settings)
        result: AnyRun = spec.train(settings, data, run=run, reporter=listener, resume=resume, initial=base)
        if run.writes:
            run.write_manifest(_manifest(settings, data, device, result, time.time() - started))
            run.mark_finished(task=settings.task)
        return result


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
    if folder.task not in TASKS:
        raise ModelError(f"{path}: a model for {folder.task!r}, expected one for {' or '.join(TASKS)}")
    reader = TASKS[folder.task]().model
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


def evaluate_tagger(
    model: str | Path,
    data: str | Path | None = None,
    *,
    part: PartName = "test",
    scheme: str = "auto",
    repair: bool = False,
    against: str | Path | None = None,
    bootstrap: int = 1000,
    target_precision: float | None = None,
    batch_tokens: int = 4096,
    device: str = "auto",
    precision: str = "auto",
) -> TaggerEvaluation:
    """Score a tagger: what `seqtool evaluate` does.

    Args:
        model: A run folder or its `model/` folder.
        data: An annotated file; None = a part of the recipe in the run folder.
        part: Which part that is: test, dev or train.
        scheme: Tag scheme of `data`, or auto.
        repair: Whether to repair invalid tag sequences of `data`.
        against: Another model, for paired tests.
        bootstrap: Resamples; 0 = no intervals.
        target_precision: Find the least confidence with this precision, in (0, 1].
        batch_tokens: Padded tokens a batch.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32 or bf16.

    Raises:
        UsageError, DataError, ModelError: a file is missing, or not what it should be.
    """
    from seqtool.tagging import assessment
    from seqtool.tagging.data import load_part

    tagger = load_tagger(model, device=device, precision=precision)
    other = None
    if against is not None:
        other = (str(against), load_tagger(against, device=device, precision=precision))
    if data is not None:
        sentences = assessment.load_evaluation_data(tagger, Path(data), scheme=scheme, repair=repair)
    else:
        sentences = load_part(settings_of_run(Path(model)), part)
    return assessment.assess(
        tagger,
        sentences,
        name=str(model),
        bootstrap=bootstrap,
        target_precision=target_precision,
        against=other,
        batch_tokens=batch_tokens,
    )


def evaluate_translator(
    model: str | Path,
    data: Files | None = None,
    *,
    part: PartName = "test",
    beam: int | None = None,
    ter: bool = False,
    against: str | Path | None = None,
    bootstrap: int = 1000,
    batch_tokens: int = 4096,
    device: str = "auto",
    precision: str = "auto",
) -> TranslatorEvaluation:
    """Score a translator: what `seqtool evaluate` does.

    Args:
        model: A run folder or its `model/` folder.
        data: Source and target files, or one TSV or JSONL file; None = a part of the recipe in the
            run folder.
        part: Which part that is: test, dev or train.
        beam: Hypotheses; None = as the recipe says.
        ter: Whether to compute TER, which is slow.
        against: Another model, for paired tests.
        bootstrap: Resamples; 0 = no intervals.
        batch_tokens: Padded symbols a batch.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32, bf16 or int8.

    Raises:
        UsageError, DataError, ModelError: a file is missing, or not what it should be.
    """
    from seqtool.translation import assessment
    from seqtool.translation.data import load_part
    from seqtool.translation.options import SearchOptions

    translator = load_translator(model, device=device, precision=precision)
    other = None
    if against is not None:
        other = (str(against), load_translator(against, device=device, precision=precision))
    if data is not None:
        paths = [Path(data)] if isinstance(data, str | Path) else [Path(each) for each in data]
        pairs = assessment.load_evaluation_data(translator, paths)
    else:
        pairs = load_part(settings_of_run(Path(model)), part)
    options = SearchOptions.of(translator.description.decoding)
    return assessment.assess(
        translator,
        pairs,
        name=str(model),
        options=options if beam is None else replace(options, beam=beam),
        ter=ter,
        bootstrap=bootstrap,
        against=other,
        batch_tokens=batch_tokens,
    )


def task_of(model: str | Path) -> str:
    """The task of a model folder or of the model in a run folder (errors of `load`)."""
    return model_task(Path(model))


def latest_model(tasks: Iterable[str]) -> Path | None:
    """The newest finished run of any of the tasks under `runs/`; None where there is none."""
    runs = [run for run in map(find_latest, tasks) if run is not None]
    return max(runs, key=lambda run: (run / "model").stat().st_mtime, default=None)


def starting_from(settings: AnySettings, initial: str | Path | None) -> tuple[AnySettings, AnyModel | None]:
    """What a run trains: its settings with the network of the model that it fine-tunes, and that model.

    Args:
        settings: Of the run.
        initial: The model to fine-tune; None = a fresh network, and the settings as they are.

    Raises:
        UsageError, ModelError: no such model, or a damaged one.
        SettingsError: settings that the model, or a fresh network, does not go with.
    """
    spec = TASKS[settings.task]()
    base: AnyModel | None = (
        None if initial is None else spec.model.load(Path(initial), device=settings.device)
    )
    return spec.fine_tuning_settings(settings, base), base


def estimate(settings: AnySettings, base: AnyModel | None = None) -> Estimate:
    """Size, memory and time of a run, from a few timed updates; nothing is written (errors of `train`).

    Args:
        settings: Of the run.
        base: The model that it fine-tunes, as `starting_from` gives both; its weights change.
    """
    devices.configure(settings.threads, settings.deterministic)
    device = devices.resolve_device(settings.device)
    devices.resolve_precision(settings.training.precision, device)
    require_files(settings)
    spec = TASKS[settings.task]()
    return spec.estimate(settings, spec.load_data(settings), base)


__all__ = [
    "TASKS",
    "estimate",
    "evaluate_tagger",
    "evaluate_translator",
    "latest_model",
    "load",
    "load_language_model",
    "load_tagger",
    "load_translator",
    "recipe_text",
    "resolve_settings",
    "shown_metric",
    "starting_from",
    "task_of",
    "train",
]


def shown_metric(settings: AnySettings) -> str:
    """The metric that picks the best weights of a run, without a sign."""
    return TASKS[settings.task]().metric(settings)


def _run_folder(
    settings: AnySettings,
    output: str | Path | None,
    device: torch.device,
    *,
    resume: bool,
    overwrite: bool,
) -> RunFolder:
    return RunFolder.create_for_all(
        None if output is None else Path(output),
        device=device,
        task=settings.task,
        name=settings.name,
        resume=resume,
        overwrite=overwrite,
    )


def _is_finished(run: RunFolder) -> bool:
    return run.manifest.exists()


def _manifest(
    settings: AnySettings,
    data: Any,
    device: torch.device,
    result: AnyRun,
    seconds: float,
) -> dict[str, Any]:
    return {
        "task": settings.task,
        "command": sys.argv,
        "versions": {
            "seqtool": seqtool.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "machine": {
            "platform": platform.platform(),
            "device": str(device),
            "threads": torch.get_num_threads(),
        },
        "seed": settings.seed,
        "data": {
            name: {"source": part.source, "sha256": part.digest, "sentences": part.size}
            for name, part in data.parts.items()
        },
        "best": {"step": result.result.best_step, **result.result.metrics},
        "stopped_by": result.result.reason,
        "training_seconds": result.result.seconds,
        "seconds": seconds,
    }
