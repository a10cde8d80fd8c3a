"""Recurrent sequence models: taggers, translators and language models.

    import seqtool
    run = seqtool.train("ner-tiny")            # or the path of a recipe, or its tables as a dictionary
    tagger = seqtool.load(run.path)
    tagger.entities(["Ada Lovelace was born in London."])
    seqtool.evaluate(run.path, "test.conll").scores["f1"].value

The names below are public; everything else may change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seqtool.version import __version__

__all__ = ["__version__", "evaluate", "load", "train"]

if TYPE_CHECKING:
    from seqtool.api import evaluate, load, train


def __getattr__(name: str) -> Any:
    # Importing torch takes a second, so the API is imported on first use.
    if name in ("evaluate", "load", "train"):
        from seqtool import api

        return getattr(api, name)
    raise AttributeError(f"module 'seqtool' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
