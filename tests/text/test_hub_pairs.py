"""Sentence pairs through the `datasets` library, on local files; the network is blocked during each test."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import datasets
import pytest

from seqtool.errors import DataError, SettingsError
from seqtool.settings import validate
from seqtool.text.hub import PairHubSettings, read_pair_hub
from seqtool.text.parallel import SentencePair

COMMIT = "0123456789abcdef0123456789abcdef01234567"
COLUMNS = {"en": ["one", ""], "de": ["eins", "zwei"], "tags": [["N", "SG"], None]}
BY_LANGUAGE = {"translation": [{"en": "one", "de": "eins"}, {"en": "", "de": "zwei"}]}


@pytest.fixture(autouse=True)
def closed_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def settings(folder: Path, rows: dict[str, Any], schema: Any = None, **options: Any) -> PairHubSettings:
    path = folder / "train.parquet"
    datasets.Dataset.from_dict(rows, features=schema).to_parquet(path)
    return PairHubSettings(id="parquet", files={"train": str(path)}, **options)


def expected(name: str, *features: tuple[str, ...]) -> list[SentencePair]:
    first, second = features or ((), ())
    return [SentencePair("one", "eins", first, name, 1), SentencePair("", "zwei", second, name, 2)]


@pytest.mark.parametrize("streaming", [False, True])
def test_columns_are_sides_and_features(tmp_path: Path, streaming: bool):
    data = settings(tmp_path, COLUMNS, source="en", target="de", features="tags", streaming=streaming)
    assert list(read_pair_hub(data, "train")) == expected("parquet:train", ("N", "SG"), ())


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "features",
    [None, datasets.Features({"translation": datasets.Translation(languages=["en", "de"])})],
    ids=["structure", "translation"],
)
def test_languages_of_a_translation_are_sides(tmp_path: Path, streaming: bool, features: Any):
    options = {"source": "en", "target": "de", "translation": "translation", "streaming": streaming}
    data = settings(tmp_path, BY_LANGUAGE, features, **options)
    assert list(read_pair_hub(data, "train")) == expected("parquet:train")


@pytest.mark.parametrize("streaming", [False, True])
def test_json_files_and_renamed_splits(tmp_path: Path, streaming: bool):
    path = tmp_path / "data.json"
    rows = [{"source": "one", "target": "eins"}, {"source": "", "target": "zwei"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = PairHubSettings(id="json", files={"held_out": str(path)}, dev="held_out", streaming=streaming)
    assert list(read_pair_hub(data, "dev")) == expected("json:held_out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "eng"}, "parquet:train: no column 'eng'; it has de, en, tags; did you mean 'en'?"),
        ({"features": "tgs"}, "parquet:train: no column 'tgs'; it has de, en, tags; did you mean 'tags'?"),
        ({"translation": "text"}, "parquet:train: no column 'text'; it has de, en, tags"),
        ({"translation": "en"}, "parquet:train: column 'en' does not hold texts by language; "),
    ],
)
def test_columns_that_are_not_there_are_settings_errors(tmp_path: Path, options: Any, message: str):
    data = settings(tmp_path, COLUMNS, **{"source": "en", "target": "de", **options})
    with pytest.raises(SettingsError) as caught:
        list(read_pair_hub(data, "train"))
    assert str(caught.value).startswith(message)


def test_a_language_that_is_not_there_is_a_settings_error(tmp_path: Path):
    data = settings(tmp_path, BY_LANGUAGE, translation="translation", source="en", target="fr")
    with pytest.raises(SettingsError, match=r"^parquet:train: no language 'fr'; it has de, en$"):
        list(read_pair_hub(data, "train"))


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ({"source": ["a", None], "target": ["b", "c"]}, {}, ":2: 'source' is None; expected text"),
        ({"source": ["a"], "target": ["b\nc"]}, {}, ":1: a line end or a NUL in 'target'"),
        ({"source": [1], "target": ["b"]}, {}, ":1: 'source' is 1; expected text"),
        (
            {"source": ["a"], "target": ["b"], "tags": ["V"]},
            {"features": "tags"},
            ":1: 'tags' is 'V'; expected a list of texts",
        ),
        (
            {"source": ["a"], "target": ["b"], "tags": [["V", ""]]},
            {"features": "tags"},
            ":1: an empty feature in ['V', '']",
        ),
        ({"translation": [None, BY_LANGUAGE["translation"][0]]}, {"translation": "translation"}, ":1: "),
    ],
)
def test_bad_rows_are_named_by_number(tmp_path: Path, rows: Any, options: Any, message: str):
    if "translation" in options:
        options = {**options, "source": "en", "target": "de"}
    with pytest.raises(DataError) as caught:
        list(read_pair_hub(settings(tmp_path, rows, **options), "train"))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "owner/name"}, "needs revision = its commit, 40 hexadecimal digits"),
        ({"id": "parquet"}, "parquet needs files = "),
        ({"id": "owner/name", "revision": COMMIT, "tokens": "words"}, "tokens: unknown key"),
        (
            {"id": "owner/name", "revision": COMMIT, "source": "en", "target": "en"},
            "source and target are both 'en'",
        ),
    ],
)
def test_settings_that_do_not_hold_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(SettingsError) as caught:
        validate(PairHubSettings, changes, "data.hub")
    assert message in str(caught.value)
