"""What the command line calls and a Python program may call: `train` and `load`."""

from __future__ import annotations

import functools
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import tomli_w
import torch

import seqtool
from seqtool.bundled import recipe_names, recipe_path
from seqtool.errors import ModelError, SettingsError, UsageError, nearest
from seqtool.settings import apply_overrides, read_toml, validate
from seqtool.training import datafiles, devices, distributed
from seqtool.training.datafiles import PartName
from seqtool.training.estimate import Estimate
from seqtool.training.modelfolder import load_model_folder
from seqtool.training.progress import Reporter, SilentReporter, TensorBoardReporter
from seqtool.training.runfolder import RunFolder, find_latest

if TYPE_CHECKING:  # a wing is imported when its task is asked for: starting up should cost one wing, not all
    from seqtool.tagging.assessment import TaggerEvaluation
    from seqtool.tagging.prediction import TaggerModel
    from seqtool.tagging.settings import TaggerSettings
    from seqtool.tagging.train import TaggerRun
    from seqtool.translation.prediction import TranslatorModel
    from seqtool.translation.settings import TranslatorSettings
    from seqtool.translation.train import TranslatorRun

    AnySettings: TypeAlias = TaggerSettings | TranslatorSettings
    AnyRun: TypeAlias = TaggerRun | TranslatorRun
    AnyModel: TypeAlias = TaggerModel | TranslatorModel

Files = str | Path | Sequence[str | Path]  # one file, or source and target
SOURCES = ("train", "dev", "test", "local", "hub")  # keys of [data] that files on the command line replace


@dataclass(frozen=True)
class Task:
    """What a wing offers."""

    settings: type[Any]
    default_recipe: str | None  # trained when no recipe and no file is named
    paths: tuple[tuple[str, str], ...]  # table and key of every setting that names files
    load_data: Callable[[Any], Any]
    train: Callable[..., Any]
    fine_tuning_settings: Callable[[Any, Any], Any]
    estimate: Callable[[Any, Any], Estimate]
    model: type[Any]
    metric: Callable[[Any], str]  # what a run with these settings is about, in a word


def _tagger(default_recipe: str, metric: str) -> Task:
    from seqtool.tagging import data, estimate, prediction, settings, train

    files = (("data", "train"), ("data", "dev"), ("data", "test"), ("vocabulary", "pretrained"))
    return Task(
        settings=settings.TaggerSettings,
        default_recipe=default_recipe,
        paths=files,
        load_data=data.load_training_data,
        train=train.train_tagger,
        fine_tuning_settings=train.fine_tuning_settings,
        estimate=estimate.estimate_run,
        model=prediction.TaggerModel,
        metric=lambda settings: metric,
    )


def _translator() -> Task:
    from seqtool.translation import data, estimate, prediction, settings, train

    vocabularies = (("vocabulary", "source_file"), ("vocabulary", "target_file"))
    return Task(
        settings=settings.TranslatorSettings,
        default_recipe="translate-tiny",
        paths=(("data", "train"), ("data", "dev"), ("data", "test"), *vocabularies),
        load_data=data.load_training_data,
        train=train.train_translator,
        fine_tuning_settings=train.fine_tuning_settings,
        estimate=estimate.estimate_run,
        model=prediction.TranslatorModel,
        metric=lambda settings: str(settings.training.select),
    )


TASKS: dict[str, Callable[[], Task]] = {
    "ner": functools.cache(lambda: _tagger("ner-tiny", "f1")),
    "pos": functools.cache(lambda: _tagger("pos-ewt", "accuracy")),
    "translate": functools.cache(_translator),
}


