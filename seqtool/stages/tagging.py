"""The stages of a tagger that is given raw text: language models, then the taggers that are its teachers.

Language models of both directions are trained on the text, and the tagger reads its sentences with them; in
self-training a first tagger is then the teacher of the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from seqtool.errors import DataError, counted, in_minutes
from seqtool.resolution import completed
from seqtool.settings import validate
from seqtool.settings_keys import put
from seqtool.stages.whole import Whole
from seqtool.tasks import TASKS
from seqtool.text.output import open_durably
from seqtool.text.raw_text import sentences_of
from seqtool.training import job
from seqtool.training.job import Estimate, Job
from seqtool.training.learning_curves import learning_curve
from seqtool.training.progress import FitResult

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
FOLDER = "language-models"  # in a run folder: the text, and the models that are trained on it
TEXT = "text.txt"
ROUNDS = "rounds"  # folder in a run folder of the teachers in self-training
DEV_SHARE = 0.05  # share of the text that shows which weights of a language model are the best
LEAST_DEV = 2.5  # lines of it, at least


def plan(settings: Any) -> list[str]:
    """A line for the user: what is trained before the tagger, and how long that takes at most."""
    training, parts = settings.training, []
    if kinds := _kinds(settings):
        parts.append(f"{len(kinds)} language models in at most {in_minutes(training.text_minutes)}")
    if training.self_training:
        parts.append(counted(training.self_training, "teacher"))
    return [f"first {', then '.join(parts)}, then the tagger"] if parts else []


def described(stages: int) -> str:
    """The stages in a few words, for an estimate."""
    return f"{counted(stages, 'other model')} on the text first"


def carry_out(whole: Whole) -> dict[str, Any]:
    """Train the language models and the teachers.

    Returns:
        What `prepare` takes beside settings and data.
    """
    readers = _language_models(whole)
    if not whole.settings.training.self_training:
        return {"readers": readers}
    return {"readers": readers, "teachers": _teachers(whole, readers)}


def estimated(
    settings: Any, data: Any, prepare: Callable[..., Job[Any, Any]]
) -> tuple[list[Estimate], dict[str, Any]]:
    """Estimates of the stages; nothing is written to the run folder.

    Args:
        settings: Settings of the run.
        data: Its annotated data.
        prepare: What prepares the last job, and takes what `carry_out` returns.

    Returns:
        The estimates, and untrained models in place of what `carry_out` returns.
    """
    from seqtool.lm.reading import SentenceReader

    _require_text(settings)
    with TemporaryDirectory() as folder:
        text = _write_text(Path(folder), settings, data)
        jobs = [language_model_job(settings, text, kind)[0] for kind in _kinds(settings)]
    found = [job.estimate(each) for each in jobs]
    models: dict[str, Any] = {"readers": [SentenceReader.of(each.model) for each in jobs]}
    if settings.training.self_training:
        first = prepare(**models)
        found += [job.estimate(first)] * settings.training.self_training
        models["teachers"] = {"the tagger of round 1": first.model}
    return found, models


def remarks(whole: Whole, found: FitResult) -> list[str]:
    """A remark for the user if the last teacher in self-training is better on dev than what it taught."""
    rounds = whole.settings.training.self_training
    if not rounds:
        return []
    teacher, metric = whole.run.path / ROUNDS / str(rounds), found.selected_by
    best, _ = learning_curve(teacher).best(metric, lower=False)
    own = found.metrics[metric]
    if best <= own:
        return []
    return [f"the teacher is better on dev ({metric} {best:.4f}, {own:.4f} here): its model is {teacher}"]


def _kinds(settings: Any) -> tuple[Kind, ...]:
    """The language models that are trained on the raw text; none if there are some already."""
    return () if settings.model.language_models else KINDS


def _language_models(whole: Whole) -> list[SentenceReader]:
    """Train the language models on the raw text, and load them as readers of sentences."""
    from seqtool.lm.reading import load_reader

    folder, kinds = whole.run.path / FOLDER, _kinds(whole.settings)
    if whole.run.writes:
        _require_text(whole.settings)
        if kinds:
            _write_text(folder, whole.settings, whole.data)
    whole.begin()

    def job_of(kind: Kind, recorded: Path | None) -> Job[Any, Any]:
        work, reasons = language_model_job(whole.settings, folder / TEXT, kind, recorded)
        whole.reporter.message(f"a language model of {kind.unit}s that reads {kind.direction}")
        for line in reasons:
            whole.reporter.message(line)
        return work

    for kind in kinds:
        whole.carry_out(partial(job_of, kind), folder / kind.name)
    return [load_reader(folder / kind.name, whole.device) for kind in kinds]


def _teachers(whole: Whole, readers: Sequence[SentenceReader]) -> dict[str, Any]:
    """Train the tagger that is the teacher, in as many rounds as there shall be; load the last one.

    Returns:
        The teacher by its name in messages.
    """
    settings = whole.settings
    spec = TASKS[settings.task]()
    tables = settings.model_dump(exclude_unset=True, by_alias=True)
    alone = validate(spec.settings, put(tables, "training.self_training", 0), "settings")
    teachers: dict[str, Any] = {}

    def job_of(number: int, recorded: Path | None) -> Job[Any, Any]:
        whole.reporter.message(f"round {number} of self-training: the tagger that is the teacher")
        work: Job[Any, Any] = spec.prepare(alone, whole.data, None, readers=readers, teachers=teachers)
        return work

    for number in range(1, settings.training.self_training + 1):
        folder = whole.run.path / ROUNDS / str(number)
        whole.carry_out(partial(job_of, number), folder)
        model = spec.model.load(folder, device=settings.device)
        teachers = {f"the tagger of round {number}": model}
    return teachers


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
    names = settings.raw_text
    if next(sentences_of(Path(name) for name in names), None) is None:
        raise DataError(f"{' and '.join(names)}: contains no text")


def _write_text(folder: Path, settings: Any, data: Any) -> Path:
    """Write the sentences of raw text and training part to a file, one a line, spaces between tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = sentences_of([Path(name) for name in settings.raw_text])
    sentences = chain(data.train, raw)
    with open_durably(folder / TEXT) as file:
        for sentence in sentences:
            file.write((" ".join(sentence.tokens) + "\n").encode())
    return folder / TEXT
