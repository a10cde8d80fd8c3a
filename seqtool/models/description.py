"""What a model folder says of its model beside weights and vocabularies."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, ClassVar, Self

from pydantic import ConfigDict

from seqtool.errors import ModelError, SettingsError
from seqtool.settings import Settings, validate


class Description(Settings):
    """Base of the description of a wing's models: the `config` of config.json, checked when it is read."""

    # What an older version wrote and nothing reads any more does no harm.
    model_config = ConfigDict(extra="ignore")
    # Of these tables only these keys are written: the others say where a run's files were.
    KEPT: ClassVar[Mapping[str, Set[str]]] = {}

    name: str

    def to_config(self) -> dict[str, Any]:
        """Plain JSON values."""
        fields: dict[str, Any] = dict.fromkeys(type(self).model_fields, True)
        fields |= {name: set(keys) for name, keys in self.KEPT.items()}
        return self.model_dump(by_alias=True, include=fields)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> Self:
        """The inverse of `to_config`.

        Args:
            config: May be foreign.
            where: The model folder; heads messages.

        Raises:
            ModelError: something is missing or not what it should be.
        """
        try:
            return validate(cls, config, "config.json")
        except SettingsError as error:
            raise ModelError(f"{where}: damaged or foreign: {error}") from error
