"""Plain text through the `datasets` library, on local files; the network is blocked during each test."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import datasets
import pytest

from seqtool.errors import DataError, SettingsError
from seqtool.settings import validate
from seqtool.text.hub import TextHubSettings, read_text_hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXTS = ["one line", "", "two\nlines", "  spaces kept \u2028"]


@pytest.fixture(autouse=True)
def closed_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def settings(folder: Path, rows: dict[str, Any], **options: Any) -> TextHubSettings:
    path = folder / "train.parquet"
    datasets.Dataset.from_dict(rows).to_parquet(path)
    return TextHubSettings(id="parquet", files={"train": str(path)}, **options)


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_are_texts_as_they_are(tmp_path: Path, streaming: bool):
    data = settings(tmp_path, {"text": TEXTS, "id": [1, 2, 3, 4]}, streaming=streaming)
    assert list(read_text_hub(data, "train")) == TEXTS


@pytest.mark.parametrize("streaming", [False, True])
def test_json_files_renamed_splits_and_columns(tmp_path: Path, streaming: bool):
    path = tmp_path / "data.json"
    path.write_text("".join(json.dumps({"content": text}) + "\n" for text in TEXTS))
    data = TextHubSettings(
        id="json", files={"held_out": str(path)}, dev="held_out", text="content", streaming=streaming
    )
    assert list(read_text_hub(data, "dev")) == TEXTS


def test_a_column_that_is_not_there_is_a_settings_error(tmp_path: Path):
    data = settings(tmp_path, {"texts": TEXTS})
    with pytest.raises(SettingsError) as caught:
        list(read_text_hub(data, "train"))
    assert str(caught.value) == "parquet:train: no column 'text'; it has texts; did you mean 'texts'?"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a", None], "parquet:train:2: 'text' is None; expected text"),
        ([1], "parquet:train:1: 'text' is 1; expected text"),
        ([["a"]], "parquet:train:1: 'text' is ['a']; expected text"),
    ],
)
def test_bad_rows_are_named_by_number(tmp_path: Path, rows: Any, message: str):
    with pytest.raises(DataError) as caught:
        list(read_text_hub(settings(tmp_path, {"text": rows}), "train"))
    assert str(caught.value) == message


def test_rows_are_read_as_they_are_asked_for(tmp_path: Path):
    data = settings(tmp_path, {"text": ["a", "b", None]}, streaming=True)
    rows = read_text_hub(data, "train")
    assert [next(rows), next(rows)] == ["a", "b"]
    with pytest.raises(DataError):
        next(rows)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "owner/name"}, "needs revision = its commit, 40 hexadecimal digits"),
        ({"id": "parquet"}, "parquet needs files = "),
        ({"id": "owner/name", "revision": COMMIT, "tokens": "words"}, "tokens: unknown key"),
        ({"id": "owner/name", "revision": COMMIT, "text": 3}, "text: expected text"),
    ],
)
def test_settings_that_do_not_hold_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(SettingsError) as caught:
        validate(TextHubSettings, changes, "data.hub")
    assert message in str(caught.value)


def test_dev_and_test_are_shares_of_train_unless_a_split_is_named():
    data = TextHubSettings(id="owner/name", revision=COMMIT)
    assert (data.train, data.dev, data.test) == ("train", None, None)
