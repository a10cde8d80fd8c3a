"""Several models of one network as one: the mean of their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

from seqtool.errors import ModelError, UsageError
from seqtool.models.folder import ModelFolder, load_model_folder, save_model_folder

LIKENESS = 0.5  # cosine; weights of runs from different seeds have hardly any, those of one run nearly 1


def average_models(paths: Sequence[Path], output: Path) -> tuple[str, ...]:
    """Write a model folder whose weights are the mean of others'; all else is the first's.

    The models have to be of one network and one vocabulary; weights of runs that started from
    different seeds have little to do with each other, so these should be of one run, or
    fine-tuned from one model (Popel and Bojar 2018, section 4.10, on checkpoints).

    Args:
        paths: Run folders or model folders, at least two.
        output: The folder to make.

    Returns:
        Warnings.

    Raises:
        UsageError: fewer than two, a folder that is missing, or an output that exists.
        ModelError: a damaged folder, or one of another network or vocabulary.
        StorageError: it cannot be written.
    """
    if len(paths) < 2:
        raise UsageError(f"{len(paths)} model to average; expected at least two")
    if output.exists():
        raise UsageError(f"{output}: exists already; give a folder that does not")
    folders = [load_model_folder(path) for path in paths]
    first = folders[0]
    for path, other in zip(paths[1:], folders[1:], strict=True):
        _require_alike(first, other, paths[0], path)
    listed = "\n".join(f"- {path}" for path in paths)
    save_model_folder(
        output,
        task=first.task,
        config=first.config,
        tensors={name: _mean([folder.tensors[name] for folder in folders]) for name in first.tensors},
        texts=first.texts,
        codecs=first.codecs,
        card=f"# {first.config.get('name', '')}\n\nThe mean of the weights of\n\n{listed}\n",
    )
    return _strangers(paths, folders)


def _strangers(paths: Sequence[Path], folders: Sequence[ModelFolder]) -> tuple[str, ...]:
    """A warning where two of the models are not of one run: their mean is a model that nobody trained."""
    pairs = list(combinations(range(len(folders)), 2))
    found = [likeness(folders[i].tensors, folders[j].tensors) for i, j in pairs]
    least = min(found)
    if least >= LIKENESS:
        return ()
    first, second = (paths[i] for i in pairs[found.index(least)])
    return (
        f"{first} and {second} seem to be of different runs (cosine of their weights {least:.2f}): the mean "
        "of such weights is good for nothing; average models of one run, or fine-tuned from one model",
    )


def likeness(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Cosine of the weights of two models of one network, -1 to 1; 1 where both are nothing but zeros."""
    pairs = [(own[name].double(), other[name].double()) for name in own if own[name].is_floating_point()]
    product = sum(float((a * b).sum()) for a, b in pairs)
    norms = [sum(float(side.square().sum()) for side in sides) for sides in zip(*pairs, strict=True)]
    return product / (norms[0] * norms[1]) ** 0.5 if all(norms) else 1.0


def _require_alike(first: ModelFolder, other: ModelFolder, path: Path, second: Path) -> None:
    differing = [
        what
        for what, own, theirs in (
            ("task", first.task, other.task),
            ("network", first.config.get("model"), other.config.get("model")),
            ("vocabulary", first.texts | first.codecs, other.texts | other.codecs),
            ("shapes", _shapes(first), _shapes(other)),
        )
        if own != theirs
    ]
    if differing:
        raise ModelError(f"{path} and {second} differ in {differing[0]}; only models of one network average")


def _shapes(folder: ModelFolder) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in folder.tensors.items()}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    """In float64, rounded once; what is not a weight is the same in all."""
    if not tensors[0].is_floating_point():
        return tensors[0]
    return torch.stack([tensor.double() for tensor in tensors]).mean(0).to(tensors[0].dtype)
