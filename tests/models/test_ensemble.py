"""Ensembles as one folder: what they hold, how they are found damaged, and who refuses them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from seqtool import api
from seqtool.errors import ModelError, UsageError
from seqtool.files import read_json
from seqtool.models.ensemble import save_ensemble, single_models
from seqtool.models.facts import describe_model
from seqtool.models.folder import find_model_folder, load_model_folder, members_of, verify_model_folder
from tests.models.test_average import model


@pytest.fixture
def together(tmp_path: Path) -> Path:
    members = [model(tmp_path / name, value, codecs={}) for name, value in (("a", 1.0), ("b", 2.0))]
    save_ensemble(tmp_path / "ab", members, task="ner", name="ab", usage="seqtool tag -m {}")
    return tmp_path / "ab"


def test_an_ensemble_holds_complete_copies_of_its_members(together: Path, tmp_path: Path) -> None:
    assert members_of(together) == [together / "1", together / "2"]
    for name, member in zip("ab", members_of(together), strict=True):
        assert (member / "manifest.json").read_bytes() == (tmp_path / name / "manifest.json").read_bytes()
    for name in "ab":
        (tmp_path / name).rename(tmp_path / f"{name}-gone")
    moved = together.rename(tmp_path / "elsewhere")
    names = [f"{n}/{file}" for n in (1, 2) for file in verify_model_folder(tmp_path / "b-gone")]
    assert verify_model_folder(moved) == ["README.md", "config.json", *names]
    assert api.task_of(moved) == "ner"
    assert "seqtool tag -m FOLDER" in (moved / "README.md").read_text()


def test_facts_about_an_ensemble_are_sums(together: Path) -> None:
    found, one = describe_model(together), describe_model(together / "1")
    assert (found.name, found.task) == ("ab", "ner")
    assert (found.parameters, found.parts) == (12, {"member 1": 6, "member 2": 6})
    own = sum((together / name).stat().st_size for name in ("README.md", "config.json", "manifest.json"))
    assert found.size == own + 2 * one.size
    assert found.files["2/config.json"]["sha256"] == one.files["config.json"]["sha256"]
    assert json.dumps(found.as_dict())


def test_an_ensemble_among_the_members_stands_for_its_own(together: Path, tmp_path: Path) -> None:
    assert single_models([tmp_path / "a", together]) == [tmp_path / "a", together / "1", together / "2"]


def _drop(folder: Path) -> None:
    (folder / "2" / "manifest.json").unlink()


def _exchange(folder: Path) -> None:
    (folder / "1").rename(folder / "3")
    (folder / "2").rename(folder / "1")
    (folder / "3").rename(folder / "2")


def _change(folder: Path) -> None:
    (folder / "2" / "tags.txt").write_text('"X"\n')


@pytest.mark.parametrize("damage", [_drop, _exchange, _change])
def test_damage_is_found(together: Path, damage: Callable[[Path], None]) -> None:
    damage(together)
    with pytest.raises(
        ModelError, match=r"/[12](/tags\.txt)?: (damaged|a member of the ensemble is missing)"
    ):
        verify_model_folder(together)


def test_what_reads_one_network_refuses_an_ensemble(together: Path) -> None:
    for read in (load_model_folder, api.load_single):
        with pytest.raises(UsageError, match=r"/ab: an ensemble, .*; name a member instead: .*/ab/1$"):
            read(together)


def test_a_newer_format_than_that_of_ensembles_is_refused(together: Path) -> None:
    for name in ("config.json", "manifest.json"):
        values = read_json(together / name)
        assert values["format"] == 2  # which earlier versions, that know no ensembles, refuse
        (together / name).write_text(json.dumps({**values, "format": 3}))
    with pytest.raises(ModelError, match="made by a newer seqtool"):
        api.load(together)


def test_one_model_is_no_ensemble_and_an_old_one_is_kept(together: Path, tmp_path: Path) -> None:
    before = (together / "manifest.json").read_bytes()
    with pytest.raises(UsageError, match="an ensemble needs at least two"):
        save_ensemble(together, [tmp_path / "a"], task="ner", name="x", usage="")
    assert (together / "manifest.json").read_bytes() == before
    assert find_model_folder(together) == together
