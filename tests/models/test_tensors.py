from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path

import pytest
import torch
from torch import nn

from seqtool.errors import ModelError
from seqtool.models.tensors import materialise, model_tensors, read_tensors, restore_weights, write_tensors


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 3)
        self.output = nn.Linear(3, 4)
        self.output.weight = self.embedding.weight
        self.register_buffer("counts", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)


def with_header(path: Path, header: bytes, data: bytes = b"", length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return path


def test_tensors_of_every_kind_come_back(tmp_path: Path):
    tensors = {
        "float": torch.randn(2, 3),
        "double": torch.randn(3).double(),
        "half": torch.randn(3).bfloat16(),
        "whole": torch.tensor(5),
        "bytes": torch.tensor([1, 2], dtype=torch.uint8),
        "empty": torch.zeros(0, 4),
        "transposed": torch.randn(2, 3).T,
        "grad": nn.Parameter(torch.randn(2)),
    }
    write_tensors(tmp_path / "x.safetensors", tensors)
    found = read_tensors(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_a_tied_weight_is_stored_once_and_restored(tmp_path: Path):
    model, other = Tied(), Tied()
    tensors = model_tensors(model)
    assert sorted(tensors) == ["counts", "embedding.weight", "output.bias"]
    write_tensors(tmp_path / "x.safetensors", tensors)
    restore_weights(other, read_tensors(tmp_path / "x.safetensors"), "x")
    assert torch.equal(other.output.weight, model.embedding.weight)
    assert other.output.weight is other.embedding.weight


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("output.bias"), "m: the tensor 'output.bias' is missing"),
        (
            lambda tensors: tensors.update(x=torch.zeros(1)),
            "m: unknown tensor 'x'; these are weights of another network, or of an older seqtool",
        ),
        (
            lambda tensors: tensors.update({"output.bias": torch.zeros(5)}),
            r"m: the tensor 'output.bias' has shape \[5\], expected \[4\]",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused_and_nothing_is_copied(change, message: str):  # type: ignore[no-untyped-def]
    model = Tied()
    before = {name: tensor.clone() for name, tensor in model_tensors(model).items()}
    tensors = {name: tensor + 1 for name, tensor in model_tensors(model).items()}
    change(tensors)
    with pytest.raises(ModelError, match=message):
        restore_weights(model, tensors, "m")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model_tensors(model).items())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x04K\x01.",
        b"PK\x03\x04 a zip file, as other tools save their models in",
        b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"nope",
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"x.safetensors: (truncated|damaged)"):
        read_tensors(path)


def test_a_huge_header_is_refused_before_it_is_read(tmp_path: Path):
    path = with_header(tmp_path / "x.safetensors", b"{", length=500 * 1024 * 1024)
    with path.open("r+b") as file:
        file.truncate(
            600 * 1024 * 1024
        )  # sparse: it takes no disk space, but reading it would take the memory
    tracemalloc.start()
    with pytest.raises(ModelError, match="its header cannot be read"):
        read_tensors(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_duplicate_name_is_refused(tmp_path: Path):
    entry = json.dumps({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})
    path = with_header(tmp_path / "x.safetensors", f'{{"a": {entry}, "a": {entry}}}'.encode(), b"\0" * 4)
    with pytest.raises(ModelError, match="duplicate key 'a'"):
        read_tensors(path)


def test_every_truncation_is_refused(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.ones(3), "b": torch.ones(2)})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError):
            read_tensors(path)


@pytest.mark.parametrize("shape", [[3], [2**40], [-1]])
def test_a_shape_that_does_not_fit_the_data_is_refused(tmp_path: Path, shape: list[int]):
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}).encode()
    with pytest.raises(ModelError):
        read_tensors(with_header(tmp_path / "x.safetensors", header, b"\0" * 4))


class Kernel(nn.Module):
    """A weight of a library kernel, tied under a second name, and a scale that is not saved."""

    def __init__(self, device: str | None = "cpu") -> None:
        super().__init__()
        self.kernel = nn.LSTM(3, 2)
        self.tied = self.kernel.weight_ih_l0
        self.fixed = nn.Parameter(torch.randn(2, dtype=torch.float64), requires_grad=False)
        self.register_buffer("scale", torch.full((2,), 3.0, device=device), persistent=False)


def on_meta(device: str | None = "cpu") -> Kernel:
    with torch.device("meta"):
        return Kernel(device)


def test_a_model_of_shapes_gets_copies_of_all_values():
    given, model = Kernel(), on_meta()
    tensors = model_tensors(given)
    materialise(model, tensors, "m")
    assert model_tensors(model).keys() == tensors.keys()
    for name, tensor in model_tensors(model).items():
        assert torch.equal(tensor, tensors[name]) and tensor.dtype == tensors[name].dtype
        assert tensor.data_ptr() != tensors[name].data_ptr()
    assert model.tied is model.kernel.weight_ih_l0
    assert [each.requires_grad for each in model.parameters()] == [
        each.requires_grad for each in given.parameters()
    ]
    inputs = torch.randn(4, 1, 3)
    torch.testing.assert_close(model.kernel(inputs)[0], given.kernel(inputs)[0], rtol=0, atol=0)
    assert model.scale.tolist() == [3.0, 3.0]


def test_a_buffer_that_is_neither_stored_nor_computed_is_found():
    with pytest.raises(AssertionError, match="neither stored nor computed: scale"):
        materialise(on_meta(device=None), model_tensors(Kernel()), "m")


def test_a_model_of_shapes_takes_no_memory_for_tensors_that_do_not_fit():
    model, tensors = on_meta(), model_tensors(Kernel())
    with pytest.raises(ModelError, match=r"'fixed' has shape \[3\], expected \[2\]"):
        materialise(model, {**tensors, "fixed": torch.zeros(3)}, "m")
    assert all(each.is_meta for each in model.parameters())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("place", [0, 500, 1000])
def test_a_value_that_is_not_finite_is_refused_wherever_it_stands(
    value: float, dtype: torch.dtype, place: int
) -> None:
    with torch.device("meta"):
        model = nn.Linear(143, 7, bias=False)  # 1,001 weights: no whole number of vectors of any width
    tensors = {"weight": torch.randn(7, 143).to(dtype)}
    tensors["weight"].view(-1)[place] = value
    with pytest.raises(ModelError, match="m: the tensor 'weight' has values that are not finite"):
        materialise(model, tensors, "m")
    assert model.weight.is_meta
