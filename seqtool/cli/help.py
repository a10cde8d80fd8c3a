"""Help of the commands: options in panels, examples at the end, and Rich only on a terminal."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from seqtool.cli import console
from seqtool.errors import UsageError

DATA, MODEL, TRAINING, DECODING = "Data", "Model", "Model and training", "Decoding"
TAGGERS, TRANSLATORS, LANGUAGE_MODELS = "Taggers", "Translators", "Language models"
OUTPUT, HARDWARE = "Output", "Hardware"
# In the order in which they are shown.
PANELS = (
    DATA,
    MODEL,
    TRAINING,
    DECODING,
    TAGGERS,
    TRANSLATORS,
    LANGUAGE_MODELS,
    OUTPUT,
    HARDWARE,
)
SHORT = 9  # options up to which a list needs no panels
EXAMPLES = "Examples:"
Function = TypeVar("Function", bound=Callable[..., Any])


class CommandGroup(typer.Typer):
    """A group of commands whose help looks like that of every other command.

    Args:
        help: Text of the group's help, with a section `Examples:` at its end.
        name: Name of the group; None = the name that it is added by.
        cls: Class of the group; None = `Group`.
    """

    def __init__(self, help: str, *, name: str | None = None, cls: type[TyperGroup] | None = None) -> None:
        super().__init__(
            name=name,
            cls=cls or Group,
            help=help,
            no_args_is_help=True,
            context_settings={"help_option_names": ["-h", "--help"]},
            pretty_exceptions_enable=False,
            rich_markup_mode=None,  # `Helpful` draws with Rich where there is a terminal
        )

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = None, **settings: Any
    ) -> Callable[[Function], Function]:
        """Add a function as a command; its docstring is the help, with a section `Examples:` at its end."""
        return super().command(name, cls=cls or Command, **settings)


class Helpful:
    """What the help of commands and groups has in common; stands before Typer's own class."""

    help: str | None
    epilog: str | None
    params: list[Any]

    def __init__(self, *, help: str | None = None, epilog: str | None = None, **settings: Any) -> None:
        text, heading, examples = (help or "").partition(EXAMPLES)
        paragraphs = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
        epilog = f"{heading}{examples.rstrip()}" if heading else epilog
        # Typer's class comes next in the order of base classes.
        super().__init__(help="\n\n".join(paragraphs), epilog=epilog, **settings)  # type: ignore[call-arg]
        options = [each for each in self.params if isinstance(each, TyperOption)]
        self.in_panels = len(options) > SHORT
        if not self.in_panels:
            for option in options:
                option.rich_help_panel = None

    def get_params(self, ctx: Any) -> list[Any]:
        """Arguments, then options in the order of their panels."""
        return sorted(super().get_params(ctx), key=_place)  # type: ignore[misc]

    def get_help_option(self, ctx: Any) -> Any:
        """`--help`, in a panel where the other options are in panels."""
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None and self.in_panels:
            option.rich_help_panel = OUTPUT
        return option

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help: with Typer's Rich panels for a terminal, else as plain text."""
        if not _is_drawn():
            super().format_help(ctx, formatter)  # type: ignore[misc]
            return
        from typer import rich_utils

        self._escape_markup()
        screen = _Screen()
        with redirect_stdout(screen):
            rich_utils.rich_format_help(obj=self, ctx=ctx, markup_mode="rich")  # type: ignore[arg-type]
        formatter.write(screen.getvalue())

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options as plain text, one section per panel."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                ordinary = "Options" if isinstance(parameter, TyperOption) else "Arguments"
                title = getattr(parameter, "rich_help_panel", None) or ordinary
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
        if isinstance(self, TyperGroup):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples line by line, so that they can be copied."""
        if self.epilog:
            formatter.write(f"\n{self.epilog}\n")

    def _escape_markup(self) -> None:
        """Keep Rich from reading square brackets in the texts as its markup."""
        from rich.markup import escape

        for each in (self, *self.params, *getattr(self, "commands", {}).values()):
            if getattr(each, "help", None):
                each.help = escape(each.help)
        if self.epilog:
            self.epilog = escape(self.epilog)


class Command(Helpful, TyperCommand):
    """A command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; two models are refused where one of them would be ignored."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        models = [each for each in order if each.name == "model" and isinstance(each, TyperOption)]
        if len(models) > 1 and not models[0].multiple:
            hint = ""
            if self.name == "evaluate":
                hint = (
                    "; to score several as one, write their predictions with seqtool tag or translate, and "
                    "give that file as --predictions"
                )
            raise UsageError(f"-m: expected one model, found {len(models)}{hint}")
        return super().parse_args(ctx, args)


class Group(Helpful, TyperGroup):
    """A group of commands."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands as plain text, each with the first paragraph of its help."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, (each.help or "").partition("\n\n")[0]) for name, each in found if each is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class _Screen(io.StringIO):
    """Text for the terminal that standard output is."""

    def isatty(self) -> bool:
        """Rich draws as for a terminal."""
        return True


def _is_drawn() -> bool:
    """Whether help goes to a terminal that can show panels; it may go to either stream."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not console.has_colour()
    return not plain and sys.stdout.isatty() and sys.stderr.isatty()


def _place(parameter: Any) -> int:
    """Place of a parameter's panel; what is in no panel comes first."""
    panel = getattr(parameter, "rich_help_panel", None)
    return PANELS.index(panel) if panel in PANELS else -1