def resolve_settings(
    task: str,
    recipe: str | Path | Mapping[str, Any] | None = None,
    *,
    files: Mapping[str, Files | None] | None = None,
    overrides: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> AnySettings:
    """Complete settings: built-in default < recipe < `overrides` < `flags`; paths made absolute.

    Paths in a recipe are relative to its file, all others to the working directory.

    Args:
        task: Name in `TASKS`.
        recipe: Name of a bundled recipe, a TOML file, or its tables; None = the task's default
            recipe, or built-in settings when `files` are given.
        files: train, dev and test files, which replace the recipe's data; a pair of files is
            the source and target of a translator.
        overrides: `KEY=VALUE`, as for `--set`.
        flags: Dotted key to value.

    Raises:
        UsageError: no such recipe.
        SettingsError: every problem at once.
    """
    spec = TASKS[task]()
    own = {name: _absolute(path, Path.cwd()) for name, path in (files or {}).items() if path is not None}
    if recipe is None and not own:
        recipe = spec.default_recipe
    tables, folder, where = _tables(recipe, task)
    if tables.get("task", task) != task:
        raise SettingsError(f"{where}: a recipe of task {tables['task']!r}, expected {task!r}")
    tables = _with_absolute_paths({"task": task, "name": "custom", **tables}, spec, folder)
    if own:
        kept = {key: value for key, value in _table(tables, "data").items() if key not in SOURCES}
        tables["data"] = {**kept, **own}
    tables = apply_overrides(tables, overrides)
    for key, value in (flags or {}).items():
        if value is not None:
            tables = _put(tables, key.split("."), value)
    settings = validate(spec.settings, _with_absolute_paths(tables, spec, Path.cwd()), where)
    if settings.task != task:
        raise SettingsError(f"{where}: task = {settings.task!r}, but `seqtool train {task}` was typed")
    located: AnySettings = settings.model_copy(update={"data": datafiles.locate(settings.data, folder)})
    return located


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
        settings = resolve_settings(task or _task_of(recipe), recipe, files=files, overrides=overrides)
    else:
        settings = recipe
    spec = TASKS[settings.task]()
    listener = reporter or SilentReporter()
    devices.configure(settings.threads, settings.deterministic)
    device = devices.resolve_device(settings.device)
    devices.resolve_precision(settings.training.precision, device)
    started = time.time()
    base = None if initial is None else spec.model.load(Path(initial), device=settings.device)
    if base is not None:
        settings = spec.fine_tuning_settings(settings, base)
    _require_files(settings)
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
        run.recipe_text = recipe_text(settings)
        result: AnyRun = spec.train(settings, data, run=run, reporter=listener, resume=resume, initial=base)
        if run.writes:
            run.write_manifest(_manifest(settings, data, device, result, time.time() - started))
            run.mark_finished(task=settings.task)
        return result


def load(path: str | Path, *, device: str = "auto", precision: str = "auto") -> AnyModel:
    """A trained model, ready to use: a tagger or a translator.

    Args:
        path: A run folder or its `model/` folder.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32 or bf16.

    Raises:
        UsageError: no such model or device.
        ModelError: damaged, foreign, or made by a newer seqtool.
    """
    where = devices.resolve_device(device)
    kind = devices.resolve_precision(precision, where)
    folder = load_model_folder(Path(path))
    if folder.task not in TASKS:
        raise ModelError(f"{path}: a model for {folder.task!r}, expected one for {' or '.join(TASKS)}")
    model: AnyModel = TASKS[folder.task]().model.from_folder(
        folder, name=str(path), device=where, precision=kind
    )
    return model


def load_tagger(path: str | Path, *, device: str = "auto", precision: str = "auto") -> TaggerModel:
    """`load`, and an error if it is not a tagger."""
    from seqtool.tagging.prediction import TaggerModel

    return TaggerModel.load(Path(path), device=device, precision=precision)


def load_translator(path: str | Path, *, device: str = "auto", precision: str = "auto") -> TranslatorModel:
    """`load`, and an error if it is not a translator."""
    from seqtool.translation.prediction import TranslatorModel

    return TranslatorModel.load(Path(path), device=device, precision=precision)


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
        sentences = load_part(_settings_of_run(Path(model)), part)
    return assessment.assess(
        tagger,
        sentences,
        name=str(model),
        bootstrap=bootstrap,
        target_precision=target_precision,
        against=other,
        batch_tokens=batch_tokens,
    )


def latest_model(tasks: Iterable[str]) -> Path | None:
    """The newest finished run of any of the tasks under `runs/`; None where there is none."""
    runs = [run for run in map(find_latest, tasks) if run is not None]
    return max(runs, key=lambda run: (run / "model").stat().st_mtime, default=None)


def estimate(settings: AnySettings) -> Estimate:
    """Size, memory and time of a run, from a few timed updates; nothing is written (errors of `train`)."""
    devices.configure(settings.threads, settings.deterministic)
    device = devices.resolve_device(settings.device)
    devices.resolve_precision(settings.training.precision, device)
    _require_files(settings)
    spec = TASKS[settings.task]()
    return spec.estimate(settings, spec.load_data(settings))


def shown_metric(settings: AnySettings) -> str:
    """The metric that picks the best weights of a run, without a sign."""
    return TASKS[settings.task]().metric(settings)


def recipe_text(settings: AnySettings) -> str:
    """Settings as the TOML of a recipe; what is None is left out."""
    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True, by_alias=True))


