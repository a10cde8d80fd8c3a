from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool.errors import ModelError, StorageError, UsageError
from seqtool.files import digest
from seqtool.models.folder import find_model_folder, load_model_folder, save_model_folder, verify_model_folder
from tests.training.faults import WRITES, Faults, disk_full, inject, run_and_die_at


def save(path: Path, value: float = 1.0, task: str = "ner") -> Path:
    save_model_folder(
        path,
        task=task,
        config={"hidden": 3, "value": value},
        tensors={"weight": torch.full((2, 3), value)},
        texts={"words.txt": "the\nnaïve\n", "tags.txt": "O\n"},
        card="# A model\n",
    )
    return path


def value_of(path: Path) -> float:
    model = load_model_folder(path, task="ner")
    assert torch.equal(model.tensors["weight"], torch.full((2, 3), model.config["value"]))
    assert model.texts == {"words.txt": "the\nnaïve\n", "tags.txt": "O\n"}
    return float(model.config["value"])


def edit_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def renew_manifest(folder: Path) -> None:
    """Adapt the manifest to files that were changed, as an attacker would."""
    files = {
        path.name: {"size": path.stat().st_size, "sha256": digest(path)}
        for path in folder.iterdir()
        if path.name != "manifest.json"
    }
    edit_json(folder / "manifest.json", lambda manifest: manifest.update(files=files))


def test_what_was_saved_is_loaded(tmp_path: Path):
    save(tmp_path / "run" / "model", 2.0)
    for path in (tmp_path / "run" / "model", tmp_path / "run"):
        assert value_of(path) == 2.0
        assert load_model_folder(path).task == "ner"


def test_the_folder_holds_exactly_its_files_and_can_be_moved(tmp_path: Path):
    save(tmp_path / "model")
    names = ["README.md", "config.json", "manifest.json", "model.safetensors", "tags.txt", "words.txt"]
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == names
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    shutil.copytree(tmp_path / "model", tmp_path / "elsewhere" / "under another name")
    shutil.rmtree(tmp_path / "model")
    assert value_of(tmp_path / "elsewhere" / "under another name") == 1.0


def test_the_card_may_be_edited_and_files_added(tmp_path: Path):
    folder = save(tmp_path / "model")
    (folder / "README.md").write_text("my own words")
    (folder / "notes.txt").write_text("mine")
    assert value_of(folder) == 1.0
    with pytest.raises(ModelError, match=r"README.md: damaged"):
        verify_model_folder(folder)


def test_verifying_names_every_file(tmp_path: Path):
    assert verify_model_folder(save(tmp_path / "model")) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tags.txt",
        "words.txt",
    ]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "words.txt", "manifest.json"])
def test_no_flipped_bit_or_truncation_or_loss_goes_unnoticed(tmp_path: Path, name: str):
    path = save(tmp_path / "model") / name
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        if name == "manifest.json":
            # A bit of the card's own line changes nothing that is used.
            try:
                assert value_of(tmp_path / "model") == 1.0
            except ModelError:
                continue
        else:
            with pytest.raises(ModelError, match=name):
                load_model_folder(tmp_path / "model")
    path.write_bytes(content[:-3])
    with pytest.raises(ModelError, match=name):
        load_model_folder(tmp_path / "model")
    path.unlink()
    with pytest.raises(ModelError, match=name):
        load_model_folder(tmp_path / "model")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", ".hidden", "a\\b", "a/b", ""])
def test_a_manifest_cannot_point_outside_its_folder(tmp_path: Path, name: str):
    folder = save(tmp_path / "model")
    entry = {"size": 3, "sha256": "0"}
    edit_json(folder / "manifest.json", lambda manifest: manifest["files"].update({name: entry}))
    with pytest.raises(ModelError, match="not a plain file name"):
        load_model_folder(folder)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_only_plain_files_are_read(tmp_path: Path, kind: str):
    folder = save(tmp_path / "model")
    path = folder / "words.txt"
    path.rename(tmp_path / "words.txt")
    if kind == "link":
        path.symlink_to(tmp_path / "words.txt")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(ModelError, match=r"words.txt: not a plain file"):
        load_model_folder(folder)


@pytest.mark.parametrize("name", ["manifest.json", "config.json"])
def test_a_newer_format_says_so(tmp_path: Path, name: str):
    folder = save(tmp_path / "model")
    edit_json(folder / name, lambda value: value.update(format=3, seqtool="9.0"))
    if name == "config.json":
        renew_manifest(folder)
    with pytest.raises(ModelError, match=r"made by a newer seqtool \(9.0, format 3; known here: 2\)"):
        load_model_folder(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", '{"format": 1, "format": 1}', "duplicate key 'format'"),
        ("config.json", '{"format": 1, "task": NaN}', "NaN is not JSON"),
        ("config.json", "[" * 100_000, "damaged or foreign"),
        ("config.json", "[]", "not a file of a seqtool model"),
        ("config.json", '{"format": 1, "task": "ner"}', "task or config is missing"),
        ("words.txt", b"\xff\xfe", "can't decode"),
        ("model.safetensors", b"\x80\x04K\x01.", "truncated, or not a safetensors file"),
        ("model.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "its header cannot be read"),
    ],
)
def test_foreign_content_with_a_fitting_manifest_is_refused(
    tmp_path: Path, name: str, content: str | bytes, message: str
):
    folder = save(tmp_path / "model")
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    renew_manifest(folder)
    with pytest.raises(ModelError, match=message):
        load_model_folder(folder)


