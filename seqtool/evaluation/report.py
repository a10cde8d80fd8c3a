"""The result of an evaluation, for every task: scores with intervals, tests against another model, JSON."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from seqtool.evaluation.score import Score
from seqtool.evaluation.significance import (
    Interval,
    PairedTest,
    bootstrap_interval,
    paired_bootstrap,
    paired_randomisation,
)

SEED = 1  # random seed of the resampling, fixed so that every figure can be reproduced
TEST_SAMPLES = 1000  # smallest number of resamples in a paired test


class Rival(NamedTuple):
    """The model that is compared with: its name, and its scores on the same data."""

    name: str
    scores: Mapping[str, Score]


class Comparison(NamedTuple):
    """The result of one paired test of one metric."""

    metric: str
    test: PairedTest


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation(ABC):
    """Scores of a model on one data set, with their uncertainty and a comparison with another model.

    Each task derives its own class from this one and adds what only that task has.

    Args:
        model: Name of the model, or of the file of predictions.
        data: Name of the data.
        scores: Score of each metric, by name.
        bootstrap: Number of resamples for the intervals and the paired bootstrap, at least 0; 0 = no
            intervals.
        rival: Another model to compare with, scored on the same data; None = no comparison.
        warnings: Warnings that a reader of the scores should know.
    """

    FEWEST: ClassVar[int] = 1  # smallest number of items for which intervals are computed

    model: str
    data: str
    scores: Mapping[str, Score]
    bootstrap: int = 1000
    rival: Rival | None = None
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Model, data and scores; the predictions and statistics would fill many screens."""
        scores = "".join(f", {name}={score.value:.4f}" for name, score in self.scores.items())
        return f"{type(self).__name__}(model={self.model!r}, data={self.data!r}{scores})"

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The 95 % bootstrap interval of each score; empty without resamples or with too few items."""
        return {
            name: bootstrap_interval(score, seed=SEED, samples=self.bootstrap)
            for name, score in self.scores.items()
            if self.bootstrap and score.sentences >= self.FEWEST
        }

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the metrics whose scores are tested against the other model."""
        raise NotImplementedError

    @property
    def against(self) -> str | None:
        """Name of the other model; None without a comparison."""
        return None if self.rival is None else self.rival.name

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Paired tests of this model's scores minus the other's; empty without another model."""
        if self.rival is None:
            return ()
        tests, samples = [], max(self.bootstrap, TEST_SAMPLES)
        for name in self.compared:
            own, other = self.scores[name], self.rival.scores[name]
            tests.append(Comparison(name, paired_bootstrap(own, other, seed=SEED, samples=samples)))
            tests.append(Comparison(name, paired_randomisation(own, other, seed=SEED)))
        return tuple(tests)

    def details(self) -> dict[str, Any]:
        """Results that only this task has, as JSON values."""
        return {}

    @abstractmethod
    def errors(self) -> Iterator[dict[str, Any]]:
        """The wrongly predicted examples as JSON values, each prediction beside the gold annotation."""

    def as_dict(self) -> dict[str, Any]:
        """The whole result as JSON values."""
        result: dict[str, Any] = {
            "model": self.model,
            "data": self.data,
            "metrics": {name: score.value for name, score in self.scores.items()},
            "signatures": {name: score.signature for name, score in self.scores.items()},
            "intervals": {
                name: {"low": interval.low, "high": interval.high, "level": interval.level}
                for name, interval in self.intervals.items()
            },
            **self.details(),
        }
        if self.rival is not None:
            result["against"] = {
                "model": self.against,
                "difference": f"{self.model} minus {self.against}",
                "tests": [
                    {"metric": name, "method": test.method, "difference": test.difference, "p": test.p_value}
                    for name, test in self.comparisons
                ],
            }
        return result
