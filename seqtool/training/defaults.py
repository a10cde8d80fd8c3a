"""Settings that are chosen from the data if they are not given: what an expert would set for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AUTO = "auto"  # may be typed in place of a value: choose it


@dataclass(frozen=True)
class Choice:
    """What was chosen, and from what.

    Attributes:
        values: Value by dotted key, for every setting that is chosen if it is not given.
        because: What the data is, as the reason: "500 sentences, 11,303 tokens".
    """

    values: Mapping[str, Any]
    because: str

    def reasons(self, used: Mapping[str, Any]) -> tuple[str, ...]:
        """A line for the user about the values that were used; none if all settings were given.

        >>> Choice({"training.epochs": 30}, "500 sentences").reasons({"training.epochs": 30})
        ('chosen for 500 sentences: epochs 30',)
        """
        if not used:
            return ()
        listed = ", ".join(f"{key.rpartition('.')[2]} {_shown(value)}" for key, value in used.items())
        return (f"chosen for {self.because}: {listed}",)


def power_of_two(value: float, least: int, most: int) -> int:
    """The power of two nearest to a value (by ratio), within bounds that are powers of two.

    >>> power_of_two(300, 64, 1024), power_of_two(5000, 64, 1024)
    (256, 1024)
    """
    return min(max(1 << round(math.log2(max(value, 1.0))), least), most)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
