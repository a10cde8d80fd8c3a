"""A run in its folder: one job, or several that build on one another, each with a folder of its own.

A tagger that is given raw text has several: language models of both directions are trained on the text, and
the tagger reads its sentences with them; in self-training a first tagger is then the teacher of the next one.
`--resume` goes on with the first job that is not finished.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from seqtool.devices import resolve_device
from seqtool.errors import DataError, InterruptedRunError, counted
from seqtool.resolution import completed, recipe_text
from seqtool.settings import validate
from seqtool.settings_keys import put
from seqtool.tasks import TASKS, Task
from seqtool.text.output import open_durably
from seqtool.text.raw_text import sentences_of
from seqtool.training import distributed, job
from seqtool.training.job import Estimate, Job, TrainedRun
from seqtool.training.learning_curves import learning_curve
from seqtool.training.progress import FitResult, Reporter, TensorBoardReporter
from seqtool.training.pruning import prune_state
from seqtool.training.run_folder import RunFolder
from seqtool.version import __version__

if TYPE_CHECKING:
    from seqtool.lm.reading import SentenceReader


class Kind(NamedTuple):
    """A language model that is trained on raw text.

    Attributes:
        name: Name of its folder.
        direction: Direction in which it reads.
        unit: What its symbols are.
        share: Share of the time for all language models that it gets.
        settings: Its settings, by dotted key, beside those that are chosen from the text.
    """

    name: str
    direction: Literal["forward", "backward"]
    unit: Literal["character", "word"]
    share: float
    settings: Mapping[str, Any]


# Of words only those that occur twice: others are unknown, as most new words are. Words are few, so this
# takes a tenth of the time of characters. Embeddings are tied: the vocabulary would be half of the tagger.
OF_WORDS = {
    "vocabulary.kind": "word",
    "vocabulary.min_count": 2,
    "vocabulary.size": 20_000,
    "model.hidden": 256,
    "model.embedding": 128,
    "model.tied": True,
    "model.dropout": 0.4,
    "model.embedding_dropout": 0.2,
    "training.batch_tokens": 1024,
    "training.epochs": 12,
}
OF_CHARACTERS = {"model.embedding": 64}
KINDS = (
    Kind("forward", "forward", "character", 0.4, OF_CHARACTERS),
    Kind("backward", "backward", "character", 0.4, OF_CHARACTERS),
    Kind("forward-words", "forward", "word", 0.1, OF_WORDS),
    Kind("backward-words", "backward", "word", 0.1, OF_WORDS),
)
STAGE = "language-models"  # folder in a run folder of the text and the models that are trained on it
TEXT = "text.txt"
ROUNDS = "rounds"  # folder in a run folder of the teachers in self-training
DEV_SHARE = 0.05  # share of the text that shows which weights of a language model are the best
LEAST_DEV = 2.5  # lines of it, at least


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
        stages = _Stages(settings, data, run, reporter, resume)
        for line in stages.plan():
            reporter.message(line)
        readers = stages.language_models()
        prepare = partial(prepare, readers=readers)
        if settings.training.self_training:
            prepare = partial(prepare, teachers=stages.teachers(readers))
    if track == "tensorboard" and run.writes:
        reporter = TensorBoardReporter(run.path / "tensorboard", reporter)
    saved = _steps_to_resume(run, reporter) if resume else []
    result = job.train(prepare(), run=run, reporter=reporter, resume=resume)
    for line in better_teacher(settings, run, result.result):
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
    if raw_text_of(settings):
        from seqtool.lm.reading import SentenceReader

        with TemporaryDirectory() as folder:
            text = _write_text(Path(folder), settings, data)
            jobs = [language_model_job(settings, text, kind)[0] for kind in _kinds(settings)]
        before = [job.estimate(each) for each in jobs]
        prepare = partial(prepare, readers=[SentenceReader.of(each.model) for each in jobs])
        if settings.training.self_training:
            first = prepare()
            before += [job.estimate(first)] * settings.training.self_training
            prepare = partial(prepare, teachers={"the tagger of round 1": first.model})
    found = job.estimate(prepare())
    minutes = sum(each.minutes for each in before)
    said = (
        [f"{counted(len(before), 'other model')} on the text first: {minutes:.1f} minutes"] if before else []
    )
    return replace(found, facts=(*reasons, *said, *found.facts), minutes=found.minutes + minutes)


def raw_text_of(settings: Any) -> list[str]:
    """The files and folders of raw text that a model learns from; empty = none."""
    return list(getattr(settings.data, "text", ()))


def _kinds(settings: Any) -> tuple[Kind, ...]:
    """The language models that are trained on the raw text; none if there are some already."""
    return () if settings.model.language_models else KINDS


@dataclass(frozen=True)
class _Stages:
    """The jobs of a run before its last one, each in a folder of its own.

    Attributes:
        settings: Settings of the run.
        data: Its annotated data.
        run: Its folder.
        reporter: Told of the progress.
        resume: Whether to continue where the run stopped.
    """

    settings: Any
    data: Any
    run: RunFolder
    reporter: Reporter
    resume: bool

    def plan(self) -> list[str]:
        """A line for the user: what is trained before the tagger, and how long that takes at most."""
        training, parts = self.settings.training, []
        if kinds := _kinds(self.settings):
            parts.append(f"{len(kinds)} language models in at most {training.text_minutes:g} minutes")
        if training.self_training:
            parts.append(counted(training.self_training, "teacher"))
        return [f"first {', then '.join(parts)}, then the tagger"] if parts else []

    def language_models(self) -> list[SentenceReader]:
        """Train the language models on the raw text, and load them as readers of sentences."""
        from seqtool.lm.reading import load_reader

        folder, kinds = self.run.path / STAGE, _kinds(self.settings)
        if self.run.writes:
            _require_text(self.settings)
            if kinds:
                _write_text(folder, self.settings, self.data)
            if not self.resume:
                self.run.clear_training()
            self.run.write_recipe()
        distributed.numbers_of_first([0.0], self._device)  # the others read the text when it is written

        def job_of(kind: Kind, recorded: Path | None) -> Job[Any, Any]:
            work, reasons = language_model_job(self.settings, folder / TEXT, kind, recorded)
            said = f"a language model of {kind.unit}s that reads {kind.direction}"
            self.reporter.message(f"{said}, in at most {work.training.max_minutes:g} minutes")
            for line in reasons:
                self.reporter.message(line)
            return work

        for kind in kinds:
            self._carry_out(partial(job_of, kind), folder / kind.name)
        return [load_reader(folder / kind.name, self._device) for kind in kinds]

    def teachers(self, readers: Sequence[SentenceReader]) -> dict[str, Any]:
        """Train the tagger that is the teacher, in as many rounds as there shall be; load the last one.

        Returns:
            The teacher by its name in messages.
        """
        spec = TASKS[self.settings.task]()
        tables = self.settings.model_dump(exclude_unset=True, by_alias=True)
        alone = validate(spec.settings, put(tables, "training.self_training", 0), "settings")
        teachers: dict[str, Any] = {}

        def job_of(number: int, recorded: Path | None) -> Job[Any, Any]:
            self.reporter.message(f"round {number} of self-training: the tagger that is the teacher")
            work: Job[Any, Any] = spec.prepare(alone, self.data, None, readers=readers, teachers=teachers)
            return work

        for number in range(1, self.settings.training.self_training + 1):
            folder = self.run.path / ROUNDS / str(number)
            self._carry_out(partial(job_of, number), folder)
            model = spec.model.load(folder, device=self.settings.device)
            teachers = {f"the tagger of round {number}": model}
        return teachers

    @property
    def _device(self) -> torch.device:
        return resolve_device(self.settings.device)

    def _carry_out(self, job_of: Callable[[Path | None], Job[Any, Any]], folder: Path) -> None:
        """Train one job in its folder, unless that is done; its checkpoints are not kept.

        Args:
            job_of: From the recipe of the job if it is resumed, or None, to the job.
            folder: The folder.
        """
        resume, whole = self.resume, self.run.path
        if resume and RunFolder(folder).is_finished:
            return
        options = {"task": self.settings.task, "name": folder.name, "resume": resume}
        with RunFolder.create_for_all(folder, device=self._device, overwrite=not resume, **options) as stage:
            work = job_of(stage.recipe if resume else None)
            stage.recipe_text = recipe_text(work.settings)
            try:
                job.train(work, run=stage, reporter=self.reporter, resume=resume)
            except InterruptedRunError as error:
                error.run = whole
                raise
            if stage.writes:
                stage.mark_finished(task=work.settings.task)
        if self.run.writes:
            prune_state(folder)


def language_model_job(
    settings: Any, text: Path, kind: Kind, recorded: Path | None = None
) -> tuple[Job[Any, Any], tuple[str, ...]]:
    """The job of training a language model for a run, and why its settings were chosen.

    Args:
        settings: Settings of the run.
        text: The text, one sentence per line.
        kind: Direction and symbols of the model.
        recorded: Recipe of the stage that is resumed; None = a new one.
    """
    spec = TASKS["lm"]()
    same = {name: getattr(settings, name) for name in ("seed", "device", "threads", "deterministic")}
    with text.open(encoding="utf-8") as file:
        share = min(max(DEV_SHARE, LEAST_DEV / sum(1 for _ in file)), 0.5)
    lines = {"documents": "line", "direction": kind.direction, "dev_share": share}
    tables: dict[str, Any] = {"name": kind.name, **same, "data": {"train": str(text.absolute()), **lines}}
    for key, value in {"training.sample_length": 0, **kind.settings}.items():
        tables = put(tables, key, value)
    chosen = validate(spec.settings, tables, "settings")
    data = spec.load_data(chosen)
    chosen, reasons = completed(chosen, data, recorded)
    # Added last, since the number of epochs would not be chosen in a run with a time limit.
    tables = chosen.model_dump(exclude_unset=True, by_alias=True)
    tables = put(tables, "training.max_minutes", settings.training.text_minutes * kind.share)
    work = spec.prepare(validate(spec.settings, tables, "settings"), data, None)
    # Without baselines and advice at the end, which are for those who want a language model.
    return replace(work, conclude=job.nothing_to_conclude), reasons


def _require_text(settings: Any) -> None:
    """Check, before anything is written, that raw text begins with a sentence.

    Raises:
        DataError: there is none, or the first file is not what its name says.
        UsageError: a folder is empty.
    """
    names = raw_text_of(settings)
    if next(sentences_of(Path(name) for name in names), None) is None:
        raise DataError(f"{' and '.join(names)}: contains no text")


def _write_text(folder: Path, settings: Any, data: Any) -> Path:
    """Write the sentences of raw text and training part to a file, one a line, spaces between tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = sentences_of([Path(name) for name in raw_text_of(settings)])
    sentences = chain(data.train, raw)
    with open_durably(folder / TEXT) as file:
        for sentence in sentences:
            file.write((" ".join(sentence.tokens) + "\n").encode())
    return folder / TEXT


def better_teacher(settings: Any, run: RunFolder, found: FitResult) -> list[str]:
    """A remark for the user if the last teacher in self-training is better on dev than what it taught."""
    rounds = getattr(settings.training, "self_training", 0)
    if not raw_text_of(settings) or not rounds:
        return []
    teacher, metric = run.path / ROUNDS / str(rounds), found.selected_by
    best, _ = learning_curve(teacher).best(metric, lower=False)
    own = found.metrics[metric]
    if best <= own:
        return []
    return [f"the teacher is better on dev ({metric} {best:.4f}, {own:.4f} here): its model is {teacher}"]


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
