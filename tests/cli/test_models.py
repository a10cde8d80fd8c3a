"""Which model a command takes, and which it refuses."""

from __future__ import annotations

import json
import os
import pickle  # noqa: TID251 - what is to be refused
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from seqtool.files import digest
from tests.cli.conftest import Tiny, tiny_settings
from tests.cli.running import Inside, environment, refused

QUICK = (*tiny_settings(), "--epochs", 1)


@pytest.fixture
def model(tiny: Tiny, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be broken."""
    return Path(shutil.copytree(tiny.model, tmp_path / "model"))


def sign(model: Path) -> None:
    """Make the manifest agree with the folder, as a forger would."""
    files = {
        path.name: {"size": path.stat().st_size, "sha256": digest(path)}
        for path in model.iterdir()
        if path.name != "manifest.json"
    }
    (model / "manifest.json").write_text(json.dumps({"format": 1, "files": files}))


def edit(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


# Which model is used is used


def test_the_model_is_the_option_then_the_variable_then_the_newest_run(
    inside: Inside, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for task in ("ner", "pos"):
        assert inside("train", task, "--train", tiny.train, *QUICK).code == 0
    runs = {task: tmp_path / "runs" / task / "custom" for task in ("ner", "pos")}
    for newest, older in (("pos", "ner"), ("ner", "pos")):
        os.utime(runs[older] / "model", (1, 1))
        os.utime(runs[newest] / "model", (2, 2))
        assert f"model: runs/{newest}/custom (the newest run)\n" in inside("tag", stdin=b"Ada\n").err
    line = refused(inside("evaluate", tiny.dev), 2, "evaluate", "no model was named; choose one with -m")
    assert "-m runs/ner/custom" in line
    monkeypatch.setenv("SEQTOOL_MODEL", str(tiny.run))
    for words in (("tag",), ("evaluate", tiny.dev)):
        outcome = inside(*words, stdin=b"Ada lives\n")
        assert outcome.code == 0
        assert f"model: {tiny.run} (from $SEQTOOL_MODEL)\n" in outcome.err
    outcome = inside("tag", "-m", "runs/ner/custom", stdin=b"Ada lives\n")
    assert outcome.code == 0
    assert "model:" not in outcome.err


def test_without_any_model_the_message_has_the_command_that_makes_one(
    inside: Inside, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
):
    for command in ("tag", "evaluate"):
        words = (command, tiny.dev)
        refused(
            inside(*words),
            2,
            command,
            "no model: name one with -m MODEL, or train one with `seqtool train ner`",
        )
    monkeypatch.setenv("SEQTOOL_MODEL", "gone")
    refused(inside("tag"), 2, "tag", "gone: no such model")


def test_a_run_folder_and_its_model_folder_mean_the_same(inside: Inside, tiny: Tiny):
    text = b"Ada lives in Turin\n"
    assert inside("tag", "-m", tiny.run, stdin=text).out == inside("tag", "-m", tiny.model, stdin=text).out


# Models that are refused


def test_a_pickle_is_refused_and_nothing_in_it_runs(inside: Inside, model: Path, tmp_path: Path):
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    (tmp_path / "model.pt").write_bytes(pickle.dumps(Bomb()))
    torch.save({"weight": Bomb()}, tmp_path / "torch.pt")  # noqa: TID251
    for name in ("model.pt", "torch.pt"):
        refused(inside("tag", "-m", name), 4, "tag", f"{name}: is a file; give a model folder")
        shutil.copy(tmp_path / name, model / "model.safetensors")
        sign(model)
        refused(inside("tag", "-m", model), 4, "tag", "model.safetensors: ")
    (tmp_path / "foreign").mkdir()
    shutil.copy(tmp_path / "model.pt", tmp_path / "foreign" / "pytorch_model.bin")
    refused(inside("tag", "-m", "foreign"), 4, "tag", "foreign: neither a model folder")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "words.txt", "tags.txt", "entities.jsonl"]
)
@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone", "link"])
def test_a_file_that_is_not_as_recorded_is_4(inside: Inside, model: Path, name: str, damage: str):
    path = model / name
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "truncated":
        path.write_bytes(content[:middle])
    elif damage == "flipped":
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        path.unlink()
    if damage == "link":
        path.symlink_to("/etc/hostname")
    message = {"gone": "missing", "link": "not a plain file"}.get(damage, "damaged")
    # Without config.json it is not a model folder at all.
    expected = "neither a model folder" if (name, damage) == ("config.json", "gone") else f"{name}: {message}"
    refused(inside("tag", "-m", model, stdin=b"Ada\n"), 4, "tag", expected)
    refused(inside("evaluate", "x", "-m", model), 4, "evaluate", expected)


def forged_config(change: Callable[[Any], None]) -> Callable[[Path], None]:
    return lambda model: edit(model / "config.json", change)


def forged_tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def forge(model: Path) -> None:
        tensors = {name: tensor.clone() for name, tensor in load_file(model / "model.safetensors").items()}
        change(tensors)
        save_file(tensors, model / "model.safetensors")

    return forge


def forged_text(name: str, content: str) -> Callable[[Path], None]:
    def forge(model: Path) -> None:
        (model / name).write_text(content)

    return forge


def huge_header(model: Path) -> None:
    (model / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{}")


def repeated_name(model: Path) -> None:
    entry = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = f"{{{entry},{entry}}}".encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))


FORGERIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "newer": (forged_config(lambda c: c.update(format=3)), "made by a newer seqtool"),
    "task": (forged_config(lambda c: c.update(task="lm")), "a model for lm, expected one for ner or pos"),
    "no settings": (forged_config(lambda c: c["config"].pop("model")), "damaged or foreign"),
    "cell": (
        forged_config(lambda c: c["config"]["model"].update(cell="os.system")),
        "cell: expected 'rnn', ",
    ),
    "scheme": (forged_config(lambda c: c["config"].update(scheme="iob7")), "(given 'iob7')"),
    "wide": (forged_config(lambda c: c["config"]["model"].update(hidden=10**4)), "has shape"),
    "very wide": (forged_config(lambda c: c["config"]["model"].update(hidden=10**15)), "damaged or foreign"),
    "deep": (
        forged_config(lambda c: c["config"]["model"].update(layers=10**9)),
        "model.layers: expected at most 1000",
    ),
    "far": (forged_config(lambda c: c["config"]["model"].update(layers=2, dilation=10**9)), "10000"),
    "embedding": (forged_config(lambda c: c["config"]["model"].update(word_embedding=9)), "has shape"),
    "twice": (forged_text("config.json", '{"format": 1, "format": 1}'), "duplicate key 'format'"),
    "nan": (forged_text("config.json", '{"format": 1, "task": NaN}'), "NaN is not JSON"),
    "nested": (forged_text("config.json", "[" * 100_000), "config.json: damaged or foreign"),
    "list": (forged_text("config.json", "[1]"), "config.json: not a file of a seqtool model"),
    "words": (forged_text("words.txt", '"a"\n"a"\n'), "not a vocabulary file"),
    "tags": (forged_text("tags.txt", '"O"\n"B-X"\n'), ""),
    "odd tags": (forged_text("tags.txt", '"nonsense"\n'), ""),
    "entities": (forged_text("entities.jsonl", "5\n"), "entities.jsonl: damaged"),
    "lacks": (forged_tensors(lambda t: t.pop(sorted(t)[0])), "is missing"),
    "more": (forged_tensors(lambda t: t.update(extra=torch.zeros(1))), "unknown tensor 'extra'"),
    "header": (huge_header, "truncated, or not a safetensors file"),
    "repeated": (repeated_name, "duplicate key 'a'"),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_model_with_right_digests_is_4(inside: Inside, model: Path, kind: str):
    forge, message = FORGERIES[kind]
    forge(model)
    sign(model)
    refused(inside("tag", "-m", model, stdin=b"Ada\n"), 4, "tag", message)


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", ".hidden", "a/b", "a\\b", ""])
def test_names_that_lead_out_of_the_folder_are_4(inside: Inside, model: Path, name: str):
    edit(model / "manifest.json", lambda m: m["files"].update({name: {"size": 1, "sha256": "0"}}))
    refused(inside("tag", "-m", model), 4, "tag", "is not a plain file name")


def test_a_newer_manifest_says_so(inside: Inside, model: Path):
    edit(model / "manifest.json", lambda m: m.update(format=3, seqtool="9.9"))
    refused(inside("tag", "-m", model), 4, "tag", "made by a newer seqtool (9.9, format 3; known here: 2)")


def test_a_forged_size_takes_no_memory(model: Path, tmp_path: Path):
    """Run the command itself, with a memory limit far below the sizes that the files announce."""
    edit(model / "config.json", lambda c: c["config"]["model"].update(hidden=30_000))
    sign(model)
    script = (
        "import resource, sys; import seqtool.api;"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096;"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), -1));"
        "from seqtool.cli.app import main; main(sys.argv[1:])"
    )
    words = [sys.executable, "-c", script, "tag", "-m", str(model)]
    done = subprocess.run(
        words, input=b"Ada\n", capture_output=True, cwd=tmp_path, env=environment(), check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (4, b"")
    assert b"has shape" in done.stderr
