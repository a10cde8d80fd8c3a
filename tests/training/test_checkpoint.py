from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from seqtool.errors import ModelError, StorageError
from seqtool.training.checkpoint import Checkpoints
from tests.training.faults import WRITES, Faults, disk_full, inject, run_and_die_at


def state_of(step: int, edition: int = 1) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    tensors = {"a": torch.full((3,), float(step)), "b": torch.tensor(edition)}
    return tensors, {"edition": edition, "x": 0.1}


def save(checkpoints: Checkpoints, step: int, best: int | None = None, edition: int = 1) -> None:
    checkpoints.save(step, *state_of(step, edition), best=best)


def loaded_step(folder: Path) -> int:
    newest = Checkpoints(folder).load_newest()
    assert newest is not None
    tensors, values = state_of(newest.step, newest.values["edition"])
    assert newest.values == values
    assert all(torch.equal(newest.tensors[name], tensors[name]) for name in tensors)
    return newest.step


def flip_byte(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_what_was_saved_is_loaded(tmp_path: Path):
    save(Checkpoints(tmp_path / "state"), 3)
    assert loaded_step(tmp_path / "state") == 3


def test_no_checkpoint_is_none(tmp_path: Path):
    assert Checkpoints(tmp_path / "state").load_newest() is None


def test_last_two_and_best_are_kept(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3, 4, 5):
        save(checkpoints, step, best=2 if step >= 2 else None)
    assert checkpoints.steps() == [2, 4, 5]
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        f"step-{step:06d}.safetensors" for step in (2, 4, 5)
    ]


def test_a_step_saved_again_replaces_itself(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    for edition in range(3):
        save(checkpoints, 1, edition=edition)
        assert loaded_step(tmp_path) == 1
        assert checkpoints.load(1).values["edition"] == edition
        assert len(list(tmp_path.iterdir())) == 2


def test_files_left_by_a_killed_save_are_removed_at_the_next(tmp_path: Path):
    (tmp_path / ".step-000001.json.abc.tmp").write_text("{")
    (tmp_path / "step-000009.safetensors").write_text("no json was written")
    (tmp_path / "mine.txt").write_text("not a checkpoint")
    save(Checkpoints(tmp_path), 1)
    assert {path.name for path in tmp_path.iterdir()} == {
        "mine.txt",
        "step-000001.json",
        "step-000001.safetensors",
    }


@pytest.mark.parametrize("position", [0, 3, 12, 60, -1])
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_flipped_bit_anywhere_falls_back_to_the_checkpoint_before(
    tmp_path: Path, suffix: str, position: int
):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    save(checkpoints, 2)
    path = tmp_path / f"step-000002.{suffix}"
    flip_byte(path, position if suffix == "safetensors" or position != -1 else -3)
    said: list[str] = []
    newest = Checkpoints(tmp_path, warn=said.append).load_newest()
    assert newest is not None
    assert newest.step == 1
    assert len(said) == 1
    assert "step 2 cannot be used" in said[0]


def test_every_bit_of_the_values_is_guarded(tmp_path: Path):
    save(Checkpoints(tmp_path), 1)
    entry = json.loads((tmp_path / "step-000001.json").read_text())
    entry["values"]["x"] = 0.2
    (tmp_path / "step-000001.json").write_text(json.dumps(entry))
    with pytest.raises(ModelError, match=r"digest of its values is not the recorded one"):
        Checkpoints(tmp_path).load(1)


@pytest.mark.parametrize("damage", ["truncate", "remove", "pickle"])
def test_damaged_tensors_fall_back(tmp_path: Path, damage: str):
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    save(checkpoints, 2)
    path = tmp_path / "step-000002.safetensors"
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-4] if damage == "truncate" else b"\x80\x04K\x01.")
    assert loaded_step(tmp_path) == 1


def test_checkpoints_after_damaged_ones_stay(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        save(checkpoints, step)
    for step in (2, 3):  # the best one was kept as well
        (tmp_path / f"step-{step:06d}.json").write_text("{}")
    save(checkpoints, 1)
    save(checkpoints, 2)
    assert checkpoints.steps() == [1, 2]
    assert loaded_step(tmp_path) == 2


def test_all_damaged_is_an_error(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        save(checkpoints, step)
        (tmp_path / f"step-{step:06d}.json").write_text("{}")
    with pytest.raises(ModelError, match=r"every checkpoint is damaged"):
        checkpoints.load_newest()


def test_a_newer_format_is_named(tmp_path: Path):
    save(Checkpoints(tmp_path), 1)
    entry = json.loads((tmp_path / "step-000001.json").read_text())
    (tmp_path / "step-000001.json").write_text(json.dumps(entry | {"format": 99}))
    with pytest.raises(ModelError, match=r"made by a newer seqtool \(format 99"):
        Checkpoints(tmp_path).load(1)


@pytest.mark.parametrize("name", ["../step-000001.safetensors", "/etc/passwd"])
def test_a_checkpoint_cannot_point_outside_its_folder(tmp_path: Path, name: str):
    save(Checkpoints(tmp_path), 1)
    entry = json.loads((tmp_path / "step-000001.json").read_text())
    entry["tensors"]["file"] = name
    (tmp_path / "step-000001.json").write_text(json.dumps(entry))
    with pytest.raises(ModelError, match=r"not a plain file name"):
        Checkpoints(tmp_path).load(1)


@pytest.mark.parametrize("again", [False, True], ids=["next step", "same step"])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_disk_full_at_any_call_keeps_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lasting: bool, again: bool
):
    save(Checkpoints(tmp_path / "template"), 1)
    for call in range(1, 100):
        folder = tmp_path / f"run-{call}"
        shutil.copytree(tmp_path / "template", folder)
        faults = Faults(call, disk_full, lasting=lasting)
        with monkeypatch.context() as patch:
            inject(patch, faults, WRITES)
            failed = False
            try:
                save(Checkpoints(folder), 1 if again else 2, edition=2)
            except StorageError:
                failed = True
        assert failed == faults.reached
        assert loaded_step(folder) in (1, 2)
        assert not list(folder.glob("*.tmp")) + list(folder.glob(".*.tmp"))
        tensors = len(list(folder.glob("*.safetensors")))
        assert tensors == len(list(folder.glob("*.json"))) or again
        if not faults.reached:
            break
    assert call > 5  # every write, fsync and rename of both files had its turn


@pytest.mark.parametrize("steps", [(2,), (1,), (2, 3, 4)], ids=["next", "same", "with pruning"])
def test_death_at_any_call_leaves_the_old_or_the_new_checkpoint(tmp_path: Path, steps: tuple[int, ...]):
    save(Checkpoints(tmp_path / "template"), 1)

    def action() -> None:
        for step in steps:
            save(Checkpoints(folder), step, edition=2)

    for call in range(1, 200):
        folder = tmp_path / f"run-{call}"
        shutil.copytree(tmp_path / "template", folder)
        died = run_and_die_at(call, action)
        assert loaded_step(folder) in (1, *steps)
        if not died:
            assert loaded_step(folder) == steps[-1]
            break
        save(Checkpoints(folder), 9)
        assert loaded_step(folder) == 9
        assert not list(folder.glob(".*.tmp"))
    assert call > 8
