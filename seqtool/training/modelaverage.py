"""Several models of one network as one: the mean of their weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from seqtool.errors import ModelError, UsageError
from seqtool.training.modelfolder import ModelFolder, load_model_folder, save_model_folder


def average_models(paths: Sequence[Path], output: Path) -> None:
    """Write a model folder whose weights are the mean of others'; all else is the first's.

    The models have to be of one network and one vocabulary; weights of runs that started from
    different seeds have little to do with each other, so these should be of one run, or
    fine-tuned from one model (Popel and Bojar 2018, section 4.10, on checkpoints).

    Args:
        paths: Run folders or model folders, at least two.
        output: The folder to make.

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