def _settings_of_run(model: Path) -> Any:
    """The recipe beside a model, for its data."""
    recipe = (model.parent if model.name == "model" else model) / "recipe.toml"
    if not recipe.is_file():
        raise UsageError(
            f"{model}: no recipe beside the model; name the data, as in `seqtool evaluate FILE -m MODEL`"
        )
    tables = read_toml(recipe)
    return validate(TASKS[_known_task(tables, str(recipe))]().settings, tables, str(recipe))


def _tables(recipe: str | Path | Mapping[str, Any] | None, task: str) -> tuple[dict[str, Any], Path, str]:
    """Tables of a recipe, the folder of its relative paths, and its name for messages."""
    if recipe is None:
        return {}, Path.cwd(), "settings"
    if isinstance(recipe, Mapping):
        return dict(recipe), Path.cwd(), "settings"
    path = Path(recipe)
    if path.suffix != ".toml":
        if path.is_dir() and (path / "recipe.toml").is_file() and str(recipe) not in recipe_names():
            path = path / "recipe.toml"
        elif str(recipe) not in recipe_names():
            raise UsageError(
                f"{recipe}: no bundled recipe of that name{nearest(str(recipe), recipe_names())}, "
                "and not a .toml file; see `seqtool recipes list`"
            )
        else:
            path = recipe_path(str(recipe))
    return read_toml(path), path.parent.absolute(), str(path)


def _task_of(recipe: str | Path | Mapping[str, Any] | None) -> str:
    tables, _, where = _tables(recipe, "")
    return _known_task(tables, where)


def _known_task(tables: Mapping[str, Any], where: str) -> str:
    task = tables.get("task")
    if task not in TASKS:
        raise SettingsError(f"{where}: task {task!r}, expected one of {', '.join(TASKS)}")
    return str(task)


def _table(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A table of a recipe; empty where something else stands in its place, which validation reports."""
    value = tables.get(name)
    return dict(value) if isinstance(value, Mapping) else {}


def _with_absolute_paths(tables: Mapping[str, Any], spec: Task, folder: Path) -> dict[str, Any]:
    result = dict(tables)
    for name, key in spec.paths:
        path = _table(result, name).get(key)
        if isinstance(path, str) or _is_pair(path):
            result[name] = {**result[name], key: _absolute(path, folder)}
    return result


def _absolute(path: Any, folder: Path) -> str | list[str]:
    """A path, or a pair of them, relative to a folder."""
    if isinstance(path, str | Path):
        return str((folder / path).absolute())
    return [str((folder / each).absolute()) for each in path]


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _require_files(settings: AnySettings) -> None:
    """Every file that is named exists: said before a run folder is made, or hours are spent.

    Raises:
        UsageError: one does not.
    """
    for table, key in TASKS[settings.task]().paths:
        named = getattr(getattr(settings, table), key)
        for name in [named] if isinstance(named, str) else named or ():
            if not Path(name).is_file():
                folder = Path(name).is_dir()
                raise UsageError(f"{name}: {'is a folder; expected a file' if folder else 'no such file'}")


def _put(tables: dict[str, Any], parents: list[str], value: Any) -> dict[str, Any]:
    first, *rest = parents
    below = _put(_table(tables, first), rest, value) if rest else value
    return {**tables, first: below}


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
