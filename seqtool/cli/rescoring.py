"""`--lm` and `--lm-weight`: a language model that reorders the outputs of a translator."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seqtool.cli import console
from seqtool.cli.options import HardwareOptions
from seqtool.errors import ModelError, UsageError

if TYPE_CHECKING:
    from seqtool.translation.candidates import Rescoring
    from seqtool.translation.prediction import TranslatorModel
    from seqtool.translation.search import SearchOptions

LM_HELP = (
    "Language model of the target language, a run folder or its model/ folder, which reorders the outputs of "
    "the beam by the scores of both models."
)
WEIGHT_HELP = (
    "Weight of the log probabilities of --lm, 0 or more; auto = the best of eight from 0 to 1 on the "
    "development part of the translator's run. Default: auto."
)


def weight_of(text: str | None, lm: Path | None) -> float | Literal["auto"]:
    """The weight that `--lm-weight` names.

    Args:
        text: Argument of `--lm-weight`; None = not given.
        lm: Argument of `--lm`; None = not given.

    Raises:
        UsageError: a weight without a language model, or neither auto nor a number of 0 or more.
    """
    if text is None:
        return "auto"
    if lm is None:
        raise UsageError(
            f"--lm-weight {text} is the weight of a language model; name one with --lm, or leave it out"
        )
    if text == "auto":
        return "auto"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UsageError(
            f"--lm-weight {text}: expected auto, or a number of 0 or more, as in --lm-weight 0.3"
        )
    return value


def load_rescoring(
    translator: TranslatorModel,
    lm: Path,
    weight: float | Literal["auto"],
    options: SearchOptions,
    *,
    hardware: HardwareOptions,
    batch_tokens: int,
) -> Rescoring:
    """Load the language model, choose its weight if it is auto, and say what is done.

    Args:
        translator: The translator.
        lm: Argument of `--lm`.
        weight: As from `weight_of`.
        options: Options of the search.
        hardware: Device and precision.
        batch_tokens: Symbols per batch.

    Raises:
        UsageError, DataError, ModelError: as `api.rescoring` and `api.load_language_model`.
    """
    from seqtool import api

    if (task := api.task_of(lm)) != "lm":
        raise ModelError(f"--lm {lm}: a model for {task}; name one that `seqtool train lm` has made")
    # int8 is the arithmetic of translators; their language models read with fp32 then.
    precision = "auto" if hardware.precision == "int8" else hardware.precision
    model = api.load_language_model(lm, device=hardware.device, precision=precision)
    if weight == "auto":
        console.say("choosing the weight of the language model on the development part (--lm-weight auto)")
    found = api.rescoring(translator, model, weight, options=options, batch_tokens=batch_tokens)
    plain = "the language model is not asked, since its weight is 0"
    done = f"the outputs of the beam are {found.describe()}" if found.weight else plain
    console.say(found.reason or done)
    return found
