from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from seqtool.errors import DataError
from seqtool.settings import Settings
from seqtool.text.data_files import hold_out, locate, missing_part, same_content, training_parts


class Local(Settings):
    folder: str = "set"
    train: str | list[str] = "a"
    dev: str | list[str] = ["b", "/c"]
    test: str | list[str] | None = None


class Data(Settings):
    train: str | list[str] | None = None
    dev: str | list[str] | None = None
    test: str | list[str] | None = None
    local: Local | None = None
    hub: str | None = None


def test_files_are_found_relative_to_the_recipe(tmp_path: Path) -> None:
    data = locate(Data(train=["a", "../b"], test="/c", local=Local(), hub="h"), tmp_path / "recipe")
    assert data == Data(train=[f"{tmp_path}/recipe/a", f"{tmp_path}/b"], test="/c")


def test_without_named_files_local_ones_are_taken_and_then_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Data(local=Local(), hub="h")
    monkeypatch.delenv("SEQTOOL_DATA", raising=False)
    assert locate(data, tmp_path) == data
    monkeypatch.setenv("SEQTOOL_DATA", str(tmp_path))
    assert locate(data, tmp_path) == data  # the folder is not there
    (tmp_path / "set").mkdir()
    assert locate(data, Path("/elsewhere")) == Data(
        train=f"{tmp_path}/set/a", dev=[f"{tmp_path}/set/b", "/c"]
    )


@pytest.mark.parametrize(("count", "held"), [(2, 1), (14, 1), (16, 2), (100, 10)])
def test_the_last_tenth_is_held_out(count: int, held: int) -> None:
    kept, last = hold_out(range(count), "t", "item")
    assert (*kept, *last) == tuple(range(count))
    assert len(last) == held


def test_one_item_cannot_be_held_out() -> None:
    with pytest.raises(DataError, match=r"^t: one item cannot be split into train and dev; give --dev$"):
        hold_out("x", "t", "item")


@dataclass(frozen=True)
class Content:
    """A part of which only the digest matters."""

    digest: str
    source: str = "file"
    size: int = 1

    def describe(self) -> str:
        return ""


def test_equal_contents_of_train_and_dev_are_a_warning_and_equal_revisions_are_none() -> None:
    assert "the development data is the training data" in same_content(Content("a"), Content("a"))[0]
    assert same_content(Content("a"), Content("b")) == ()
    for data, count in ((Data(train="t", dev="d"), 1), (Data(hub="h"), 0)):
        _, remarks = training_parts(data, lambda data, name: Content("a"), lambda part: (part, part), "items")
        assert len(remarks) == count


def test_a_missing_part_is_explained() -> None:
    assert "set that variable" in str(missing_part(Data(local=Local()), "train"))
    for data in (Data(), Data(train="t", local=Local())):
        assert str(missing_part(data, "dev")) == "the recipe names no dev data; name a file"
        assert str(missing_part(data, "test")).startswith("this run has no test part; name a file, or use ")
