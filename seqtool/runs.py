"""A run in its folder: one job, or several that build on one another, each with a folder of its own.

A tagger that is given raw text has three: a language model of each direction is trained on the text, and the
tagger reads its sentences with them. `--resume` goes on with the first job that is not finished.
"""

from __future__ import annotations

import platform
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import torch

from seqtool.devices import resolve_device
from seqtool.errors import InterruptedRunError
from seqtool.resolution import completed, recipe_text
from seqtool.settings import validate
from seqtool.settings_keys import put
from seqtool.tasks import TASKS, Task
from seqtool.text.output import open_durably
from seqtool.text.raw_text import sentences_of
from seqtool.training import distributed, job
from seqtool.training.job import Estimate, Job, TrainedRun
from seqtool.training.progress import Reporter, TensorBoardReporter
from seqtool.training.run_folder import RunFolder
from seqtool.version import __version__

if TYPE_CHECKING:
    from seqtool.lm.reading import SentenceReader

Direction = Literal["forward", "backward"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")
STAGE = "language-models"  # folder in a run folder of the text and the models that are trained on it
TEXT = "text.txt"
DEV_SHARE = 0.05  # share of the text that shows which weights of a language model are the best


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
    if raw_text_of(settings):
        readers = _language_models(settings, data, run, reporter, resume=resume)
        prepare = partial(prepare, readers=readers)
    if track == "tensorboard" and run.writes:
        reporter = TensorBoardReporter(run.path / "tensorboard", reporter)
    saved = _steps_to_resume(run, reporter) if resume else []
    result = job.train(prepare(), run=run, reporter=reporter, resume=resume)
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
    if raw_text_of(settings):
        from seqtool.lm.reading import SentenceReader

        with TemporaryDirectory() as folder:
            text = _write_text(Path(folder), settings, data)
            jobs = [_language_model_job(settings, text, direction)[0] for direction in DIRECTIONS]
        before = [job.estimate(each) for each in jobs]
        prepare = partial(prepare, readers=[SentenceReader.of(each.model) for each in jobs])
    found = job.estimate(prepare())
    minutes = sum(each.minutes for each in before)
    said = [f"{len(before)} language models on the text first: {minutes:.1f} minutes"] if before else []
    return replace(found, facts=(*reasons, *said, *found.facts), minutes=found.minutes + minutes)


def raw_text_of(settings: Any) -> list[str]:
    """The files and folders of raw text that language models are trained on first; empty = none."""
    return list(getattr(settings.data, "text", ()))


def _language_models(
    settings: Any, data: Any, run: RunFolder, reporter: Reporter, *, resume: bool
) -> list[SentenceReader]:
    """Train a language model of each direction on the raw text of a run; what is finished is loaded.

    Returns:
        Readers of sentences, on the device of the run.
    """
    from seqtool.lm.reading import load_reader

    folder = run.path / STAGE
    if run.writes:
        if not resume:
            run.clear_training()
        run.write_recipe()
        _write_text(folder, settings, data)
    device = resolve_device(settings.device)
    distributed.numbers_of_first([0.0], device)  # other processes read the text when it is written
    readers = []
    for direction in DIRECTIONS:
        options = {"task": "lm", "name": direction, "resume": resume, "overwrite": not resume}
        with RunFolder.create_for_all(folder / direction, device=device, **options) as stage:
            if not (resume and stage.is_finished):
                _train_language_model(settings, folder / TEXT, direction, stage, reporter, resume, run.path)
        readers.append(load_reader(folder / direction, device))
    return readers


def _train_language_model(
    settings: Any,
    text: Path,
    direction: Direction,
    stage: RunFolder,
    reporter: Reporter,
    resume: bool,
    whole: Path,
) -> None:
    """Train one language model in its folder; an interruption is one of the whole run, in folder `whole`."""
    work, reasons = _language_model_job(settings, text, direction, stage.recipe if resume else None)
    limit = work.training.max_minutes
    reporter.message(f"a language model that reads {direction}, in at most {limit:g} minutes")
    for line in reasons:
        reporter.message(line)
    stage.recipe_text = recipe_text(work.settings)
    try:
        job.train(work, run=stage, reporter=reporter, resume=resume)
    except InterruptedRunError as error:
        error.run = whole
        raise
    if stage.writes:
        stage.mark_finished(task="lm")


def _language_model_job(
    settings: Any, text: Path, direction: Direction, recorded: Path | None = None
) -> tuple[Job[Any, Any], tuple[str, ...]]:
    """The job of training a language model for a run, and why its settings were chosen.

    Args:
        settings: Settings of the run.
        text: The text, one sentence per line.
        direction: Direction in which it is read.
        recorded: Recipe of the stage that is resumed; None = a new one.
    """
    spec = TASKS["lm"]()
    same = ("seed", "device", "threads", "deterministic")
    tables = {
        "name": direction,
        **{name: getattr(settings, name) for name in same},
        "data": {
            "train": str(text.absolute()),
            "documents": "line",
            "direction": direction,
            "dev_share": DEV_SHARE,
        },
        "training": {"sample_length": 0},
    }
    chosen = validate(spec.settings, tables, "settings")
    data = spec.load_data(chosen)
    chosen, reasons = completed(chosen, data, recorded)
    minutes = settings.training.text_minutes / len(DIRECTIONS)
    tables = put(chosen.model_dump(exclude_unset=True, by_alias=True), "training.max_minutes", minutes)
    return spec.prepare(validate(spec.settings, tables, "settings"), data, None), reasons


def _write_text(folder: Path, settings: Any, data: Any) -> Path:
    """Write the sentences of raw text and training part to a file, one a line, spaces between tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = sentences_of([Path(name) for name in raw_text_of(settings)])
    sentences = chain(data.train, raw)
    with open_durably(folder / TEXT) as file:
        for sentence in sentences:
            file.write((" ".join(sentence.tokens) + "\n").encode())
    return folder / TEXT


def _steps_to_resume(run: RunFolder, reporter: Reporter) -> list[int]:
    """Steps of the checkpoints of a run to resume, ascending; reported if there is nothing to resume."""
    steps = run.saved_steps()
    if not steps and not (run.path / STAGE).exists():
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
        "best": {"step": result.result.best_step, **result.result.metrics},
        "stopped_by": result.result.reason,
        "training_seconds": result.result.seconds,
        "seconds": seconds,
    }
