"""Averaging: one model whose weights are the mean of the weights of several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

from seqtool.errors import ModelError, UsageError
from seqtool.models.folder import ModelFolder, load_model_folder, save_model_folder

LIKENESS = 0.5  # cosine similarity: nearly 1 within one run, near 0 between runs with different seeds


def average_models(paths: Sequence[Path], output: Path) -> tuple[str, ...]:
    """Write a model folder with the mean of several models' weights; everything else is that of the first.

    The models must have the same network and the same vocabulary. They should come from one run, or be
    fine-tuned from one model (Popel and Bojar 2018, section 4.10, on checkpoints): the weights of runs
    with different seeds are unrelated, and their mean is useless.

    Args:
        paths: Run folders or model folders, at least two.
        output: The model folder to create.

    Returns:
        Warnings for the user, one line each.

    Raises:
        UsageError: fewer than two models, a missing folder, or an output that exists.
        ModelError: a model is damaged, or has another network or vocabulary than the first.
        StorageError: the output cannot be written.
    """
    if len(paths) < 2:
        raise UsageError(f"{len(paths)} model to average; give at least two")
    if output.exists():
        raise UsageError(f"{output}: exists already; give another folder with -o")
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
    """A warning if two of the models do not seem to come from one run."""
    pairs = list(combinations(range(len(folders)), 2))
    found = [likeness(folders[i].tensors, folders[j].tensors) for i, j in pairs]
    least = min(found)
    if least >= LIKENESS:
        return ()
    first, second = (paths[i] for i in pairs[found.index(least)])
    return (
        f"{first} and {second} seem to come from different runs (cosine similarity of their weights "
        f"{least:.2f}), and the mean of such weights is useless; average models of one run, or models that "
        "were fine-tuned from one model",
    )


def likeness(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Cosine similarity of the weights of two models of one network, -1 to 1; 1 if all weights are zero."""
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
        raise ModelError(
            f"{path} and {second} differ in {differing[0]}; only models of one network and vocabulary can be "
            "averaged"
        )


def _shapes(folder: ModelFolder) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in folder.tensors.items()}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    """The mean, computed in float64 and rounded once; tensors of integers are equal in all models."""
    if not tensors[0].is_floating_point():
        return tensors[0]
    return torch.stack([tensor.double() for tensor in tensors]).mean(0).to(tensors[0].dtype)
