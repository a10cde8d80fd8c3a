"""What an evaluation says, whatever the task: scores with intervals, tests against another model, JSON."""

from __future__ import annotations

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

SEED = 1  # of the resampling, so that every figure can be repeated
TEST_SAMPLES = 1000  # resamples of a paired test, where fewer were asked for


class Rival(NamedTuple):
    """What a model is compared with: another one's scores on the same data."""

    name: str
    scores: Mapping[str, Score]


class Comparison(NamedTuple):
    """One paired test of one metric."""

    metric: str
    test: PairedTest


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores of a model on one data set, how far to trust them, and how they compare with another model's.

    A wing derives its own from this one, with what only its task has.

    Args:
        model: Name of the model, or of the file of predictions.
        data: Name of the data.
        scores: By the name of the metric.
        bootstrap: Resamples for the intervals and the paired bootstrap; 0 = no intervals.
        rival: Another model on the same data; None = no comparison.
        warnings: What a reader of the figures has to know.
    """

    FEWEST: ClassVar[int] = 1  # items that an interval needs

    model: str
    data: str
    scores: Mapping[str, Score]
    bootstrap: int = 1000
    rival: Rival | None = None
    warnings: tuple[str, ...] = ()

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The 95 % interval of each score."""
        return {
            name: bootstrap_interval(score, seed=SEED, samples=self.bootstrap)
            for name, score in self.scores.items()
            if self.bootstrap and score.sentences >= self.FEWEST
        }

    @property
    def compared(self) -> tuple[str, ...]:
        """Metrics that are tested against the other model."""
        raise NotImplementedError

    @property
    def against(self) -> str | None:
        """Name of the other model."""
        return None if self.rival is None else self.rival.name

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Paired tests of this model's scores minus the other's; none without another model."""
        if self.rival is None:
            return ()
        tests, samples = [], max(self.bootstrap, TEST_SAMPLES)
        for name in self.compared:
            own, other = self.scores[name], self.rival.scores[name]
            tests.append(Comparison(name, paired_bootstrap(own, other, seed=SEED, samples=samples)))
            tests.append(Comparison(name, paired_randomisation(own, other, seed=SEED)))
        return tuple(tests)

    def details(self) -> dict[str, Any]:
        """What only this task has, as JSON values."""
        return {}

    def errors(self) -> Iterator[dict[str, Any]]:
        """The wrong examples as JSON values: what was predicted beside what is right."""
        raise NotImplementedError

    def as_dict(self) -> dict[str, Any]:
        """The whole as JSON values."""
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
