"""The description of a tagger in its model folder."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, ClassVar

from pydantic import Field

from seqtool.models.description import Description
from seqtool.tagging.settings import Bias, DataSettings, ModelSettings, TaggerSettings, VocabularySettings
from seqtool.text.tag_scheme import Scheme


class TaggerDescription(Description):
    """The configuration of a tagger in its model folder, beside weights and vocabularies."""

    KEPT: ClassVar[Mapping[str, Set[str]]] = {
        "data": {"token_column", "tag_column", "feature_columns", "partial", "tag_names", "misaligned"}
    }

    FORMER: ClassVar[Mapping[str, object]] = TaggerSettings.FORMER

    task: str = Field(exclude=True)  # not in the configuration, since the folder records it elsewhere
    model: ModelSettings
    vocabulary: VocabularySettings
    scheme: Scheme | None  # tag scheme of the training files; None without spans
    model_scheme: Scheme | None  # tag scheme of the model's tag inventory; None without spans
    data: DataSettings = Field(alias="columns")  # the columns of the training files
    entity_bias: Mapping[str, Bias]  # nats added to the score of each entity, by type
    # What describes the language models that it reads sentences with; `lm.reading` checks it.
    readers: list[dict[str, Any]] = Field([])
