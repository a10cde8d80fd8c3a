from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.running import PERSONAL, Inside, Outcome, run

PEOPLE = ("Ada", "Grace Hopper", "Alan Turing", "Edsger", "Barbara Liskov")
PLACES = ("London", "New York", "Austin", "Turin")
TINY = (
    "model.hidden=8",
    "model.word_embedding=8",
    "model.characters=none",
    "model.dropout=0.0",
    "decoding.entity_bias=0.0",
)


@dataclass(frozen=True)
class Tiny:
    """A corpus of twenty sentences and a model that knows it by heart."""

    folder: Path
    train: Path
    dev: Path
    run: Path
    training: Outcome  # of the command that made the model

    @property
    def model(self) -> Path:
        return self.run / "model"


def tiny_settings(*more: str) -> list[str]:
    """Command-line words that make a run take a second."""
    return [word for setting in (*TINY, *more) for word in ("--set", setting)]


def conll(sentences: list[list[tuple[str, str]]]) -> str:
    return "".join("".join(f"{token}\t{tag}\n" for token, tag in rows) + "\n" for rows in sentences)


def tagged(text: str, kind: str) -> list[tuple[str, str]]:
    first, *rest = text.split()
    return [(first, f"B-{kind}"), *((token, f"I-{kind}") for token in rest)]


def corpus(count: int, seed: int) -> str:
    """Sentences of one pattern, IOB2."""
    source = random.Random(seed)
    rows = []
    for _ in range(count):
        person, place = tagged(source.choice(PEOPLE), "PER"), tagged(source.choice(PLACES), "LOC")
        rows.append([*person, ("lives", "O"), ("in", "O"), *place, (".", "O")])
    return conll(rows)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("tiny")
    train, dev = folder / "train.conll", folder / "dev.conll"
    train.write_text(corpus(20, seed=1))
    dev.write_text(corpus(8, seed=2))
    settings = tiny_settings(
        "training.average=none",
        "training.schedule=constant",
        "training.warmup_steps=0",
        "training.evaluate_every=60",
        "model.shape_embedding=0",
        "model.word_dropout=0.0",
        "model.singleton_dropout=0.0",
    )
    files = ("--train", train, "--dev", dev, "--test", dev, "-o", "run")
    training = run("train", "ner", *files, *settings, "--epochs", 60, "--lr", 0.05, cwd=folder)
    assert training.code == 0, training.err
    return Tiny(folder, train, dev, folder / "run", training)


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Inside:
    """Runs commands in this process, in an empty folder, without pictures or waiting for the disk."""
    monkeypatch.chdir(tmp_path)
    for name in PERSONAL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "fsync", os.fstat)
    monkeypatch.setattr("seqtool.cli.train._draw_curves", lambda run: None)
    return Inside(monkeypatch)
