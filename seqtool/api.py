"""The functions behind the command line, for Python programs as well: `train`, `load`, `evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch

from seqtool import devices
from seqtool.ensembles import load_together
from seqtool.errors import DataError, ModelError, UsageError
from seqtool.models.folder import model_task
from seqtool.resolution import (
    Files,
    recipe_text,
    require_files,
    resolve_settings,
    settings_of,
    settings_of_run,
)
from seqtool.tasks import ASSESSMENTS, MODELS, TASKS
from seqtool.text.data_files import PARTS, PartName
from seqtool.training.run_folder import find_latest, manifest_of

# Each wing is imported only for its own tasks, and training only to train, so that commands such as
# `seqtool tag` start fast.
if TYPE_CHECKING:
    from seqtool.evaluation.report import Evaluation
    from seqtool.lm.prediction import LanguageModel
    from seqtool.lm.settings import LanguageModelSettings
    from seqtool.tagging.prediction import TaggerModel
    from seqtool.tagging.settings import TaggerSettings
    from seqtool.training.job import Estimate, TrainedRun
    from seqtool.training.progress import Reporter
    from seqtool.training.run_folder import RunFolder
    from seqtool.translation.candidates import Rescoring
    from seqtool.translation.prediction import TranslatorModel
    from seqtool.translation.search import SearchOptions
    from seqtool.translation.settings import TranslatorSettings

    AnySettings: TypeAlias = TaggerSettings | TranslatorSettings | LanguageModelSettings
    AnyModel: TypeAlias = TaggerModel | TranslatorModel | LanguageModel

__all__ = [
    "TASKS",
    "assessment_of",
    "estimate",
    "evaluate",
    "evaluate_predictions",
    "latest_model",
    "load",
    "load_language_model",
    "load_single",
    "load_tagger",
    "load_translator",
    "recipe_text",
    "rescoring",
    "resolve_settings",
    "starting_from",
    "task_of",
    "train",
]


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
    """Train a model, as `seqtool train` does.

    Args:
        recipe: Name of a bundled recipe, path of a TOML file, the tables of a recipe as a mapping, or the
            complete settings of a run, which name everything, so that `task`, `files` and `overrides` must
            be left out; None = the default recipe of `task`.
        task: Name of the task; None = that of the recipe.
        files: Files that replace the recipe's data: `{"train": ..., "dev": ..., "test": ...}`.
        overrides: `KEY=VALUE` each, as for `--set`.
        output: The run folder; None = `runs/<task>/<name>`, or the first free one of `<name>-2`, ...
        resume: Whether to resume the run in that folder.
        overwrite: Whether to replace the run in that folder.
        initial: Path of a model to fine-tune; None = a new model.
        reporter: Object that is told of the progress; None = no output.
        track: "tensorboard" to write events for TensorBoard, or None.

    Returns:
        The run: its folder, the model, and the result of training.

    Raises:
        UsageError: there is neither a recipe nor a task, or complete settings come with changes to them.
        SeqtoolError: one of its other subclasses; see `seqtool.errors`.
    """
    from seqtool import runs
    from seqtool.training import distributed
    from seqtool.training.progress import SilentReporter

    settings = settings_of(recipe, task=task, files=files, overrides=list(overrides))
    device = _configured(settings)
    settings, base = starting_from(settings, initial)
    require_files(settings)
    with (
        distributed.process_group(device),
        _run_folder(settings, output, device, resume=resume, overwrite=overwrite) as run,
    ):
        # Under torchrun only process 0 reports.
        listener = (reporter if run.writes else None) or SilentReporter()
        return runs.carry_out(settings, run, base=base, reporter=listener, resume=resume, track=track)


def starting_from(settings: AnySettings, initial: str | Path | None) -> tuple[AnySettings, AnyModel | None]:
    """Load the model to fine-tune, and put its network and vocabularies into the settings.

    Args:
        settings: Settings of the run.
        initial: Path of the model to fine-tune; None = a new model.

    Returns:
        The complete settings, and the model to fine-tune; without `initial` the given settings and None.

    Raises:
        UsageError, ModelError: there is no such model, or it is damaged.
        SettingsError: a setting contradicts the model, or has no effect.
    """
    spec = TASKS[settings.task]()
    base: AnyModel | None = (
        None if initial is None else spec.model.load(Path(initial), device=settings.device)
    )
    return spec.fine_tuning_settings(settings, base), base


def estimate(settings: AnySettings, base: AnyModel | None = None, recorded: Path | None = None) -> Estimate:
    """Estimate size, memory and time of a run from a few timed updates (errors of `train`).

    Nothing is written.

    Args:
        settings: Settings of the run, as `starting_from` returns them.
        base: The model to fine-tune, as `starting_from` returns it; its weights change. None = a new model.
        recorded: Recipe of the run that would be resumed; None = a new run.
    """
    from seqtool import runs

    _configured(settings)
    require_files(settings)
    return runs.estimated(settings, base, recorded)


def _configured(settings: AnySettings) -> torch.device:
    """Configure threads and determinism, and check device and precision; returns the device."""
    devices.configure(settings.threads, settings.deterministic)
    device = devices.resolve_device(settings.device)
    devices.resolve_precision(settings.training.precision, device)
    return device


def load(path: str | Path, *, device: str = "auto", precision: str = "auto") -> AnyModel:
    """A trained model, ready to use: a tagger, a translator or a language model.

        tagger = seqtool.load("runs/ner/ner-tiny")
        tagger.entities(["Ada Lovelace was born in London."])

    Args:
        path: A run folder or its `model/` folder.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: fp32, bf16, int8 (translators only), or auto: for taggers bf16 where the hardware
            supports it, for large translators on a CPU int8 where it is faster, otherwise fp32.

    Raises:
        UsageError: there is no such model or device.
        ModelError: the model is damaged, of another program, or of a newer version of seqtool.
    """
    found: AnyModel = load_together(_known_task(path), [Path(path)], device=device, precision=precision)
    return found


def load_single(path: str | Path, *, device: str = "auto", precision: str = "auto") -> AnyModel:
    """A trained model with one network; an ensemble is refused (arguments and errors of `load`)."""
    found: AnyModel = MODELS[_known_task(path)]().load(Path(path), device=device, precision=precision)
    return found


def _known_task(path: str | Path) -> str:
    """The task of a model, one of those that there are."""
    task = task_of(path)
    if task not in MODELS:
        raise ModelError(f"{path}: a model for {task!r}, expected one for {' or '.join(MODELS)}")
    return task


def load_tagger(
    path: str | Path | Sequence[str | Path], *, device: str = "auto", precision: str = "auto"
) -> TaggerModel:
    """Load a tagger, or several as one, whose scores are averaged; other models are refused.

    Args:
        path: A run folder or its `model/` folder; or several.
        device: As in `load`.
        precision: As in `load`.

    Raises:
        UsageError: there is no such model or device; or several models have different tags.
        ModelError: as `load`.
    """
    found: TaggerModel = load_together("ner", _paths(path), device=device, precision=precision)
    return found


def load_translator(
    path: str | Path | Sequence[str | Path], *, device: str = "auto", precision: str = "auto"
) -> TranslatorModel:
    """Load a translator, or several as one, whose probabilities are averaged; other models are refused.

    Args:
        path: A run folder or its `model/` folder; or several.
        device: As in `load`.
        precision: As in `load`.

    Raises:
        UsageError: there is no such model or device.
        ModelError: as `load`; or several models have different vocabularies.
    """
    found: TranslatorModel = load_together("translate", _paths(path), device=device, precision=precision)
    return found


def load_language_model(path: str | Path, *, device: str = "auto", precision: str = "auto") -> LanguageModel:
    """Load a language model; other models are refused (arguments and errors of `load`)."""
    found: LanguageModel = MODELS["lm"]().load(Path(path), device=device, precision=precision)
    return found


def rescoring(
    translator: TranslatorModel,
    lm: LanguageModel,
    weight: float | Literal["auto"] = "auto",
    *,
    options: SearchOptions | None = None,
    batch_tokens: int = 8192,
) -> Rescoring:
    """What lets a language model choose among the outputs of a translator, as `seqtool translate --lm` does.

        translator, lm = seqtool.load("runs/translate/mine"), seqtool.load("runs/lm/mine")
        translator.translate(["the engine stops"], rescoring=seqtool.api.rescoring(translator, lm, 0.3))

    Args:
        translator: The translator.
        lm: A language model of its target language.
        weight: Weight of the log probabilities of the language model, at least 0; auto = the best of a few on
            the development part of the translator's run.
        options: Options of the search; None = those of the translator's recipe.
        batch_tokens: Symbols per batch in translating the development part.

    Raises:
        UsageError: a weight below 0, a search without a beam, a language model that reads from the end, or
            for auto: there is no recipe beside the translator, or a file that it names is missing.
        DataError: for auto, the development part is not valid.
    """
    from seqtool.translation.candidates import Rescoring
    from seqtool.translation.search import SearchOptions

    search = options or SearchOptions.of(translator.description.decoding)
    Rescoring(lm, 1.0 if weight == "auto" else weight).widened(search)  # refuses what has no effect
    lm.require_forward("say how probable a translation is")
    if weight != "auto":
        return Rescoring(lm, weight)
    from seqtool.translation.data import load_part
    from seqtool.translation.weighting import choose_weight

    remedy = "choose the weight of the language model yourself, as in --lm-weight 0.3"
    settings = settings_of_run(Path(translator.place), remedy)
    try:
        pairs = load_part(settings, "dev").dev
    except (UsageError, DataError) as error:
        raise type(error)(f"{error}; or {remedy}") from error
    choice = choose_weight(translator, lm, pairs, settings, search, batch_tokens=batch_tokens)
    return Rescoring(lm, choice.weight, choice.describe())


def task_of(model: str | Path) -> str:
    """The task of a model, given its model folder or run folder (errors of `load`)."""
    return model_task(Path(model))


def latest_model(tasks: Iterable[str]) -> Path | None:
    """The newest finished run of any of the tasks under `runs/`; None if there is none."""
    runs = [run for run in map(find_latest, tasks) if run is not None]
    return max(runs, key=lambda run: (run / "model").stat().st_mtime, default=None)


def evaluate(
    model: str | Path,
    data: Files | None = None,
    *,
    part: PartName = "test",
    against: str | Path | None = None,
    bootstrap: int = 1000,
    options: Any = None,
    device: str = "auto",
    precision: str = "auto",
) -> Evaluation:
    """Evaluate a model on annotated data, as `seqtool evaluate` does.

        found = seqtool.evaluate("runs/ner/ner-tiny", "test.conll")
        found.scores["f1"].value, found.intervals["f1"].low

    Args:
        model: A run folder or its `model/` folder.
        data: An annotated file (taggers); source and target, or one file of pairs (translators); text files
            or folders (language models). None = a part of the data of the run's recipe.
        part: Name of that part: test, dev or train.
        against: Path of another model, for paired tests on the same data; None = no comparison.
        bootstrap: Number of bootstrap resamples for the 95 % intervals; 0 = no intervals.
        options: The `EvaluationOptions` of the task, such as `seqtool.tagging.assessment.EvaluationOptions`;
            None = the defaults.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32, bf16, or for translators int8.

    Returns:
        The evaluation: `scores`, `intervals`, `comparisons`, `errors()`, `as_dict()` and more.

    Raises:
        UsageError: a file is missing, or the options are those of another task.
        DataError: the data is not valid; the message names file and line.
        ModelError: the model is damaged, or `against` is of another task.
    """
    if part not in PARTS:
        raise UsageError(f"part {part!r}: expected {', '.join(PARTS)}")
    where, task = Path(model), task_of(model)
    room = assessment_of(task, str(model))
    chosen = _options(room, options)
    own = load_together(task, [where], device=device, precision=precision)
    other = None
    if against is not None:
        # What auto means is decided for the first model, so that both compute alike.
        same = devices.PRECISION_NAMES[own.precision] if precision == "auto" else precision
        other = str(against), load_together(task, [Path(against)], device=device, precision=same)
    text = room.evaluation_data(own, _paths(data), chosen, recipe=lambda: settings_of_run(where), part=part)
    found: Evaluation = room.assess(own, text, chosen, name=str(model), bootstrap=bootstrap, against=other)
    return replace(found, warnings=(*_overlap(where, text), *found.warnings)) if data else found


def _overlap(model: Path, data: Any) -> list[str]:
    """A warning if the data of an evaluation is what the model's run was trained on.

    Args:
        model: The model folder or the run folder.
        data: What `evaluation_data` of the wing returned for files.
    """
    part = data.part if hasattr(data, "part") else next(iter(data.parts.values()))
    trained = manifest_of(model).get("data", {}).get("train", {})
    # Of a training part in several files the digests stand beside each other.
    if part.digest not in trained.get("sha256", "") and str(Path(part.source).absolute()) != trained.get(
        "source"
    ):
        return []
    return [f"{part.source}: the model was trained on this data, so the scores say nothing about other data"]


def evaluate_predictions(
    predictions: str | Path,
    data: Files,
    *,
    task: str,
    against: str | Path | None = None,
    bootstrap: int = 1000,
    options: Any = None,
) -> Evaluation:
    """Evaluate a file of predictions, as `seqtool evaluate GOLD --predictions FILE` does.

    Args:
        predictions: File of predictions in a format that `seqtool tag` or `seqtool translate` writes.
        data: The annotated file; or source and reference, or one file of pairs.
        task: ner, pos or translate.
        against: File of other predictions for the same data, for paired tests; None = no comparison.
        bootstrap: Number of bootstrap resamples for the 95 % intervals; 0 = no intervals.
        options: The `EvaluationOptions` of the task; None = the defaults.

    Raises:
        UsageError: a file is missing, or the task has no predictions.
        DataError: a file is not valid, or the predictions are for other data.
    """
    room = assessment_of(task, "predictions")
    if not hasattr(room, "assess_predictions"):
        raise UsageError(
            f"a model for {task!r} makes no predictions that could be scored; leave out --predictions"
        )
    found: Evaluation = room.assess_predictions(
        Path(predictions),
        _paths(data),
        _options(room, options),
        task=task,
        bootstrap=bootstrap,
        against=None if against is None else Path(against),
    )
    return found


def assessment_of(task: str, name: str) -> Any:
    """The module `assessment` of the wing of a task.

    Args:
        task: Name of the task.
        name: Name of the model in messages.

    Raises:
        ModelError: an unknown task.
    """
    if task not in ASSESSMENTS:
        raise ModelError(f"{name}: a model for {task!r}, expected one for {' or '.join(ASSESSMENTS)}")
    return ASSESSMENTS[task]()


def _options(room: Any, given: Any) -> Any:
    """The given options of an evaluation, or the defaults of its wing."""
    if given is None or isinstance(given, room.EvaluationOptions):
        return given or room.EvaluationOptions()
    raise UsageError(f"options: expected {room.__name__}.EvaluationOptions, found {type(given).__name__}")


def _paths(given: str | Path | Sequence[str | Path] | None) -> list[Path]:
    if given is None:
        return []
    return [Path(given)] if isinstance(given, str | Path) else [Path(each) for each in given]


def _run_folder(
    settings: AnySettings, output: str | Path | None, device: torch.device, *, resume: bool, overwrite: bool
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
