"""Groups of command-line options: a dataclass whose fields are options that several commands share.

@dataclass(frozen=True)
class SearchGroup:
    beam: Annotated[int | None, typer.Option("--beam", min=1, help="Beam size; 1 = greedy.")] = None

@with_options
def translate(source: str = "-", *, search: SearchGroup) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

from typer.models import OptionInfo


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Make a Typer command of a function that takes groups of options.

    Typer reads a function's signature and cannot share a group of options. The returned function has one
    option per field in place of each parameter that is annotated with a dataclass.

    Args:
        command: Function whose parameters are Typer's arguments and options, or dataclasses of options.
            Every field needs a default, and no name may occur twice.

    Returns:
        The function to give to Typer.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Size:
    ...     width: int = 3
    ...     height: int = 4
    >>> def area(size: Size) -> None:
    ...     print(size.width * size.height)
    >>> with_options(area)(width=5, height=2)
    10
    """
    own: list[inspect.Parameter] = []
    groups: dict[str, type] = {}
    members: dict[str, list[str]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if is_dataclass(parameter.annotation) and isinstance(parameter.annotation, type):
            options = _options_of(parameter.annotation)
            groups[parameter.name] = parameter.annotation
            members[parameter.name] = [option.name for option in options]
            own += options
        else:
            own.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def spread(**values: Any) -> None:
        gathered = {
            name: group(**{member: values.pop(member) for member in members[name] if member in values})
            for name, group in groups.items()
        }
        command(**values, **gathered)

    # `Signature` refuses a name that occurs twice.
    spread.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    spread.__annotations__ = {parameter.name: parameter.annotation for parameter in own}
    return spread


def given(group: Any) -> dict[str, Any]:
    """The options of a group that differ from their defaults, by field name."""
    values = {field.name: getattr(group, field.name) for field in fields(group)}
    return {field.name: values[field.name] for field in fields(group) if values[field.name] != field.default}


def flag(group: Any, name: str) -> str:
    """The flag of an option as it is typed, for instance `--top-k`.

    Args:
        group: Dataclass of options, or an instance of it.
        name: Name of one of its fields.
    """
    kind = group if isinstance(group, type) else type(group)
    metadata = getattr(get_type_hints(kind, include_extras=True)[name], "__metadata__", ())
    for option in metadata:
        if isinstance(option, OptionInfo):
            # Inside `Annotated`, the first name stands where `typer.Option` otherwise has the default.
            words = (option.default, *(option.param_decls or ()))
            if typed := [word for word in words if isinstance(word, str) and word.startswith("--")]:
                return typed[0]
    return f"--{name.replace('_', '-')}"


def _options_of(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    members = fields(group)
    assert all(member.default is not MISSING for member in members), (
        f"{group.__name__}: a field has no default"
    )
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(member.name, kind, default=member.default, annotation=hints[member.name])
        for member in members
    ]
