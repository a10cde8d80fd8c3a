"""Several models made one: the ensemble in a folder of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqtool.devices import resolve_device
from seqtool.errors import UsageError, counted
from seqtool.models.ensemble import load_members, save_ensemble, single_models
from seqtool.models.folder import model_task, weights_digest
from seqtool.resolution import settings_of_run
from seqtool.tasks import ASSESSMENTS, ENSEMBLES, MODELS

if TYPE_CHECKING:
    from seqtool.training.job import TrainedRun


def load_together(task: str, paths: Sequence[Path], *, device: str = "auto", precision: str = "auto") -> Any:
    """Load a model, or several as one; a folder may hold an ensemble.

    Args:
        task: The task.
        paths: Model folders, or run folders with a model, at least one.
        device: As for `api.load`.
        precision: As for `api.load`.

    Raises:
        UsageError: there is no such model or device, or the models cannot be averaged.
        ModelError: one is damaged or of another task, or the models cannot be averaged.
    """
    resolve_device(device)  # what is typed is checked before any file is read
    found = load_members(MODELS[task](), paths, device=device, precision=precision)
    if len(found) == 1:
        return found[0]
    model = joined(task, found)
    if len(paths) == 1:
        model.place = str(paths[0])  # an ensemble's own folder, not its first member's
    return model


def joined(task: str, members: Sequence[Any]) -> Any:
    """Several models as one, whose predictions are averaged.

    Args:
        task: The task of the models.
        members: The models.

    Raises:
        UsageError, ModelError: they cannot be averaged.
    """
    if task not in ENSEMBLES:
        raise UsageError(
            f"{members[0].place}: a {members[0].kind}, which no ensemble is made of; name one model"
        )
    return ENSEMBLES[task]()(members)


def combine(models: Sequence[Path], output: Path) -> None:
    """Write an ensemble of several models as one folder, which is used like that of one model.

    Args:
        models: Run folders or model folders, at least two; an ensemble stands for its members.
        output: The model folder to make.

    Raises:
        UsageError: fewer than two models, one that does not exist, an output that does, language models, or
            taggers with different tags.
        ModelError: a model is damaged or of another task, or translators have different vocabularies.
        StorageError: the output cannot be written.
    """
    if output.exists():
        raise UsageError(f"{output}: exists already; give another folder with -o")
    members = single_models(models)
    _require_different(members)
    if len(members) < 2:
        raise UsageError(f"{counted(len(members), 'model')} given; an ensemble needs at least two")
    task = model_task(members[0])
    usage = load_together(task, members, device="cpu").usage
    save_ensemble(output, members, task=task, name=output.resolve().name, usage=usage)


def _require_different(members: Sequence[Path]) -> None:
    """Refuse a model that is named twice, itself or as a copy: it would only count twice as much."""
    known: dict[str, Path] = {}
    for member in members:
        other = known.setdefault(weights_digest(member), member)
        if other is not member:
            raise UsageError(f"{other} and {member} are the same model; name each model once")


def combine_runs(runs: Sequence[TrainedRun[Any]], output: Path) -> dict[str, float]:
    """Make finished runs, which differ in their seeds, one run whose model is their ensemble.

    Args:
        runs: The runs, at least two.
        output: The run folder to make; an ensemble in it is replaced.

    Returns:
        Scores of the ensemble on dev, by the names that training uses.

    Raises:
        UsageError, ModelError, StorageError: as for `combine`.
    """
    from seqtool.training.run_folder import RunFolder, manifest_of

    first, settings = runs[0], [settings_of_run(run.path) for run in runs]
    model = joined(settings[0].task, [run.model for run in runs])
    with RunFolder.open(output) as whole:
        whole.clear_training()  # of a run that was there before
        save_ensemble(
            whole.model,
            [run.path for run in runs],
            task=settings[0].task,
            name=output.resolve().name,
            usage=model.usage,
        )
        whole.recipe_text = RunFolder(first.path).recipe.read_text(encoding="utf-8")
        whole.write_recipe()
        scores = _dev_scores(model, settings[0], known=first.result.metrics)
        seeds = [each.seed for each in settings]
        whole.write_manifest({**manifest_of(first.path), "seed": seeds, "best": scores})
        whole.mark_finished(task=settings[0].task)
    return scores


def _dev_scores(model: Any, settings: Any, known: Collection[str]) -> dict[str, float]:
    """Scores of an ensemble on the development part of a run, those with known names only."""
    room = ASSESSMENTS[settings.task]()
    options = room.EvaluationOptions()
    data = room.evaluation_data(model, [], options, recipe=lambda: settings, part="dev")
    found = room.assess(model, data, options, name=model.place, bootstrap=0, against=None)
    return {
        name: score.value for name, score in found.scores.items() if name in known and score.value is not None
    }
