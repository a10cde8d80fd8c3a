"""Ten sentences, settings for taggers of a few hundred weights, and untrained taggers."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from seqtool import api
from seqtool.settings import validate
from seqtool.tagging.data import MODEL_SCHEME, Part, TaggingData, load_training_data
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.settings import CHARACTER_READERS, TaggerSettings
from seqtool.tagging.train import build_model
from seqtool.text import tag_scheme
from seqtool.text.columns import TaggedSentence
from seqtool.text.tag_scheme import Scheme
from seqtool.training.job import TrainedRun

CPU = torch.device("cpu")
Row = tuple[str, str]  # token and tag

# Every word has only one tag, except in the last two sentences, which need context.
TEXTS = (
    "Ada/B-PER Lovelace/I-PER met/O Babbage/B-PER in/O London/B-LOC ./O",
    "the/O engine/O stood/O still/O",
    "New/B-LOC York/I-LOC City/I-LOC is/O far/O",
    "IBM/B-ORG hired/O Hopper/B-PER",
    "Paris/B-LOC",
    "she/O left/O Acme/B-ORG Incorporated/I-ORG yesterday/O",
    "Turing/B-PER Gödel/B-PER Church/B-PER",
    "on/O 21/O May/O 1954/O",
    "Washington/B-PER spoke/O",
    "near/O Washington/B-LOC",
)
SENTENCES: tuple[tuple[Row, ...], ...] = tuple(
    tuple((word.rsplit("/", 1)[0], word.rsplit("/", 1)[1]) for word in text.split()) for text in TEXTS
)
UPOS = {"O": "NOUN", "B-PER": "PROPN", "I-PER": "X", "B-LOC": "ADP", "I-LOC": "DET"}

# Only the initial weights are random; the learning rate lets so small a network memorise in seconds.
BASE: dict[str, dict[str, Any]] = {
    "model": {
        "hidden": 8,
        "word_embedding": 8,
        "characters": "none",
        "character_embedding": 4,
        "character_hidden": 4,
        "character_filters": 4,
        "shape_embedding": 4,
        "feature_embedding": 4,
        "dropout": 0.0,
        "word_dropout": 0.0,
        "singleton_dropout": 0.0,
        "lexical_dropout": 0.0,
    },
    "training": {
        "epochs": 3,
        "learning_rate": 0.03,
        "warmup_steps": 0,
        "batch_tokens": 16,
        "evaluate_every": 0,
        "average": "none",
        "precision": "fp32",
    },
}


# Enough training to memorise the ten sentences, with one evaluation at the end.
LEARN: dict[str, Any] = {"epochs": 35, "learning_rate": 0.06, "evaluate_every": 1000}
WORDS = [token for row in SENTENCES for token, _ in row] + ["Zurich", "unseen", "x9", "日本", "#tag"]


def column_text(sentences: Sequence[Sequence[Sequence[str]]]) -> str:
    """The sentences in CoNLL columns."""
    return "".join("".join("\t".join(row) + "\n" for row in rows) + "\n" for rows in sentences)


def write_columns(path: Path, sentences: Sequence[Sequence[Sequence[str]]] = SENTENCES) -> Path:
    path.write_text(column_text(sentences), encoding="utf-8")
    return path


def in_scheme(scheme: Scheme, sentences: Sequence[Sequence[Row]] = SENTENCES) -> list[list[Row]]:
    """The given sentences, or all ten, with their tags in another scheme."""
    result = []
    for rows in sentences:
        tags = tag_scheme.convert([tag for _, tag in rows], "iob2", scheme)
        result.append([(token, tag) for (token, _), tag in zip(rows, tags, strict=True)])
    return result


def as_parts_of_speech() -> list[list[Row]]:
    """The ten sentences with one tag per token and no spans."""
    return [[(token, UPOS.get(tag, "NUM")) for token, tag in rows] for rows in SENTENCES]


def tokens_of(sentences: Sequence[Sequence[Row]] = SENTENCES) -> list[list[str]]:
    return [[token for token, _ in rows] for rows in sentences]


def tags_of(sentences: Sequence[Sequence[Row]] = SENTENCES) -> list[list[str]]:
    return [[tag for _, tag in rows] for rows in sentences]


def tables(train: Path, task: str = "ner", **sections: Any) -> dict[str, Any]:
    """A recipe for a file that is also its dev part; `sections` override the usual settings."""
    result: dict[str, Any] = {"task": task, "name": "tiny", "threads": 1, "device": "cpu"}
    result |= copy.deepcopy(BASE)
    result["data"] = {"train": str(train), "dev": str(train)}
    for name, section in sections.items():
        result[name] = {**result.get(name, {}), **section}
    kind = result["model"]["characters"]
    unread = [name for name, readers in CHARACTER_READERS.items() if kind not in readers]
    if not result["data"].get("feature_columns") and "feature_embedding" not in sections.get("model", {}):
        unread.append("feature_embedding")
    result["model"] = {name: value for name, value in result["model"].items() if name not in unread}
    return result


def tiny_settings(train: Path = Path("none"), task: str = "ner", **sections: Any) -> TaggerSettings:
    return validate(TaggerSettings, tables(train, task, **sections), "settings")


def train_tiny(
    folder: Path,
    sentences: Sequence[Sequence[Sequence[str]]] = SENTENCES,
    task: str = "ner",
    options: Mapping[str, Any] | None = None,
    **sections: Any,
) -> TrainedRun[TaggerModel]:
    """Train on a file in `folder`, created if missing, into `folder/run`; `options` go to `api.train`."""
    folder.mkdir(exist_ok=True)
    recipe = tables(write_columns(folder / "train.conll", sentences), task, **sections)
    return api.train(recipe, **{"output": folder / "run", **(options or {})})


def tiny_data(sentences: Sequence[Sequence[Row]] = SENTENCES, scheme: Scheme | None = "iob2") -> TaggingData:
    """The sentences as training and dev parts, without a file."""
    found = []
    for rows in sentences:
        tags = [tag for _, tag in rows]
        own = tags if scheme is None else tag_scheme.convert(tags, scheme, MODEL_SCHEME)
        found.append(TaggedSentence(tuple(token for token, _ in rows), tuple(own)))
    parts = {name: Part(name, tuple(found), "memory", "0", "two columns") for name in ("train", "dev")}
    return TaggingData(parts, file_scheme=scheme, scheme=None if scheme is None else MODEL_SCHEME)


def untrained(
    corpus: TaggingData | None = None, task: str = "ner", seed: int = 1, **sections: Any
) -> TaggerModel:
    """A tagger with large random weights: it predicts tags of all kinds, and its scores are far apart."""
    torch.manual_seed(seed)
    model = build_model(tiny_settings(task=task, **sections), corpus or tiny_data(), CPU)
    with torch.no_grad():
        model.network.output.weight.mul_(4)
        if model.network.is_crf:
            model.network.crf.transitions.normal_()
            model.network.crf.start.normal_()
            model.network.crf.end.normal_()
        if model.network.lexical is not None:  # new ones are 0
            model.network.lexical.own.weight[1:].normal_(0.0, 0.1)
            if model.network.lexical.around is not None:
                model.network.lexical.around.weight[1:].normal_(0.0, 0.1)
            model.network.lexical.edges.normal_(0.0, 0.1)
    return model


def load_data(train: Path, task: str = "ner", **sections: Any) -> TaggingData:
    return load_training_data(tiny_settings(train, task, **sections))


def random_sentences(count: int, longest: int = 12, seed: int = 5) -> list[TaggedSentence]:
    """Known and unknown words in any order."""
    source = random.Random(seed)
    return [
        TaggedSentence(tuple(source.choice(WORDS) for _ in range(source.randint(1, longest))))
        for _ in range(count)
    ]


def double(model: TaggerModel) -> TaggerModel:
    model.network.double()
    model.forget()
    return model


def with_bias(model: TaggerModel, bias: float) -> TaggerModel:
    """The same network with another entity bias for all types."""
    return TaggerModel(
        model.network,
        model.vocabularies,
        model.description.model_copy(update={"entity_bias": dict.fromkeys(model.types, bias)}),
        training_entities=model.training_entities,
        device=model.device,
        precision=model.precision,
    )


def with_columns(sentences: Sequence[TaggedSentence]) -> list[TaggedSentence]:
    return [
        TaggedSentence(s.tokens, s.tags, (tuple(t[0] for t in s.tokens), tuple(t[-1] for t in s.tokens)))
        for s in sentences
    ]


def model_with_columns() -> TaggerModel:
    data = tiny_data()
    part = replace(data.parts["train"], sentences=tuple(with_columns(data.train)))
    return untrained(replace(data, parts={"train": part, "dev": part}))


def weights_of(run: TrainedRun[TaggerModel]) -> dict[str, torch.Tensor]:
    return run.model.network.state_dict()


def assert_equal_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
