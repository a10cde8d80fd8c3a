"""Trained models against data, whatever their task: what `seqtool evaluate` does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from seqtool.errors import UsageError
from seqtool.loading import load_language_model, load_tagger, load_translator
from seqtool.resolution import Files, require_files, settings_of_run
from seqtool.text.data_files import PartName

if TYPE_CHECKING:
    from seqtool.lm.assessment import LanguageModelEvaluation
    from seqtool.lm.baselines import Baselines
    from seqtool.lm.data import Part
    from seqtool.lm.prediction import LanguageModel
    from seqtool.tagging.assessment import TaggerEvaluation
    from seqtool.translation.assessment import TranslatorEvaluation


def evaluate_tagger(
    model: str | Path,
    data: str | Path | None = None,
    *,
    part: PartName = "test",
    scheme: str = "auto",
    repair: bool = False,
    against: str | Path | None = None,
    bootstrap: int = 1000,
    target_precision: float | None = None,
    batch_tokens: int = 4096,
    device: str = "auto",
    precision: str = "auto",
) -> TaggerEvaluation:
    """Score a tagger: what `seqtool evaluate` does.

    Args:
        model: A run folder or its `model/` folder.
        data: An annotated file; None = a part of the recipe in the run folder.
        part: Which part that is: test, dev or train.
        scheme: Tag scheme of `data`, or auto.
        repair: Whether to repair invalid tag sequences of `data`.
        against: Another model, for paired tests.
        bootstrap: Resamples; 0 = no intervals.
        target_precision: Find the least confidence with this precision, in (0, 1].
        batch_tokens: Padded tokens a batch.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32 or bf16.

    Raises:
        UsageError, DataError, ModelError: a file is missing, or not what it should be.
    """
    from seqtool.tagging import assessment
    from seqtool.tagging.data import load_part

    tagger = load_tagger(model, device=device, precision=precision)
    other = None
    if against is not None:
        other = (str(against), load_tagger(against, device=device, precision=precision))
    if data is not None:
        sentences = assessment.load_evaluation_data(tagger, Path(data), scheme=scheme, repair=repair)
    else:
        sentences = load_part(settings_of_run(Path(model)), part)
    return assessment.assess(
        tagger,
        sentences,
        name=str(model),
        bootstrap=bootstrap,
        target_precision=target_precision,
        against=other,
        batch_tokens=batch_tokens,
    )


def evaluate_translator(
    model: str | Path,
    data: Files | None = None,
    *,
    part: PartName = "test",
    beam: int | None = None,
    ter: bool = False,
    against: str | Path | None = None,
    bootstrap: int = 1000,
    batch_tokens: int = 4096,
    device: str = "auto",
    precision: str = "auto",
) -> TranslatorEvaluation:
    """Score a translator: what `seqtool evaluate` does.

    Args:
        model: A run folder or its `model/` folder.
        data: Source and target files, or one TSV or JSONL file; None = a part of the recipe in the
            run folder.
        part: Which part that is: test, dev or train.
        beam: Hypotheses; None = as the recipe says.
        ter: Whether to compute TER, which is slow.
        against: Another model, for paired tests.
        bootstrap: Resamples; 0 = no intervals.
        batch_tokens: Padded symbols a batch.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32, bf16 or int8.

    Raises:
        UsageError, DataError, ModelError: a file is missing, or not what it should be.
    """
    from seqtool.translation import assessment
    from seqtool.translation.data import load_part
    from seqtool.translation.search import SearchOptions

    translator = load_translator(model, device=device, precision=precision)
    other = None
    if against is not None:
        other = (str(against), load_translator(against, device=device, precision=precision))
    if data is not None:
        paths = [Path(data)] if isinstance(data, str | Path) else [Path(each) for each in data]
        pairs = assessment.load_evaluation_data(translator, paths)
    else:
        pairs = load_part(settings_of_run(Path(model)), part)
    options = SearchOptions.of(translator.description.decoding)
    return assessment.assess(
        translator,
        pairs,
        name=str(model),
        options=options if beam is None else replace(options, beam=beam),
        ter=ter,
        bootstrap=bootstrap,
        against=other,
        batch_tokens=batch_tokens,
    )


def evaluate_language_model(
    model: str | Path,
    data: Files | None = None,
    *,
    part: PartName = "test",
    protocol: str = "streaming",
    adapt: bool = False,
    cache: bool = False,
    interpolate: bool = False,
    yardsticks: bool = True,
    against: str | Path | None = None,
    bootstrap: int = 1000,
    device: str = "auto",
    precision: str = "auto",
) -> LanguageModelEvaluation:
    """Score a language model: what `seqtool evaluate` does.

    Args:
        model: A run folder or its `model/` folder.
        data: Text files or folders; None = a part of the recipe in the run folder.
        part: Which part that is: test, dev or train.
        protocol: streaming or cold.
        adapt: Dynamic evaluation.
        cache: The neural cache.
        interpolate: Mix with the n-gram, by the weight that is best on dev.
        yardsticks: Train an n-gram (and xz) on the recipe's training part to stand beside the figures;
            without a recipe there are none.
        against: Another model, for paired tests.
        bootstrap: Resamples; 0 = no intervals.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32 or bf16.

    Raises:
        UsageError, DataError, ModelError: a file is missing, or not what it should be.
    """
    from seqtool.lm import assessment
    from seqtool.lm.data import load_part
    from seqtool.lm.scores import Protocol

    reading = Protocol("cold" if protocol == "cold" else "streaming", adapt=adapt, cache=cache)
    network = load_language_model(model, device=device, precision=precision)
    other = None
    if against is not None:
        other = (str(against), load_language_model(against, device=device, precision=precision))
    if data is not None:
        paths = [Path(data)] if isinstance(data, str | Path) else [Path(each) for each in data]
        text = assessment.load_evaluation_data(network, paths)
    else:
        text = load_part(settings_of_run(Path(model)), part).parts[part]
    beside, dev = _baselines(network, Path(model)) if yardsticks or interpolate else (None, None)
    if interpolate and dev is None:
        raise UsageError(f"{model}: --interpolate needs the recipe beside the model, and its data")
    return assessment.assess(
        network,
        text,
        name=str(model),
        protocol=reading,
        baselines=beside,
        interpolate_on=dev if interpolate else None,
        bootstrap=bootstrap,
        against=other,
    )


def _baselines(model: LanguageModel, path: Path) -> tuple[Baselines | None, Part | None]:
    """Those of the model's training part, and its dev part; nothing where these cannot be had any more."""
    from seqtool.lm.baselines import Baselines
    from seqtool.lm.data import load_training_data

    try:
        settings = settings_of_run(path)
        require_files(settings)
        data = load_training_data(settings)
    except UsageError:
        return None, None
    symbols = model.symbols
    found = Baselines.train(
        [symbols.encode(document) for document in data.train.documents],
        kind=symbols.codec.kind,
        size=len(symbols),
        texts=data.train.documents,
        dev=[symbols.encode(document) for document in data.dev.documents],
    )
    return found, data.dev
