"""Facts about a model folder for `seqtool model info`: sizes, parts, vocabularies, scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from seqtool.errors import ModelError
from seqtool.files import digest, read_json, storage_errors
from seqtool.models.folder import (
    CONFIG,
    ModelFolder,
    find_model_folder,
    load_model_folder,
    members_of,
    read_config,
)
from seqtool.text.codec import codec_of
from seqtool.text.vocabulary import Vocabulary

TAGS = "tags.txt"
RUN_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ModelFacts:
    """Facts about one model folder."""

    path: str
    task: str
    name: str
    seqtool: str  # version of seqtool that wrote the model
    settings: dict[str, Any]  # the values of its config.json
    parameters: int  # number of parameters
    parts: dict[str, int]  # number of parameters by part of the network
    vocabularies: dict[str, int]  # number of symbols by vocabulary file
    tags: tuple[str, ...]  # tags of a tagger; empty for other models
    size: int  # bytes on disk
    files: dict[str, dict[str, Any]]  # size in bytes and SHA-256 by file
    dev: dict[str, float]  # scores on the development part; empty if the model is not in its run folder
    data: dict[str, Any]  # parts of the data with their digests; empty likewise
    members: int = 1  # number of models that it consists of

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def describe_model(path: Path) -> ModelFacts:
    """Describe a model after checking each of its files.

    Args:
        path: Model folder, or run folder with a model.

    Returns:
        The facts.

    Raises:
        UsageError: there is no such folder.
        ModelError: it is damaged or foreign.
        StorageError: it cannot be read.
    """
    if members := members_of(path):
        return _of_ensemble(find_model_folder(path), [describe_model(member) for member in members])
    content = load_model_folder(path)
    folder = find_model_folder(path)
    vocabularies = model_vocabularies(content)
    tags = vocabularies.get(TAGS)
    parts = _parts(content.tensors)
    files = _files(folder)
    run = _run_manifest(folder)
    return ModelFacts(
        path=str(folder),
        task=content.task,
        name=str(content.config.get("name", "")),
        seqtool=str(read_json(folder / CONFIG).get("seqtool", "")),
        settings={key: value for key, value in content.config.items() if key != "name"},
        parameters=sum(parts.values()),
        parts=parts,
        vocabularies={name: len(vocabulary) for name, vocabulary in vocabularies.items()},
        tags=tags.symbols if tags is not None else (),
        size=sum(file["size"] for file in files.values()),
        files=files,
        dev={name: value for name, value in run.get("best", {}).items() if name != "step"},
        data=run.get("data", {}),
    )


def _of_ensemble(folder: Path, members: Sequence[ModelFacts]) -> ModelFacts:
    """Facts about an ensemble: settings, vocabularies and tags are those of its first member."""
    run, files = _run_manifest(folder), _files(folder)
    for number, member in enumerate(members, 1):
        files |= {f"{number}/{name}": file for name, file in member.files.items()}
    return replace(
        members[0],
        path=str(folder),
        name=str(read_config(folder)["config"].get("name", "")),
        parameters=sum(member.parameters for member in members),
        parts={f"member {number}": member.parameters for number, member in enumerate(members, 1)},
        size=sum(file["size"] for file in files.values()),
        files=files,
        dev={name: value for name, value in run.get("best", {}).items() if name != "step"},
        data=run.get("data", {}),
        members=len(members),
    )


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of the files of a model folder, by name."""
    return {
        file.name: {"size": file.stat().st_size, "sha256": digest(file)}
        for file in sorted(folder.iterdir())
        if file.is_file()
    }


def read_model_vocabularies(path: Path) -> dict[str, Vocabulary]:
    """The vocabularies of a model folder, by file name; errors as `describe_model`."""
    return model_vocabularies(load_model_folder(path))


def model_vocabularies(content: ModelFolder) -> dict[str, Vocabulary]:
    """The vocabularies of a model folder, of any kind, by file name.

    Args:
        content: What the model folder holds.

    Returns:
        The vocabularies.

    Raises:
        ModelError: one of them is damaged.
    """
    lists = {
        name: Vocabulary.from_text(text, name)
        for name, text in sorted(content.texts.items())
        if name.endswith(".txt")
    }
    codecs = {name: codec_of(raw, name) for name, raw in sorted(content.codecs.items())}
    return lists | {name: Vocabulary(codec.symbols) for name, codec in codecs.items()}


def _parts(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Number of parameters by the first two parts of their names: `forms.words`, `encoder`, `crf`, ..."""
    counts: Counter[str] = Counter()
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue  # a constant of the network, such as the table of allowed tag transitions
        words = name.split(".")
        named = [word for word in words[:2] if not word.isdecimal()]
        counts[".".join(named if len(words) > 2 else words[:1])] += tensor.numel()
    return dict(counts)


def _run_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of the run that a model folder belongs to; empty if the model was moved elsewhere."""
    manifest = folder.parent / RUN_MANIFEST
    with storage_errors(manifest):
        if not manifest.is_file():
            return {}
    try:
        values = read_json(manifest)
    except ModelError:
        return {}  # another program's manifest.json: the folder above a model may be any folder
    return values if isinstance(values, dict) and isinstance(values.get("best"), dict) else {}
