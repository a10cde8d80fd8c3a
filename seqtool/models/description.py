"""The description of a model in its folder: what is needed to build it, but weights and vocabularies."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, ClassVar, Self

from pydantic import ConfigDict

from seqtool.errors import ModelError, SettingsError
from seqtool.settings import Settings, validate


class Description(Settings):
    """Base of each task's description of a model: the `config` of config.json, checked when it is read."""

    # Keys of earlier versions that are no longer used are ignored.
    model_config = ConfigDict(extra="ignore")
    # By table, the only keys that are written; the other keys say where the files of the run were.
    KEPT: ClassVar[Mapping[str, Set[str]]] = {}

    name: str

    def to_config(self) -> dict[str, Any]:
        """Plain JSON values."""
        fields: dict[str, Any] = dict.fromkeys(type(self).model_fields, True)
        fields |= {name: set(keys) for name, keys in self.KEPT.items()}
        return self.model_dump(by_alias=True, include=fields)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> Self:
        """The description that `to_config` wrote.

        Args:
            config: JSON values, which may be foreign.
            where: The model folder, for messages.

        Returns:
            The description.

        Raises:
            ModelError: a value is missing or not valid.
        """
        tables = dict(config)
        for key, former in cls.FORMER.items():
            table, _, name = key.partition(".")
            if isinstance(values := tables.get(table), Mapping):
                tables[table] = {name: former, **values}
        try:
            return validate(cls, tables, "config.json")
        except SettingsError as error:
            raise ModelError(f"{where}: damaged or foreign: {error}") from error
