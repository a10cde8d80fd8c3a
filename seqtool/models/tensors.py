"""Tensors on disk, in safetensors files that are checked before they are used."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from seqtool.errors import ModelError
from seqtool.files import parse_json, storage_errors, write_durably

HEADER_LIMIT = 16 * 1024 * 1024  # bytes; enough for the names and shapes of about 100,000 tensors

FOREIGN = "these are weights of another network, or of an older seqtool: train the model again"


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to a safetensors file, durably, and replace the file if it exists.

    Args:
        path: The file.
        tensors: Tensors by name, on any device.

    Raises:
        StorageError: the disk is full, the folder cannot be written, ...
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_durably(path, safetensors.torch.save(plain))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, which may be foreign, to the CPU.

    The size of the header is limited, and the header is parsed strictly before memory is allocated.

    Args:
        path: The file.

    Returns:
        Tensors by name.

    Raises:
        ModelError: not a safetensors file, truncated, a duplicate name, or a header that is too large.
        StorageError: the file cannot be read.
    """
    _check_header(path)
    with storage_errors(path):
        try:
            # `safetensors.torch.load_file` cannot open a path that is not UTF-8.
            return safetensors.torch.load(path.read_bytes())
        except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(f"{path}: damaged or foreign: {error}") from error


def _check_header(path: Path) -> None:
    with storage_errors(path), path.open("rb") as file:
        size = path.stat().st_size
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if length < 2 or length > min(HEADER_LIMIT, size - 8):
            raise ModelError(f"{path}: truncated, or not a safetensors file; its header cannot be read")
        header = file.read(length)
    if not isinstance(parse_json(header, str(path)), dict):
        raise ModelError(f"{path}: damaged or foreign: the header is not a table of tensors")


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers of `model` by name; a tied weight only under its first name."""
    unique: dict[int, str] = {}
    result = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if unique.setdefault(id(tensor), name) == name:
            result[name] = tensor.detach()
    return result


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of the tensors of `model_tensors`, hexadecimal."""
    found = hashlib.sha256()
    for name, tensor in sorted(model_tensors(model).items()):
        found.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


@torch.no_grad()
def restore_weights(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors into a model; their names and shapes must be exactly those of `model_tensors(model)`.

    Args:
        model: The model, which keeps its device and number types; changed in place.
        tensors: Tensors by name, as `model_tensors` returns them.
        where: File or folder that they come from, for messages.

    Raises:
        ModelError: a tensor is missing, unknown, or of another shape. Values need not be finite: the
            checkpoint of a run that is diverging says so itself when it is resumed.
    """
    wanted = model_tensors(model)
    _require_fit(wanted, tensors, where)
    for name, tensor in wanted.items():
        tensor.copy_(tensors[name])


@torch.no_grad()
def materialise(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Allocate the tensors of a model that was built on the meta device, on the CPU, and fill them.

    Tensors that are not stored must have their values already, that is, be created with `device="cpu"`.
    Tied weights stay tied.

    Args:
        model: The model, which keeps its number types; changed in place.
        tensors: Tensors by name, as `model_tensors` returns them; may be foreign.
        where: File or folder that they come from, for messages.

    Raises:
        ModelError: a tensor is missing, unknown, of another shape, or not finite; no memory was
            allocated.
    """
    wanted = model_tensors(model)
    _require_fit(wanted, tensors, where)
    _require_finite(tensors, where)
    places = model.state_dict(keep_vars=True)
    made = {id(places[name]): _copied(tensors[name], places[name]) for name in wanted}
    model.load_state_dict({name: made[id(place)] for name, place in places.items()}, assign=True)
    empty = [name for name, tensor in _all_tensors(model) if tensor.is_meta]
    assert not empty, f"neither stored nor computed: {', '.join(empty)}"


def _copied(tensor: Tensor, place: Tensor) -> Tensor:
    """A copy of `tensor` with the number type and strides of `place`, and a parameter if `place` is one."""
    copy = torch.empty_strided(place.shape, place.stride(), dtype=place.dtype).copy_(tensor)
    return nn.Parameter(copy, place.requires_grad) if isinstance(place, nn.Parameter) else copy


def _all_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers, and tensors that are plain attributes of modules, with their names."""
    yield from model.named_parameters()
    yield from model.named_buffers()
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, Tensor):
                yield f"{name}.{attribute}", value


def _require_fit(wanted: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise ModelError unless names and shapes are the same."""
    for name in sorted(wanted.keys() | tensors.keys()):
        if name not in tensors:
            raise ModelError(f"{where}: the tensor {name!r} is missing; {FOREIGN}")
        if name not in wanted:
            raise ModelError(f"{where}: unknown tensor {name!r}; {FOREIGN}")
        found, expected = list(tensors[name].shape), list(wanted[name].shape)
        if found != expected:
            raise ModelError(f"{where}: the tensor {name!r} has shape {found}, expected {expected}")


def _require_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise ModelError if a value is not finite: such a model answers with nonsense, and says nothing."""
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise ModelError(
                f"{where}: the tensor {name!r} has values that are not finite: damaged or foreign"
            )


def _is_finite(tensor: Tensor) -> bool:
    """Whether all values are; the two extremes say it in one pass, as NaN is both wherever there is one."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    least, most = tensor.aminmax()
    return bool(least.isfinite() & most.isfinite())
