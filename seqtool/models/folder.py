"""A model folder: self-contained, relocatable, and checked file by file before it is used.

    config.json         format, version of seqtool, task, and the description of the model
    model.safetensors   the weights
    *.txt, ...          vocabulary files, UTF-8
    *.vocabulary        vocabularies as `vocab build` writes them
    README.md           the model card, which may be edited freely
    manifest.json       size and SHA-256 of every file above, written last

A folder is replaced in three steps: the new one is written beside it as `.model.new`, the old one is
renamed to `.model.old`, and the new one is renamed. A crash between the two renames leaves both intact
under their hidden names, and reading finds the new one there.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from seqtool.errors import ModelError, UsageError
from seqtool.files import digest, read_json, safe_name, storage_errors, sync_folder, write_durably, write_json
from seqtool.models.tensors import read_tensors, write_tensors
from seqtool.settings import read_toml
from seqtool.version import __version__

FORMAT = 1
OF_ENSEMBLES = 2  # format of a folder that holds several model folders; see `models.ensemble`
MEMBERS = "members"  # its key in the description: SHA-256 of each member's manifest by the member's name
CODEC = ".vocabulary"  # suffix of the names of codec files
SIZE_LIMIT = 256 * 1024 * 1024  # bytes; a larger vocabulary file was not written by seqtool
CONFIG, WEIGHTS, CARD, MANIFEST = "config.json", "model.safetensors", "README.md", "manifest.json"


class ModelFolder(NamedTuple):
    """The content of a model folder."""

    task: str
    config: dict[str, Any]  # description of the model, JSON values
    tensors: dict[str, Tensor]  # weights by name
    texts: dict[str, str]  # content of text files by file name
    codecs: dict[str, bytes]  # content of `*.vocabulary` files by file name


def save_model_folder(
    path: Path,
    *,
    task: str,
    config: dict[str, Any],
    tensors: Mapping[str, Tensor],
    texts: Mapping[str, str],
    card: str,
    codecs: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Write a model folder, or replace the one at `path`; a crash leaves the old one or the new one.

    Args:
        path: The model folder; parent folders are created as needed.
        task: Name of the task, which is checked when the model is loaded.
        config: Description of the model, JSON values.
        tensors: Weights by name, as `tensors.model_tensors` returns them.
        texts: Content of the vocabulary files by plain file name.
        card: Markdown of README.md.
        codecs: Content of vocabularies as `vocab build` writes them, by file name (`*.vocabulary`).

    Raises:
        StorageError: the disk is full, ...; a folder that was at `path` is unchanged.
    """
    with replacing(path) as new:
        files = {name: text.encode("utf-8") for name, text in texts.items()} | dict(codecs)
        _write_files(new, task, config, tensors, files, card)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `path` in one rename if nothing fails.

    Args:
        path: The folder to make or to replace; parent folders are created as needed.

    Raises:
        StorageError: the disk is full, ...; a folder that was at `path` is unchanged.
    """
    new, old = _beside(path, "new"), _beside(path, "old")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _recover(path)
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            new.mkdir()
            yield new
            if path.exists():
                path.rename(old)
            new.rename(path)
        except BaseException:
            _undo(path)
            raise
        sync_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)


def load_model_folder(path: Path, *, task: str | tuple[str, ...] | None = None) -> ModelFolder:
    """Read a model folder. Nothing in it is executed, and each file is checked before it is used.

    Args:
        path: The model folder, or a run folder with a model.
        task: Name or names of the tasks that are accepted; None = any task.

    Returns:
        The content of the folder.

    Raises:
        UsageError: there is no such folder, it is a run that has no model yet, or an ensemble.
        ModelError: foreign, damaged, made by a newer seqtool, or of another task.
        StorageError: it cannot be read.
    """
    folder = find_model_folder(path)
    sizes = _read_manifest(folder)
    config = read_config(folder, task)
    if config["format"] == OF_ENSEMBLES:
        raise UsageError(
            f"{path}: an ensemble, and a single model is expected; name a member instead: {folder}/1"
        )
    if WEIGHTS not in sizes:
        raise ModelError(f"{folder / MANIFEST}: damaged: {WEIGHTS} is not listed")
    others = {name: _read_limited(_checked(folder, name, sizes)) for name in sizes if name not in _FIXED}
    tensors = read_tensors(_checked(folder, WEIGHTS, sizes))
    codecs = {name: raw for name, raw in others.items() if name.endswith(CODEC)}
    texts = {name: _text(raw, folder / name) for name, raw in others.items() if name not in codecs}
    return ModelFolder(config["task"], config["config"], tensors, texts, codecs)


def model_task(path: Path) -> str:
    """The task of a model, from its config.json alone; errors as for `load_model_folder`."""
    return str(read_config(find_model_folder(path))["task"])


def read_config(folder: Path, task: str | tuple[str, ...] | None = None) -> dict[str, Any]:
    """The content of config.json, which the manifest vouches for.

    Args:
        folder: The model folder.
        task: Name or names of the tasks that are accepted; None = any task.

    Raises:
        ModelError: foreign, damaged, made by a newer seqtool, or of another task.
    """
    sizes = _read_manifest(folder)
    if CONFIG not in sizes:
        raise ModelError(f"{folder / MANIFEST}: damaged: {CONFIG} is not listed")
    return _read_config(_checked(folder, CONFIG, sizes), task)


def verify_model_folder(path: Path) -> list[str]:
    """Check every file of a model folder against its manifest.

    Args:
        path: The model folder, or a run folder with a model.

    Returns:
        The names of the files, sorted.

    Raises:
        ModelError: a file, the model card included, is missing or changed.
        UsageError, StorageError: as for `load_model_folder`.
    """
    folder = find_model_folder(path)
    entries = _read_manifest(folder)
    for name in entries:
        _checked(folder, name, entries)
    inner = [f"{each.name}/{name}" for each in members_of(folder) for name in verify_model_folder(each)]
    return sorted(entries) + inner


def members_of(path: Path) -> list[Path]:
    """The model folders that an ensemble consists of, in order; none if it is a single model.

    Args:
        path: The model folder, or a run folder with a model.

    Raises:
        ModelError: the ensemble is damaged: a member is missing or another one than was put there.
        UsageError, StorageError: as for `load_model_folder`.
    """
    folder = find_model_folder(path)
    config = read_config(folder)
    if config["format"] != OF_ENSEMBLES:
        return []
    digests = config["config"].get(MEMBERS)
    if not isinstance(digests, dict) or not digests:
        raise ModelError(f"{folder / CONFIG}: damaged: the table of members is missing")
    members = [folder / safe_name(name) for name in digests]
    for member, expected in zip(members, digests.values(), strict=True):
        if not (member / MANIFEST).is_file():
            raise ModelError(f"{member}: a member of the ensemble is missing; copy the whole folder again")
        if digest(member / MANIFEST) != expected:
            raise ModelError(f"{member}: damaged: not the member that belongs here; copy the folder again")
    return members


def find_model_folder(path: Path) -> Path:
    """The model folder that `path` stands for.

    Args:
        path: The model folder itself, or the run folder that it is in.

    Returns:
        The model folder; after a crash while it was replaced, the intact one beside it.

    Raises:
        UsageError: there is no such folder, or it is a run that has no model yet.
        ModelError: it is a file, or a folder that is neither a model nor a run.
    """
    if path.is_file():
        raise ModelError(
            f"{path}: is a file; give a model folder (seqtool reads no pickles and no foreign models)"
        )
    for candidate in (path / "model", path):
        for folder in (candidate, _beside(candidate, "new"), _beside(candidate, "old")):
            if (folder / MANIFEST).is_file() and (folder / CONFIG).is_file():
                return folder
    if not path.exists():
        raise UsageError(
            f"{path}: no such model; give a run folder or its model/ folder (made by seqtool train)"
        )
    if (path / "state").is_dir() or (path / "recipe.toml").is_file():
        raise UsageError(
            f"{path}: this run has no model yet; finish it with: seqtool train {_task_of_run(path)} --resume "
            f"-o {shlex.quote(str(path))}"
        )
    raise ModelError(f"{path}: neither a model folder ({MANIFEST} or {CONFIG} is missing) nor a run folder")


def _task_of_run(path: Path) -> str:
    """The task that the recipe of a run names, for a command in a message."""
    recipe = path / "recipe.toml"
    return str(read_toml(recipe).get("task", "TASK")) if recipe.is_file() else "TASK"


def weights_digest(path: Path) -> str:
    """SHA-256 of a model's weights according to its manifest; errors as for `load_model_folder`."""
    return str(_read_manifest(find_model_folder(path))[WEIGHTS]["sha256"])


