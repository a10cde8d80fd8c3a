"""Going on from a trained model: what of a run's settings is the model's to say."""

from __future__ import annotations

from typing import TypeVar

from seqtool.errors import SettingsError
from seqtool.settings import Settings, validate

SettingsType = TypeVar("SettingsType", bound=Settings)


def settings_of_base(settings: SettingsType, **base: Settings) -> SettingsType:
    """Settings of a run that goes on from a model: its network and vocabulary stay as they are.

    Args:
        settings: As they were given.
        base: The tables that the model decides (`model`, `vocabulary`), as it has them.

    Raises:
        SettingsError: the settings ask for something else there, or for what does not go with it.
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
