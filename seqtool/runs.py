"""A run in its folder: one job, or several that build on one another, each with a folder of its own.

A model that is given raw text has several: `seqtool.stages` says which. `--resume` goes on with the first job
that is not finished.
"""

from __future__ import annotations

import platform
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from seqtool.errors import SettingsError
from seqtool.resolution import completed, recipe_text, settings_of_run
from seqtool.stages.whole import Whole
from seqtool.tasks import TASKS, Task
from seqtool.training import job
from seqtool.training.job import Estimate, TrainedRun
from seqtool.training.progress import Reporter, TensorBoardReporter
from seqtool.training.run_folder import RunFolder
from seqtool.version import __version__


def _tagging_stages() -> Any:
    from seqtool.stages import tagging

    return tagging


def _translation_stages() -> Any:
    from seqtool.stages import translation

    return translation


# The module with what a model of each task learns from raw text first, in stages of their own: it has
# `FOLDER`, `plan`, `carry_out`, `estimated` and `remarks`. A language model has nothing else to learn from.
STAGES: dict[str, Callable[[], Any]] = {
    "ner": _tagging_stages,
    "pos": _tagging_stages,
    "translate": _translation_stages,
}


def carry_out(
    settings: Any,
    run: RunFolder,
    *,
    base: Any = None,
    reporter: Reporter,
    resume: bool = False,
    track: str | None = None,
) -> TrainedRun[Any]:
    """Train the model of a run, after the language models that it needs, and write its manifest.

    Args:
        settings: Settings of the run.
        run: Its folder, locked by process 0.
        base: The model to fine-tune; None = a new model.
        reporter: Told of the progress.
        resume: Whether to continue where the run stopped.
        track: "tensorboard" to write events for TensorBoard, or None.

    Raises:
        SeqtoolError: the errors of reading data, of settings, and of `job.train`.
    """
    started = time.time()
    spec = TASKS[settings.task]()
    data = spec.load_data(settings)
    settings, reasons = completed(settings, data, run.recipe if resume else None)
    for line in (*data.describe(), *reasons):
        reporter.message(line)
    run.recipe_text = recipe_text(settings)
    prepare = partial(spec.prepare, settings, data, base)
    whole, stages = Whole(settings, data, run, reporter, resume), _stages_of(settings)
    if resume and stages is None:
        _require_no_stages(run)
    if stages is not None:
        for line in stages.plan(settings):
            reporter.message(line)
        prepare = partial(prepare, **stages.carry_out(whole))
    if track == "tensorboard" and run.writes:
        reporter = TensorBoardReporter(run.path / "tensorboard", reporter)
    saved = _steps_to_resume(run, stages, reporter) if resume else []
    result = job.train(prepare(), run=run, reporter=reporter, resume=resume)
    for line in stages.remarks(whole, result.result) if stages is not None else ():
        reporter.message(line)
    if result.result.steps in saved[-1:]:
        reporter.message(f"{run.path}: {settings.training.ended_by(result.result.reason)}")
    if run.writes:
        run.write_manifest(_manifest(spec, settings, data, result, time.time() - started))
        run.mark_finished(task=settings.task)
    return result


def estimated(settings: Any, base: Any = None, recorded: Path | None = None) -> Estimate:
    """Estimate size, memory and time of all jobs of a run; nothing is written to its folder.

    Args:
        settings: Settings of the run.
        base: The model to fine-tune; its weights change. None = a new model.
        recorded: Recipe of the run that would be resumed; None = a new run.
    """
    spec = TASKS[settings.task]()
    data = spec.load_data(settings)
    settings, reasons = completed(settings, data, recorded)
    prepare = partial(spec.prepare, settings, data, base)
    before: list[Estimate] = []
    if (stages := _stages_of(settings)) is not None:
        before, models = stages.estimated(settings, data, prepare)
        prepare = partial(prepare, **models)
    found = job.estimate(prepare())
    minutes = sum(each.minutes for each in before)
    said = [f"{stages.described(len(before))}: {minutes:.1f} minutes"] if before else []
    return replace(found, facts=(*reasons, *said, *found.facts), minutes=found.minutes + minutes)


def _stages_of(settings: Any) -> Any:
    """The module with the stages of a run before its last job; None if there is no raw text to learn from."""
    return STAGES[settings.task]() if settings.raw_text else None


def _require_no_stages(run: RunFolder) -> None:
    """Refuse to resume a run that learns from raw text with settings that name none.

    Raises:
        SettingsError: the run was begun with raw text.
    """
    if run.recipe.is_file() and settings_of_run(run.path).raw_text:
        raise SettingsError(
            f"{run.path}: this run learns from raw text first, and none is named here; name no data at all "
            f"to go on with it: --resume -o {shlex.quote(str(run.path))}"
        )


def _steps_to_resume(run: RunFolder, stages: Any, reporter: Reporter) -> list[int]:
    """Steps of the checkpoints of a run to resume, ascending; reported if there is nothing to resume."""
    steps = run.saved_steps()
    if not steps and not (stages and (run.path / stages.FOLDER).exists()):
        reporter.message(f"{run.path}: there is no run to resume; starting a new one")
    return steps


def _manifest(
    spec: Task, settings: Any, data: Any, result: TrainedRun[Any], seconds: float
) -> dict[str, Any]:
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
            "device": str(result.model.device),
            "threads": torch.get_num_threads(),
        },
        "seed": settings.seed,
        "data": {
            name: {"source": part.source, "sha256": part.digest, spec.unit: part.size}
            for name, part in data.parts.items()
        },
        **({"raw_text": settings.raw_text} if settings.raw_text else {}),
        "best": {"step": result.result.best_step, **result.result.metrics},
        "stopped_by": result.result.reason,
        "training_seconds": result.result.seconds,
        "seconds": seconds,
    }
