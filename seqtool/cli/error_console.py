"""Standard error as Rich prints to it; imported when there is something to print."""

from __future__ import annotations

from rich.console import Console


class ErrorConsole(Console):
    """Standard error; when its reader goes away the work goes on, with nobody to tell."""

    def __init__(self, *, colour: bool = True) -> None:
        super().__init__(stderr=True, highlight=False, soft_wrap=True, no_color=None if colour else True)

    def on_broken_pipe(self) -> None:
        """Say nothing more (Rich itself would end the program)."""
        self.quiet = True