_FIXED = (CONFIG, WEIGHTS, CARD)


def _write_files(
    folder: Path,
    task: str,
    config: dict[str, Any],
    tensors: Mapping[str, Tensor],
    others: Mapping[str, bytes],
    card: str,
) -> None:
    write_tensors(folder / WEIGHTS, tensors)
    for name, content in others.items():
        assert name not in (*_FIXED, MANIFEST), f"{name} is the name of another file of the model folder"
        write_durably(folder / safe_name(name), content)
    write_description(folder, task, config, card)


def write_description(
    folder: Path, task: str, config: dict[str, Any], card: str, *, version: int = FORMAT
) -> None:
    """Complete a model folder: config.json, the card, and last the manifest of all files that are there.

    Args:
        folder: The folder.
        task: Name of the task.
        config: Description of the model, JSON values.
        card: Markdown of README.md.
        version: Format of the folder.
    """
    write_json(folder / CONFIG, {"format": version, "seqtool": __version__, "task": task, "config": config})
    write_durably(folder / CARD, card.encode("utf-8"))
    files = {
        file.name: {"size": file.stat().st_size, "sha256": digest(file)}
        for file in sorted(folder.iterdir())
        if file.is_file()
    }
    write_json(folder / MANIFEST, {"format": version, "files": files})


