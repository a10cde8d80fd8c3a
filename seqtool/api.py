"""What the command line calls and a Python program may call: `train` and `load`."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from seqtool import devices
from seqtool.evaluations import evaluate_language_model, evaluate_tagger, evaluate_translator
from seqtool.loading import latest_model, load, load_language_model, load_tagger, load_translator, task_of
from seqtool.resolution import (
    Files,
    recipe_text,
    require_files,
    resolve_settings,
    task_of_recipe,
)
from seqtool.tasks import TASKS
from seqtool.version import __version__

# A wing is imported when its task is asked for, and what trains when something is trained: a start of
# `tag` should cost one wing and nothing of training.
if TYPE_CHECKING:
    from seqtool.lm.prediction import LanguageModel
    from seqtool.lm.settings import LanguageModelSettings
    from seqtool.tagging.prediction import TaggerModel
    from seqtool.tagging.settings import TaggerSettings
    from seqtool.training.job import Estimate, TrainedRun
    from seqtool.training.progress import Reporter
    from seqtool.training.run_folder import RunFolder
    from seqtool.translation.prediction import TranslatorModel
    from seqtool.translation.settings import TranslatorSettings

    AnySettings: TypeAlias = TaggerSettings | TranslatorSettings | LanguageModelSettings
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
) -> TrainedRun[Any]:
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
    from seqtool.training import distributed, job
    from seqtool.training.progress import SilentReporter, TensorBoardReporter

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
        if resume:
            _announce_resumption(run, listener)
        run.recipe_text = recipe_text(settings)
        prepared = spec.prepare(settings, data, base)
        result = job.train(prepared, run=run, reporter=listener, resume=resume)
        if run.writes:
            run.write_manifest(_manifest(settings, data, device, result, time.time() - started))
            run.mark_finished(task=settings.task)
        return result


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
    from seqtool.training import job

    devices.configure(settings.threads, settings.deterministic)
    device = devices.resolve_device(settings.device)
    devices.resolve_precision(settings.training.precision, device)
    require_files(settings)
    spec = TASKS[settings.task]()
    return job.estimate(spec.prepare(settings, spec.load_data(settings), base))


__all__ = [
    "TASKS",
    "estimate",
    "evaluate_language_model",
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
    from seqtool.training.run_folder import RunFolder

    return RunFolder.create_for_all(
        None if output is None else Path(output),
        device=device,
        task=settings.task,
        name=settings.name,
        resume=resume,
        overwrite=overwrite,
    )


def _announce_resumption(run: RunFolder, listener: Reporter) -> None:
    """Say what there is to continue where that is not an unfinished run."""
    from seqtool.training.checkpoint import Checkpoints

    if _is_finished(run):
        listener.message(
            f"{run.path}: already finished; it goes on where a limit (epochs, steps, minutes) was raised"
        )
    elif not Checkpoints(run.state).steps():
        listener.message(f"{run.path}: no run to continue here; a new one begins")


def _is_finished(run: RunFolder) -> bool:
    return run.manifest.exists()


def _manifest(
    settings: AnySettings,
    data: Any,
    device: torch.device,
    result: TrainedRun[Any],
    seconds: float,
) -> dict[str, Any]:
    spec = TASKS[settings.task]()
    return {
        "task": settings.task,
        "command": sys.argv,
        "versions": {
            "seqtool": __version__,
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
            name: {"source": part.source, "sha256": part.digest, spec.unit: part.size}
            for name, part in data.parts.items()
        },
        "best": {"step": result.result.best_step, **result.result.metrics},
        "stopped_by": result.result.reason,
        "training_seconds": result.result.seconds,
        "seconds": seconds,
    }
