"""The wheel that users install: complete, and able to find its own recipes in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD_INPUTS = ("pyproject.toml", "README.md", "LICENSE", "seqtool", "recipes", "vocab")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, built from a copy so that no old build folder can lend it files."""
    source = tmp_path_factory.mktemp("source")
    for name in BUILD_INPUTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    (source / "recipes" / "ner-tiny" / "__pycache__").mkdir()
    (source / "recipes" / "ner-tiny" / "__pycache__" / "generate.pyc").touch()
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    command += ["--quiet", "--disable-pip-version-check", "--wheel-dir", "wheels", "."]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (source / "wheels").glob("seqtool-*.whl")
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def folder_files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def run_python(installed: Path, code: str, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_the_wheel_has_every_module_and_the_typing_marker(installed):
    expected = {path for path in folder_files(ROOT / "seqtool") if path.endswith(".py")} | {"py.typed"}
    found = {path for path in folder_files(installed / "seqtool") if not path.startswith("_bundled/")}
    assert found == expected


def test_the_wheel_has_every_file_of_recipes_and_vocabulary_unchanged(installed):
    expected = {name: data for name, data in folder_files(ROOT / "recipes").items() if "/" in name}
    assert "ner-tiny/train.conll" in expected
    assert folder_files(installed / "seqtool" / "_bundled" / "recipes") == expected
    assert folder_files(installed / "seqtool" / "_bundled" / "vocab") == folder_files(ROOT / "vocab")


def test_the_wheel_puts_nothing_beside_the_package(installed):
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {"seqtool"}


def test_an_installed_wheel_finds_its_own_recipes(installed, tmp_path):
    code = "import seqtool.bundled as b; print(b.recipe_path('ner-tiny')); print(','.join(b.recipe_names()))"
    path, names = run_python(installed, code, tmp_path).split()
    assert path == str(installed / "seqtool" / "_bundled" / "recipes" / "ner-tiny" / "recipe.toml")
    assert {"ner-tiny", "ner-wnut17", "ner-ncbi", "pos-ewt"} <= set(names.split(","))


def test_the_list_of_packages_is_what_is_on_disk():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "seqtool").rglob("*.py")}
    packages = {".".join(folder.parts) for folder in folders}
    assert set(settings["packages"]) == packages | {"seqtool._bundled"}
