"""One run of `seqtool train`, or several with `--seeds`, which may become one ensemble."""

from __future__ import annotations

import shlex
import statistics
from pathlib import Path
from typing import Any

from seqtool.cli import console
from seqtool.cli.run_options import RunOptions
from seqtool.errors import InterruptedRunError


def trained(settings: Any, options: RunOptions) -> list[Any]:
    """Train one run, or as many as `--seeds` says.

    Args:
        settings: Settings of the first run.
        options: What was typed.
    """
    return [_one_run(settings, options, number) for number in range(options.seeds)]


def _one_run(settings: Any, options: RunOptions, number: int) -> Any:
    """Train one run: number `number` of `--seeds N`, or the only one."""
    from seqtool import api
    from seqtool.cli.training_display import training_reporter

    output = options.output
    if options.seeds > 1:
        seed = settings.seed + number
        name = f"{settings.name}-seed{seed}"
        settings = settings.model_copy(update={"seed": seed, "name": name})
        output = None if output is None else output / f"seed{seed}"
        console.say(f"run {number + 1} of {options.seeds}, seed {seed}")
    reporter = training_reporter()
    try:
        run = api.train(
            settings,
            output=output,
            resume=options.resume,
            overwrite=options.overwrite,
            initial=options.initial,
            reporter=reporter,
            track=options.track,
        )
    except InterruptedRunError as error:
        error.args = (f"{error}; continue with: {resuming(settings.task, error.run, options)}",)
        raise
    finally:
        getattr(reporter, "close", lambda: None)()
    return run


def resuming(task: str, run: Path, options: RunOptions) -> str:
    """The command that resumes an interrupted run; the run folder holds its settings.

    Args:
        task: Name of the task.
        run: The run folder.
        options: What was typed.
    """
    if options.seeds > 1:
        return f"the same command with --resume{' in place of --overwrite' if options.overwrite else ''}"
    initial = [] if options.initial is None else ["--init-from", str(options.initial)]
    return shlex.join(["seqtool", "train", task, "--resume", "-o", str(run), *initial])


def ensemble_of(runs: list[Any], options: RunOptions) -> dict[str, Any] | None:
    """With `--ensemble`, make the runs one model in the folder of -o, and score it on dev.

    Returns:
        Its path and its scores, for `--json`; None without `--ensemble`.
    """
    if not options.ensemble:
        return None
    from seqtool.ensembles import combine_runs

    assert options.output is not None
    scores = combine_runs(runs, options.output)
    return {"ensemble": {"path": str(options.output), "dev": scores}}


def summary(runs: list[Any]) -> dict[str, Any]:
    """What `--json` prints: one run, or several with mean and standard deviation.

    Args:
        runs: The runs.
    """
    rows = [
        {
            "path": str(run.path),
            "best_step": run.result.best_step,
            "dev": run.result.metrics,
            "seconds": run.result.seconds,
            "stopped_by": run.result.reason,
        }
        for run in runs
    ]
    if len(rows) == 1:
        return rows[0]
    names = rows[0]["dev"]
    values = {name: [row["dev"][name] for row in rows] for name in names}
    return {
        "runs": rows,
        "mean": {name: statistics.mean(column) for name, column in values.items()},
        "standard_deviation": {name: statistics.stdev(column) for name, column in values.items()},
    }


def report_deviation(summary: dict[str, Any], ensemble: dict[str, Any] | None) -> None:
    """Say how far the runs differ, and what their ensemble reaches.

    Args:
        summary: What `summary` returned.
        ensemble: What `ensemble_of` returned.
    """
    runs = len(summary["runs"])
    together = {} if ensemble is None else ensemble["ensemble"]["dev"]
    for name in console.shown(summary["mean"]):
        mean, deviation = summary["mean"][name], summary["standard_deviation"][name]
        joint = f"; ensemble: {together[name]:.4f}" if name in together else ""
        console.say(
            f"dev {name}: {mean:.4f} ± {deviation:.4f} (mean, standard deviation, {runs} runs){joint}"
        )
