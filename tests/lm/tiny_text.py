"""A text of a few hundred characters, and settings and networks with a few hundred weights."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqtool import api
from seqtool.lm.data import Part, TextData, documents_of
from seqtool.lm.model import LanguageNetwork
from seqtool.lm.prediction import LanguageModel
from seqtool.lm.settings import LanguageModelSettings, ModelSettings
from seqtool.lm.vocabulary import Ids
from seqtool.settings import validate
from seqtool.training.checkpoint import Checkpoints
from seqtool.training.job import TrainedRun

CPU = torch.device("cpu")
IMPOSSIBLE = (0, 2, 3)

# All lines differ, and each is certain after its first letters.
TEXT = """\
all hail the king, and good night
brave blood runs cold in winter
come not here where shadows are
death shall have no dominion
every lark that sings at dawn
four horses drew the golden cart
give me my sword and my crown
how now, what news from france?
"""

# Only the initial weights are random; the learning rate lets so small a network memorise in seconds.
BASE: dict[str, dict[str, Any]] = {
    "model": {"hidden": 24, "embedding": 12, "layers": 1, "dropout": 0.0, "embedding_dropout": 0.0},
    "training": {
        "epochs": 3,
        "window": 16,
        "batch_tokens": 64,
        "learning_rate": 0.02,
        "warmup_steps": 0,
        "average": "none",
        "precision": "fp32",
    },
}


def tables(train: str = "none", **sections: Any) -> dict[str, Any]:
    """A recipe for a file that is also its dev part; `sections` override the usual settings."""
    result: dict[str, Any] = {"task": "lm", "name": "tiny", "threads": 1, "device": "cpu"}
    result |= copy.deepcopy(BASE)
    result["data"] = {"train": train, "dev": train}
    for name, section in sections.items():
        result[name] = {**result.get(name, {}), **section}
    return result


def tiny_settings(train: str = "none", **sections: Any) -> LanguageModelSettings:
    return validate(LanguageModelSettings, tables(train, **sections), "settings")


def train_tiny(
    folder: Path, text: str = TEXT, options: Mapping[str, Any] | None = None, **sections: Any
) -> TrainedRun[LanguageModel]:
    """Train on a file in `folder`, created if missing, into `folder/run`; `options` go to `api.train`."""
    folder.mkdir(exist_ok=True)
    path = folder / "text.txt"
    path.write_text(text)
    run: Any = api.train(tables(str(path), **sections), **{"output": folder / "run", **(options or {})})
    assert isinstance(run.model, LanguageModel)
    return run


def tiny_data(text: str = TEXT, documents: str = "stream") -> TextData:
    """A text as training and dev parts, without a file."""
    found = documents_of([text], documents)
    return TextData({name: Part(name, found, "memory", "whole") for name in ("train", "dev")})


def network_of(symbols: int = 9, **model: Any) -> LanguageNetwork:
    """An untrained model in float64 and evaluation mode, with large weights: probabilities are far apart."""
    torch.manual_seed(1)
    given = {"hidden": 5, "embedding": 4, "layers": 2, "dropout": 0.0, **model}
    network = LanguageNetwork(symbols, validate(ModelSettings, given, "model"), IMPOSSIBLE).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    return network


def random_ids(length: int, symbols: int = 9, seed: int = 3) -> Ids:
    """Random symbols out of the possible ones: 1, and those from 4 on."""
    source = random.Random(seed)
    return np.array(source.choices([1, *range(4, symbols)], k=length), np.int32)


def weights_of(run: TrainedRun[LanguageModel]) -> dict[str, torch.Tensor]:
    return run.model.network.state_dict()


def assert_equal_weights(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def last_state(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of the newest checkpoint of `train_tiny`."""
    newest = Checkpoints(folder / "run" / "state").load_newest()
    assert newest is not None
    return newest.tensors
