"""Sentences whose annotation is suspicious to a tagger that was trained on other sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from seqtool import api
from seqtool.errors import DataError, counted
from seqtool.tagging.data import TaggingData, harmonise, read_file
from seqtool.tagging.doubt import Suspicion, suspicions
from seqtool.tagging.settings import DataSettings
from seqtool.text.annotation import has_span_tags
from seqtool.text.columns import TaggedSentence, format_jsonl

if TYPE_CHECKING:
    from seqtool.tagging.prediction import TaggerModel

# A sentence with its tags as in its file, and what a tagger says about them.
Suspect = tuple[TaggedSentence, Suspicion]


def by_model(path: Path, model: Path, *, device: str = "auto", precision: str = "auto") -> list[Suspect]:
    """Judge the annotation of a file by a trained tagger.

    Args:
        path: The annotated file.
        model: A run folder or its model folder.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto, fp32 or bf16.

    Returns:
        Every sentence with what the tagger says, in the order of the file.

    Raises:
        UsageError, ModelError: there is no such file or model.
        DataError: the file is not valid.
    """
    tagger = api.load_tagger(model, device=device, precision=precision)
    columns = tagger.description.data.model_copy(update={"scheme": "auto"})
    data = harmonise({"train": read_file(path, "train", columns)}, columns, spans=tagger.scheme is not None)
    return _judged(data, list(data.train), tagger)


def by_folds(
    path: Path,
    folds: int,
    *,
    task: Literal["ner", "pos"] | None = None,
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    max_minutes: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Suspect]:
    """Judge each part of a file by a tagger that was trained on the other parts, with the built-in settings.

    Args:
        path: The annotated file.
        folds: Number of parts, at least 2; each is one passage of the file.
        task: ner = tags mark entities, pos = they do not; None = found from the tags.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: Arithmetic of training them: auto, fp32 or bf16.
        threads: CPU threads; 0 = all cores.
        max_minutes: Minutes of training each tagger, at most; None = as many as the built-in settings need.
        say: Function that is told of the progress.

    Returns:
        Every sentence with what a tagger says that has not seen it, in the order of the file.

    Raises:
        UsageError: there is no such file.
        DataError: the file is not valid, or has too few sentences.
    """
    columns = DataSettings()
    part = read_file(path, "train", columns)
    if task is None:
        task = "ner" if has_span_tags(sentence.tags or () for sentence in part.sentences) else "pos"
    data = harmonise({"train": part}, columns, spans=task == "ner")
    total = len(data.train)
    if total < 2 * folds:
        raise DataError(
            f"{path}: {counted(total, 'sentence')}; expected at least {2 * folds} for {folds} parts"
        )
    found: list[Suspect] = []
    for number in range(folds):
        here = slice(total * number // folds, total * (number + 1) // folds)
        others = [*part.sentences[: here.start], *part.sentences[here.stop :]]
        say(f"part {number + 1} of {folds}: training on the other {counted(len(others), 'sentence')}")
        with TemporaryDirectory() as folder:
            tagger = _trained(Path(folder), others, task, device, precision, threads, max_minutes)
        found += _judged(data, list(data.train[here]), tagger)
    return found


def _trained(
    folder: Path,
    sentences: list[TaggedSentence],
    task: str,
    device: str,
    precision: str,
    threads: int,
    max_minutes: float | None,
) -> TaggerModel:
    """A tagger trained on some sentences, in a folder that may be deleted afterwards."""
    file = folder / "train.jsonl"
    rows = (format_jsonl(sentence.tokens, sentence.tags) for sentence in sentences)
    file.write_text("".join(rows), encoding="utf-8")
    training: dict[str, Any] = {"precision": precision}
    if max_minutes is not None:
        training["max_minutes"] = max_minutes
    settings = {
        "data": {"train": str(file)},
        "device": device,
        "threads": threads,
        "training": training,
    }
    run = api.train({"task": task, "name": "part", **settings}, output=folder / "run")
    tagger: TaggerModel = run.model
    return tagger


def _judged(data: TaggingData, sentences: list[TaggedSentence], tagger: TaggerModel) -> list[Suspect]:
    judged = suspicions(tagger, sentences, partial=data.partial)
    pairs = zip(sentences, judged, strict=True)
    return [(replace(sentence, tags=data.tags_in_file(sentence)), found) for sentence, found in pairs]
