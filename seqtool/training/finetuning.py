"""Fine-tuning: the settings of a run that starts from a trained model."""

from __future__ import annotations

from typing import TypeVar

from seqtool.errors import SettingsError
from seqtool.settings import Settings, validate

SettingsType = TypeVar("SettingsType", bound=Settings)


def settings_of_base(settings: SettingsType, **base: Settings) -> SettingsType:
    """Settings of a run that fine-tunes a model: the network and the vocabulary are those of the model.

    Args:
        settings: Settings of the run as the user gave them.
        base: The tables that the model determines (`model`, `vocabulary`), with its values.

    Returns:
        The settings with these tables in place of their own.

    Raises:
        SettingsError: a setting was given that differs from the model's, or the result is not valid.
    """
    differing = [
        f"{table}.{field.alias or name} = {getattr(own, name)!r}, the model has {getattr(theirs, name)!r}"
        for table, theirs in base.items()
        for own in (getattr(settings, table),)
        for name, field in type(own).model_fields.items()
        if name in own.model_fields_set and getattr(own, name) != getattr(theirs, name)
    ]
    if differing:
        raise SettingsError(f"--init-from keeps network and vocabulary; leave out: {'; '.join(differing)}")
    tables = settings.model_dump(exclude_unset=True, by_alias=True)
    tables |= {table: theirs.model_dump(by_alias=True) for table, theirs in base.items()}
    return validate(type(settings), tables, "--init-from")