def _beside(path: Path, role: str) -> Path:
    return path.parent / f".{path.name}.{role}"


def _recover(path: Path) -> None:
    """Finish or undo a replacement of `path` that a crash interrupted between the two renames."""
    for role in ("new", "old"):
        if not path.exists() and (_beside(path, role) / MANIFEST).is_file():
            _beside(path, role).rename(path)


def _undo(path: Path) -> None:
    with contextlib.suppress(OSError):
        if not path.exists() and _beside(path, "old").exists():
            _beside(path, "old").rename(path)
    if path.exists():
        shutil.rmtree(_beside(path, "new"), ignore_errors=True)


def _read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    where = folder / MANIFEST
    manifest = read_json(where)
    _check_format(manifest, where)
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise ModelError(f"{where}: damaged: no table of files")
    for name, entry in files.items():
        safe_name(name)
        if not isinstance(entry, dict) or not isinstance(entry.get("size"), int) or "sha256" not in entry:
            raise ModelError(f"{where}: damaged: size or digest of {name} is missing")
    return files


def _check_format(value: Any, where: Path) -> None:
    if not isinstance(value, dict) or not isinstance(value.get("format"), int):
        raise ModelError(f"{where}: not a file of a seqtool model")
    if value["format"] > OF_ENSEMBLES:
        maker = value.get("seqtool", "unknown version")
        raise ModelError(
            f"{where}: made by a newer seqtool ({maker}, format {value['format']}; known here: "
            f"{OF_ENSEMBLES}); update seqtool"
        )


def _checked(folder: Path, name: str, entries: Mapping[str, dict[str, Any]]) -> Path:
    """The path of a file that the manifest lists, after checking its type, size and digest."""
    path = folder / safe_name(name)
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise ModelError(
            f"{path}: missing, though {MANIFEST} lists it; copy the whole folder again"
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path}: not a plain file")
    if status.st_size != entries[name]["size"]:
        expected = entries[name]["size"]
        raise ModelError(
            f"{path}: damaged: {status.st_size} bytes, expected {expected}; copy the folder again"
        )
    if digest(path) != entries[name]["sha256"]:
        raise ModelError(f"{path}: damaged: its digest is not the one in {MANIFEST}; copy the folder again")
    return path


def _read_config(path: Path, task: str | tuple[str, ...] | None) -> dict[str, Any]:
    config: dict[str, Any] = read_json(path)
    _check_format(config, path)
    if not isinstance(config.get("task"), str) or not isinstance(config.get("config"), dict):
        raise ModelError(f"{path}: damaged: task or config is missing")
    wanted = (task,) if isinstance(task, str) else task
    if wanted is not None and config["task"] not in wanted:
        raise ModelError(
            f"{path.parent}: a model for {config['task']}, expected one for {' or '.join(wanted)}"
        )
    return config


def _read_limited(path: Path) -> bytes:
    with storage_errors(path):
        if path.stat().st_size > SIZE_LIMIT:
            raise ModelError(f"{path}: larger than {SIZE_LIMIT} bytes; not a file of a seqtool model")
        return path.read_bytes()


def _text(raw: bytes, path: Path) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: damaged: {error}") from error
