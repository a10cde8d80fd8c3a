"""An ensemble as one folder, self-contained like that of a single model: it holds the folders of its members.

config.json     format, version of seqtool, task, and the digest of each member's manifest
1/  2/  ...     the members
README.md       the model card
manifest.json   size and SHA-256 of config.json and of the card, written last
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from seqtool.errors import UsageError
from seqtool.files import digest
from seqtool.models.folder import (
    MANIFEST,
    MEMBERS,
    OF_ENSEMBLES,
    find_model_folder,
    members_of,
    replacing,
    write_description,
)
from seqtool.models.trained import TrainedModel

ModelType = TypeVar("ModelType", bound=TrainedModel)


def single_models(paths: Sequence[Path]) -> list[Path]:
    """The folders of single models behind some models: an ensemble stands for its members.

    Args:
        paths: Run folders or model folders.

    Raises:
        UsageError, ModelError, StorageError: as for `members_of`.
    """
    return [each for path in paths for each in members_of(path) or [path]]


def load_members(
    reader: type[ModelType], paths: Sequence[Path], *, device: str = "auto", precision: str = "auto"
) -> list[ModelType]:
    """The single models behind some models, loaded.

    Args:
        reader: Class of the models.
        paths: Run folders or model folders, at least one.
        device: As for `TrainedModel.load`.
        precision: As for `TrainedModel.load`.

    Raises:
        UsageError, ModelError, StorageError: as for `TrainedModel.load`.
    """
    return [reader.load(path, device=device, precision=precision) for path in single_models(paths)]


def save_ensemble(path: Path, members: Sequence[Path], *, task: str, name: str, usage: str) -> None:
    """Write the folder of an ensemble, or replace the one at `path`; see `folder.save_model_folder`.

    Args:
        path: The folder.
        members: Run folders or model folders of single models, at least two; they are copied.
        task: The task of all of them.
        name: Name of the ensemble.
        usage: A command that uses it, with {} in place of its folder.

    Raises:
        UsageError: fewer than two members.
        StorageError: the folder cannot be written; an existing one is unchanged.
    """
    if len(members) < 2:
        raise UsageError(f"{len(members)} model; an ensemble needs at least two")
    sources = [find_model_folder(member) for member in members]
    with replacing(path) as new:
        digests = {}
        for number, source in enumerate(sources, 1):
            shutil.copytree(source, new / str(number))
            digests[str(number)] = digest(new / str(number) / MANIFEST)
        card = _card(name, task, members, usage)
        write_description(new, task, {"name": name, MEMBERS: digests}, card, version=OF_ENSEMBLES)


def _card(name: str, task: str, members: Sequence[Path], usage: str) -> str:
    listed = "\n".join(f"- `{number}/`: {member}" for number, member in enumerate(members, 1))
    return f"""# {name}

A seqtool ensemble (task `{task}`), whose members are averaged:

{listed}

    {usage.format("FOLDER")}
"""
