"""Ten sentence pairs, settings for translators of a few thousand weights, and untrained translators."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from seqtool import api
from seqtool.settings import validate
from seqtool.text.parallel import SentencePair
from seqtool.training.checkpoint import Checkpoints
from seqtool.training.job import TrainedRun
from seqtool.translation.data import Part, TranslationData
from seqtool.translation.prediction import Translation, TranslatorModel
from seqtool.translation.settings import TranslatorSettings
from seqtool.translation.train import build_model
from seqtool.translation.vocabulary import PADDING, START

CPU = torch.device("cpu")
Texts = tuple[str, str]  # source and target

# Each name occurs once per side: with `COPYING`, only copying can produce it.
TEXTS: tuple[Texts, ...] = (
    ("Ada met Babbage in London .", "in London Ada traf Babbage ."),
    ("the engine stood still .", "die Maschine stand still ."),
    ("Grace left .", "Grace ging ."),
    ("Turing met Gödel .", "Turing traf Gödel ."),
    ("Church stood in the engine .", "in die Maschine stand Church ."),
    ("still the engine left .", "still ging die Maschine ."),
    ("in Paris Hopper left .", "in Paris ging Hopper ."),
    ("yes", "ja"),
    ("yes yes .", "ja ja ."),
    ("Noether met the engine .", "die Maschine traf Noether ."),
)
WORDS = [word for source, _ in TEXTS for word in source.split()] + ["Kyoto", "unseen", "x9", "日本", "é"]

# Only the initial weights are random; the learning rate lets so small a network memorise in seconds.
BASE: dict[str, dict[str, Any]] = {
    "vocabulary": {"kind": "word"},
    "model": {"hidden": 16, "embedding": 16, "dropout": 0.0, "embedding_dropout": 0.0},
    "training": {
        "epochs": 3,
        "learning_rate": 0.03,
        "warmup_steps": 0,
        "batch_tokens": 32,
        "evaluate_every": 0,
        "label_smoothing": 0.0,
        "average": "none",
        "precision": "fp32",
    },
}
# Enough training to memorise the ten pairs, with one evaluation at the end.
LEARN: dict[str, Any] = {"epochs": 40, "evaluate_every": 1000}
COPYING: dict[str, Any] = {"kind": "word", "min_count": 2, "shared": False}  # vocabularies without the names


def sources_of(texts: Sequence[Texts] = TEXTS) -> list[str]:
    return [source for source, _ in texts]


def targets_of(texts: Sequence[Texts] = TEXTS) -> list[str]:
    return [target for _, target in texts]


def write_pairs(folder: Path, texts: Sequence[Texts] = TEXTS, name: str = "train") -> list[str]:
    """Two files of lines."""
    paths = [folder / f"{name}.src", folder / f"{name}.tgt"]
    for path, lines in zip(paths, (sources_of(texts), targets_of(texts)), strict=True):
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return [str(path) for path in paths]


def tables(train: Sequence[str] | str, **sections: Any) -> dict[str, Any]:
    """A recipe for files that are also its dev part; `sections` override the usual settings."""
    result: dict[str, Any] = {"task": "translate", "name": "tiny", "threads": 1, "device": "cpu"}
    result |= copy.deepcopy(BASE)
    result["data"] = {"train": train, "dev": train}
    for name, section in sections.items():
        result[name] = {**result.get(name, {}), **section}
    return result


def tiny_settings(train: Sequence[str] | str = ("none", "none"), **sections: Any) -> TranslatorSettings:
    found = tables(train if isinstance(train, str) else list(train), **sections)
    return validate(TranslatorSettings, found, "settings")


def train_tiny(
    folder: Path,
    texts: Sequence[Texts] = TEXTS,
    options: Mapping[str, Any] | None = None,
    **sections: Any,
) -> TrainedRun[TranslatorModel]:
    """Train on files in `folder`, created if missing, into `folder/run`; `options` go to `api.train`."""
    folder.mkdir(exist_ok=True)
    run = api.train(
        tables(write_pairs(folder, texts), **sections), **{"output": folder / "run", **(options or {})}
    )
    assert isinstance(run.model, TranslatorModel)
    return run


def pairs_of(texts: Sequence[Texts] = TEXTS) -> list[SentencePair]:
    return [SentencePair(source, target, line=n) for n, (source, target) in enumerate(texts, 1)]


def tiny_data(pairs: Sequence[SentencePair] | None = None) -> TranslationData:
    """The pairs as training and dev parts, without a file."""
    found = tuple(pairs_of() if pairs is None else pairs)
    return TranslationData({name: Part(name, found, "memory", "0") for name in ("train", "dev")})


def untrained(
    corpus: TranslationData | None = None, seed: int = 1, scale: float = 3.0, **sections: Any
) -> TranslatorModel:
    """A translator with large random weights: its outputs differ, and its scores are far apart.

    As in a trained one, padding and start are next to impossible.
    """
    torch.manual_seed(seed)
    model = build_model(tiny_settings(**sections), corpus or tiny_data(), CPU)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.mul_(scale)
        bias = getattr(model.network, "bias", None)
        if bias is not None:
            bias.normal_()
            bias[[PADDING, START]] = -1e4
    return model


def double(model: TranslatorModel) -> TranslatorModel:
    model.network.double()
    model.forget()
    return model


def random_sources(count: int, longest: int = 9, seed: int = 5) -> list[SentencePair]:
    """Pairs of known and unknown words in any order, some with empty sources; each has its line number."""
    source = random.Random(seed)
    lines = [" ".join(source.choices(WORDS, k=source.randint(0, longest))) for _ in range(count)]
    return [SentencePair(line, line=number) for number, line in enumerate(lines, 1)]


def outputs(found: Sequence[Sequence[Translation]]) -> list[list[tuple[str, list[int]]]]:
    """Texts and ids of the results, which must not depend on the batch."""
    return [[(each.text, each.hypothesis.tokens) for each in translations] for translations in found]


def weights_of(run: TrainedRun[TranslatorModel]) -> dict[str, torch.Tensor]:
    return run.model.network.state_dict()


def assert_equal_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def last_state(folder: Path) -> dict[str, Any]:
    """The tensors of the newest checkpoint of `train_tiny`."""
    newest = Checkpoints(folder / "run" / "state").load_newest()
    assert newest is not None
    return newest.tensors
