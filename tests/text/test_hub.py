"""Data through the `datasets` library, on local files; the network is blocked during each test."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from seqtool.errors import DataError, SettingsError, StorageError, UsageError
from seqtool.settings import validate
from seqtool.text.columns import TaggedSentence
from seqtool.text.hub import HubSettings, read_hub

NAMES = ["O", "B-PER", "I-PER"]
ROWS = {"tokens": [["Ada", "Lovelace"], ["x"]], "ner_tags": [[1, 2], [0]]}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def closed_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def labelled(rows: dict[str, Any] = ROWS) -> datasets.Dataset:
    features = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            "ner_tags": datasets.Sequence(datasets.ClassLabel(names=NAMES)),
        }
    )
    return datasets.Dataset.from_dict(rows, features=features)


def parquet(folder: Path, data: datasets.Dataset | None = None) -> Path:
    path = folder / "train.parquet"
    (data or labelled()).to_parquet(path)
    return path


def expected(name: str) -> list[TaggedSentence]:
    return [
        TaggedSentence(("Ada", "Lovelace"), ("B-PER", "I-PER"), source=name, line=1),
        TaggedSentence(("x",), ("O",), source=name, line=2),
    ]


@pytest.mark.parametrize("streaming", [False, True])
def test_class_labels_in_parquet_become_names(tmp_path: Path, streaming: bool):
    path = parquet(tmp_path)
    settings = HubSettings(id="parquet", files={"train": str(path)}, streaming=streaming)
    assert list(read_hub(settings, "train")) == expected("parquet:train")


@pytest.mark.parametrize("streaming", [False, True])
def test_local_folder_is_read_by_its_path(tmp_path: Path, streaming: bool):
    (tmp_path / "corpus").mkdir()
    parquet(tmp_path / "corpus")
    settings = HubSettings(id=str(tmp_path / "corpus"), streaming=streaming)
    assert list(read_hub(settings, "train")) == expected(f"{tmp_path}/corpus:train")


@pytest.mark.parametrize("streaming", [False, True])
def test_json_files_hold_names_and_columns_and_splits_are_renamed(tmp_path: Path, streaming: bool):
    path = tmp_path / "data.json"
    rows = [{"words": ["Ada", "Lovelace"], "labels": ["B-PER", "I-PER"]}, {"words": ["x"], "labels": ["O"]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = HubSettings(
        id="json",
        files={"held_out": str(path)},
        dev="held_out",
        tokens="words",
        tags="labels",
        streaming=streaming,
    )
    assert list(read_hub(settings, "dev")) == expected("json:held_out")


def test_streaming_leaves_no_copy(tmp_path: Path):
    path = parquet(tmp_path)
    files = {"train": str(path)}
    assert next(read_hub(HubSettings(id="parquet", files=files, streaming=True), "train")).line == 1
    assert not list(tmp_path.rglob("*.arrow"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "owner/name"}, "needs revision = its commit, 40 hexadecimal digits"),
        ({"id": "owner/name", "revision": "main"}, "needs revision = its commit, 40 hexadecimal digits"),
        ({"id": "parquet"}, "parquet needs files = "),
        ({"id": "parquet", "files": {"train": "hf://datasets/a/b"}}, "files are local paths"),
        ({"id": "json", "files": {"train": "x"}, "revision": COMMIT}, "revision is for data sets on the hub"),
        ({"id": "./absent"}, "./absent is not a folder"),
        ({"id": "owner/name", "revison": COMMIT}, "revison: unknown key; did you mean 'revision'?"),
    ],
)
def test_settings_that_do_not_hold_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(SettingsError) as caught:
        validate(HubSettings, changes, "data.hub")
    assert message in str(caught.value)


def test_hub_data_sets_are_remote_and_local_files_are_not(tmp_path: Path):
    assert HubSettings(id="owner/name", revision=COMMIT).is_remote
    assert HubSettings(id="owner/name", revision="refs/convert/parquet", files={"train": "x"}).is_remote
    assert not HubSettings(id=str(tmp_path)).is_remote
    assert not HubSettings(id="json", files={"train": "x"}).is_remote


def test_unknown_split_and_column_are_settings_errors(tmp_path: Path):
    files = {"train": str(parquet(tmp_path))}
    with pytest.raises(SettingsError, match=r"^parquet:validation: .*[sS]plit"):
        list(read_hub(HubSettings(id="parquet", files=files), "dev"))
    with pytest.raises(SettingsError) as caught:
        list(read_hub(HubSettings(id="parquet", files=files, tags="nertags"), "train"))
    message = "parquet:train: no column 'nertags'; it has ner_tags, tokens; did you mean 'ner_tags'?"
    assert str(caught.value) == message


def test_missing_file_is_a_usage_error(tmp_path: Path):
    settings = HubSettings(id="parquet", files={"train": str(tmp_path / "absent.parquet")})
    with pytest.raises(UsageError, match=r"^parquet:train: "):
        list(read_hub(settings, "train"))


@pytest.mark.parametrize("streaming", [False, True])
def test_damaged_file_is_a_data_error(tmp_path: Path, streaming: bool):
    path = tmp_path / "train.parquet"
    path.write_bytes(b"PAR1 but not for long PAR1")
    settings = HubSettings(id="parquet", files={"train": str(path)}, streaming=streaming)
    with pytest.raises(DataError, match=r"^parquet:train: cannot be read: "):
        list(read_hub(settings, "train"))


def test_unreachable_hub_is_a_storage_error(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(StorageError, match=r"^owner/name:train: no route to host$"):
        list(read_hub(HubSettings(id="owner/name", revision=COMMIT), "train"))


def test_revision_and_configuration_reach_the_library(monkeypatch: pytest.MonkeyPatch):
    seen: list[Any] = []

    def load(*arguments: Any, **options: Any) -> datasets.Dataset:
        seen.append((arguments, options["revision"], options["split"]))
        return labelled()

    monkeypatch.setattr(datasets, "load_dataset", load)
    settings = HubSettings(id="owner/name", revision=COMMIT, config="en", train="train[:2]")
    assert list(read_hub(settings, "train")) == expected("owner/name:train[:2]")
    assert seen == [(("owner/name", "en"), COMMIT, "train[:2]")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"tokens": [["a", "b"]], "ner_tags": [[0]]}, ":1: 1 tag for 2 tokens; expected one per token"),
        ({"tokens": [[]], "ner_tags": [[]]}, ":1: 'tokens' is []; expected a list of non-empty texts"),
        ({"tokens": [["a", None]], "ner_tags": [[0, 0]]}, ":1: 'tokens' is ['a', None]; expected a list"),
        ({"tokens": [["a"]], "ner_tags": [[-1]]}, ":1: 'ner_tags' is [-1]; expected a list of tags"),
    ],
)
def test_bad_rows_are_named_by_number(tmp_path: Path, rows: dict[str, Any], message: str):
    settings = HubSettings(id="parquet", files={"train": str(parquet(tmp_path, labelled(rows)))})
    with pytest.raises(DataError) as caught:
        list(read_hub(settings, "train"))
    assert message in str(caught.value)


def test_library_is_imported_only_when_used():
    script = "import sys, seqtool.text.hub; print('datasets' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout == "False\n"
