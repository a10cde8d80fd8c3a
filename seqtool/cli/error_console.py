"""Rich's console for standard error, in a module of its own so that Rich is imported only when needed."""

from __future__ import annotations

from rich.console import Console


class ErrorConsole(Console):
    """Rich's console for standard error; work continues in silence when the reader has gone away."""

    def __init__(self, *, colour: bool = True) -> None:
        super().__init__(stderr=True, highlight=False, soft_wrap=True, no_color=None if colour else True)

    def on_broken_pipe(self) -> None:
        """Print nothing more. Rich itself would end the program."""
        self.quiet = True
