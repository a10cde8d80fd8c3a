from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli import program
from tests.cli.running import PERSONAL, Inside, Outcome, run
from tests.translation.tiny_pairs import TEXTS

PEOPLE = ("Ada", "Grace Hopper", "Alan Turing", "Edsger", "Barbara Liskov")
PLACES = ("London", "New York", "Austin", "Turin")
TINY = (
    "model.hidden=8",
    "model.word_embedding=8",
    "model.characters=none",
    "model.dropout=0.0",
    "training.batch_tokens=512",
    "training.evaluate_every=0",
    "decoding.entity_bias=0.0",
)


@dataclass(frozen=True)
class Tiny:
    """A corpus of twenty sentences and a model that has memorised it."""

    folder: Path
    train: Path
    dev: Path
    run: Path
    training: Outcome  # of the command that made the model

    @property
    def model(self) -> Path:
        return self.run / "model"


# Settings with which a small network memorises ten pairs in a second and copies the names.
TRANSLATOR = (
    "vocabulary.kind=word",
    "vocabulary.min_count=2",
    "vocabulary.shared=false",
    "model.hidden=16",
    "model.embedding=16",
    "model.copy=true",
    "model.coverage=true",
    "model.dropout=0.0",
    "model.embedding_dropout=0.0",
    "training.label_smoothing=0.0",
    "training.average=none",
    "training.warmup_steps=0",
    "training.evaluate_every=1000",
    "training.select=loss",
    "decoding.beam=2",
)


@dataclass(frozen=True)
class TinyTranslator:
    """Ten pairs, a translator that has memorised them, and one that has not."""

    folder: Path
    source: Path
    target: Path
    run: Path
    poor: Path  # of the same network and vocabulary
    training: Outcome  # of the command that made `run`

    @property
    def text(self) -> bytes:
        """The sources."""
        return self.source.read_bytes()

    @property
    def answer(self) -> bytes:
        """Their translations."""
        return self.target.read_bytes()


def translator_words(*more: str) -> list[str]:
    """Command-line words that make a run take a second."""
    return [word for setting in (*TRANSLATOR, *more) for word in ("--set", setting)]


def tiny_settings(*more: str) -> list[str]:
    """Command-line words that make a run take a second."""
    return [word for setting in (*TINY, *more) for word in ("--set", setting)]


def conll(sentences: list[list[tuple[str, str]]]) -> str:
    return "".join("".join(f"{token}\t{tag}\n" for token, tag in rows) + "\n" for rows in sentences)


def tagged(text: str, kind: str) -> list[tuple[str, str]]:
    first, *rest = text.split()
    return [(first, f"B-{kind}"), *((token, f"I-{kind}") for token in rest)]


def corpus(count: int, seed: int) -> str:
    """Sentences with one pattern, in IOB2."""
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


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> TinyTranslator:
    folder = tmp_path_factory.mktemp("pairs")
    source, target = folder / "text.src", folder / "text.tgt"
    for side, path in enumerate((source, target)):
        path.write_text("".join(pair[side] + "\n" for pair in TEXTS))
    files = [word for part in ("--train", "--dev", "--test") for word in (part, source, target)]
    words = ("train", "translate", *files, *translator_words(), "--batch-tokens", 32, "--lr", 0.03)
    training = run(*words, "--epochs", 45, "-o", "run", cwd=folder)
    assert training.code == 0, training.err
    poor = program.inside(*words, "--epochs", 1, "--seed", 2, "-o", "poor", folder=folder)
    assert poor.code == 0, poor.err
    return TinyTranslator(folder, source, target, folder / "run", folder / "poor", training)


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Inside:
    """Runs commands in this process, in an empty folder, without pictures or syncing to disk."""
    monkeypatch.chdir(tmp_path)
    for name in PERSONAL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "fsync", os.fstat)
    monkeypatch.setattr("seqtool.cli.train._draw_curves", lambda run: None)
    return Inside(monkeypatch)


LM_TEXT = "the cat sat on the mat.\nthe dog sat on the log.\n\nthe end.\n" * 30
LM_SETTINGS = (
    "model.hidden=32",
    "model.embedding=16",
    "model.layers=1",
    "model.dropout=0.0",
    "model.embedding_dropout=0.0",
    "training.window=32",
    "training.batch_tokens=128",
    "training.warmup_steps=0",
    "training.learning_rate=0.02",
    "training.average=none",
    "training.evaluate_every=100",
    "threads=1",
)


def lm_words(*more: str) -> list[str]:
    return [word for setting in (*LM_SETTINGS, *more) for word in ("--set", setting)]


@dataclass(frozen=True)
class TinyModel:
    """A text and a model that has memorised it."""

    folder: Path
    text: Path
    run: Path
    training: Outcome


@pytest.fixture(scope="session")
def lm(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    folder = tmp_path_factory.mktemp("lm")
    text = folder / "text.txt"
    text.write_text(LM_TEXT)
    files = ("--train", text, "--dev", text, "--test", text, "-o", "run")
    training = run("train", "lm", *files, *lm_words(), "--max-steps", 200, "--seed", 3, cwd=folder)
    assert training.code == 0, training.err
    return TinyModel(folder, text, folder / "run", training)
