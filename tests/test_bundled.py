"""Bundled recipes and vocabulary files by name."""

from __future__ import annotations

import pytest

from seqtool import bundled
from seqtool.errors import UsageError


@pytest.fixture
def house(tmp_path, monkeypatch):
    for name in ("lm-tiny", "ner-tiny"):
        (tmp_path / "recipes" / name).mkdir(parents=True)
        (tmp_path / "recipes" / name / "recipe.toml").touch()
    (tmp_path / "recipes" / "no-recipe").mkdir()
    (tmp_path / "recipes" / "quickstart.sh").touch()
    (tmp_path / "vocab" / "tags").mkdir(parents=True)
    (tmp_path / "vocab" / "README.md").touch()
    (tmp_path / "vocab" / "tags" / "upos.txt").touch()
    monkeypatch.setattr(bundled, "bundled_root", lambda: tmp_path)
    return tmp_path


def test_names_are_the_folders_that_hold_a_recipe(house):
    assert bundled.recipe_names() == ["lm-tiny", "ner-tiny"]


def test_path_is_the_recipe_file(house):
    assert bundled.recipe_path("ner-tiny") == house / "recipes" / "ner-tiny" / "recipe.toml"


def test_unknown_recipe_names_the_nearest(house):
    with pytest.raises(UsageError) as caught:
        bundled.recipe_path("ner-tinny")
    assert str(caught.value) == "ner-tinny: no bundled recipe of that name; did you mean 'ner-tiny'?"


def test_unknown_recipe_with_nothing_near_lists_all(house):
    with pytest.raises(
        UsageError, match="zzz: no bundled recipe of that name; the bundled ones are: lm-tiny, ner-tiny"
    ):
        bundled.recipe_path("zzz")


@pytest.mark.parametrize("name", ["../vocab", "", ".", "/etc", "no-recipe"])
def test_a_name_is_never_a_path(house, name):
    with pytest.raises(UsageError):
        bundled.recipe_path(name)


def test_vocabulary_inputs_are_named_by_path_without_the_readme(house):
    assert bundled.vocabulary_names() == ["tags/upos.txt"]
    assert bundled.vocab_path("tags/upos.txt") == house / "vocab" / "tags" / "upos.txt"


def test_unknown_vocabulary_names_the_nearest(house):
    with pytest.raises(UsageError, match=r"did you mean 'tags/upos.txt'\?"):
        bundled.vocab_path("tags/upos")


def test_missing_folder_says_what_to_do(house):
    (house / "vocab" / "README.md").unlink()
    (house / "vocab").rename(house / "elsewhere")
    with pytest.raises(UsageError, match="bundled files are missing; install seqtool again"):
        bundled.vocab_path("tags/upos.txt")


def test_a_checkout_finds_its_own_recipes():
    assert "ner-tiny" in bundled.recipe_names()
    assert bundled.recipe_path("ner-tiny").is_file()