@pytest.mark.parametrize("files", [[], {"config.json": 3}, {"config.json": {"size": "1"}}, None, {}])
def test_a_senseless_manifest_is_refused(tmp_path: Path, files: object):
    folder = save(tmp_path / "model")
    edit_json(folder / "manifest.json", lambda manifest: manifest.update(files=files))
    with pytest.raises(ModelError, match=r"manifest.json: damaged"):
        load_model_folder(folder)


def test_another_task_is_named_with_the_one_expected(tmp_path: Path):
    folder = save(tmp_path / "model", task="lm")
    with pytest.raises(ModelError, match=r"model: a model for lm, expected one for ner or pos"):
        load_model_folder(folder, task=("ner", "pos"))
    assert load_model_folder(folder, task=("ner", "lm")).task == "lm"


def test_a_missing_folder_and_an_unfinished_run_are_usage_errors(tmp_path: Path):
    with pytest.raises(UsageError, match=r"nowhere: no such model; give a run folder"):
        find_model_folder(tmp_path / "nowhere")
    (tmp_path / "run" / "state").mkdir(parents=True)
    for task in ("TASK", "pos"):
        command = f"finish it with: seqtool train {task} --resume -o {tmp_path}/run$"
        with pytest.raises(UsageError, match=f"run: this run has no model yet; {command}"):
            find_model_folder(tmp_path / "run")
        (tmp_path / "run" / "recipe.toml").write_text('task = "pos"\n')


def test_files_and_other_folders_are_not_models(tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ModelError, match=r"model.bin: is a file; give a model folder"):
        load_model_folder(tmp_path / "model.bin")
    (tmp_path / "photos").mkdir()
    with pytest.raises(ModelError, match=r"photos: neither a model folder"):
        load_model_folder(tmp_path / "photos")


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_disk_full_at_any_call_keeps_the_old_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lasting: bool
):
    save(tmp_path / "template" / "model", 1.0)
    values: list[float] = []
    for call in range(1, 200):
        run = tmp_path / f"run-{call}"
        shutil.copytree(tmp_path / "template", run)
        faults = Faults(call, disk_full, lasting=lasting)
        with monkeypatch.context() as patch:
            inject(patch, faults, WRITES)
            failed = _fails(lambda run=run: save(run / "model", 2.0))
        assert failed == faults.reached
        # the very last call makes the new name durable: the new model is in place already then
        assert value_of(run) in ((1.0, 2.0) if failed else (2.0,))
        values.append(value_of(run))
        save(run / "model", 3.0)
        assert value_of(run) == 3.0
        assert [path.name for path in run.iterdir()] == ["model"]
        if not faults.reached:
            break
    assert call > 20
    assert set(values) == {1.0, 2.0}
    assert values.index(2.0) > 20  # the new folder is written completely before the old one is touched


def _fails(action: Callable[[], Any]) -> bool:
    try:
        action()
    except StorageError:
        return True
    return False


@pytest.mark.parametrize("first", [False, True], ids=["replacing", "the first"])
def test_death_at_any_call_leaves_the_old_or_the_new_model(tmp_path: Path, first: bool):
    save(tmp_path / "template" / "model", 1.0)
    values = set()
    for call in range(1, 300):
        run = tmp_path / f"run-{call}"
        run.mkdir()
        if not first:
            shutil.copytree(tmp_path / "template" / "model", run / "model")
        died = run_and_die_at(call, lambda run=run: save(run / "model", 2.0))
        try:
            values.add(value_of(run))
        except (ModelError, UsageError):
            assert first, f"neither model can be loaded after call {call}"
        save(run / "model", 3.0)
        assert value_of(run) == 3.0
        assert [path.name for path in run.iterdir()] == ["model"]
        if not died:
            break
    assert call > 30
    assert values == ({2.0} if first else {1.0, 2.0})


def test_death_after_an_earlier_death_between_the_moves_loses_nothing(tmp_path: Path):
    save(tmp_path / "template", 1.0)
    for call in range(1, 300):
        run = tmp_path / f"run-{call}"
        shutil.copytree(tmp_path / "template", run / ".model.old")
        died = run_and_die_at(call, lambda run=run: save(run / "model", 2.0))
        assert value_of(run) == 2.0 if not died else value_of(run) in (1.0, 2.0)
        if not died:
            break
    assert call > 30
