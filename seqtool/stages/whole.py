"""The run that stages belong to, and how each of them is carried out in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seqtool.devices import resolve_device
from seqtool.errors import InterruptedRunError
from seqtool.resolution import recipe_text
from seqtool.training import distributed, job
from seqtool.training.job import Job
from seqtool.training.progress import Reporter
from seqtool.training.pruning import prune_state
from seqtool.training.run_folder import RunFolder


@dataclass(frozen=True)
class Whole:
    """The run that stages belong to.

    Attributes:
        settings: Settings of the run.
        data: Its annotated data, or its pairs.
        run: Its folder.
        reporter: Told of the progress.
        resume: Whether to continue where the run stopped.
    """

    settings: Any
    data: Any
    run: RunFolder
    reporter: Reporter
    resume: bool

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return resolve_device(self.settings.device)

    def begin(self) -> None:
        """Write the recipe, and delete what training left in the folder before, unless the run is resumed.

        The other processes wait for the one that writes.
        """
        if self.run.writes:
            if not self.resume:
                self.run.clear_training()
            self.run.write_recipe()
        distributed.numbers_of_first([0.0], self.device)

    def carry_out(self, job_of: Callable[[Path | None], Job[Any, Any]], folder: Path) -> None:
        """Train one job in its folder, unless that is done; its checkpoints are not kept.

        Args:
            job_of: From the recipe of the job if it is resumed, or None, to the job.
            folder: The folder.
        """
        if self.resume and RunFolder(folder).is_finished:
            self.reporter.message(f"{folder}: done before")
            return
        options = {"task": self.settings.task, "name": folder.name, "resume": self.resume}
        with RunFolder.create_for_all(
            folder, device=self.device, overwrite=not self.resume, **options
        ) as stage:
            work = job_of(stage.recipe if self.resume else None)
            stage.recipe_text = recipe_text(work.settings)
            try:
                job.train(work, run=stage, reporter=self.reporter, resume=self.resume)
            except InterruptedRunError as error:
                error.run = self.run.path
                raise
            if stage.writes:
                stage.mark_finished(task=work.settings.task)
        if self.run.writes:
            prune_state(folder)
