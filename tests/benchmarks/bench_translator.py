"""Speed of training and of beam search with the network size that other toolkits were recorded with.

A bidirectional GRU of 256 units per direction, a GRU decoder of 256 with input feeding and additive
attention, embeddings of 256, and up to 8,000 words on each side of Multi30k; without the real data, the
text of translate-tiny. On two cores of an AMD EPYC with AVX512_BF16, OpenNMT-py 3.5 was recorded at
4,100 target tokens/s (training) and 165 sentences/s (beam 5, 1,000 captions), JoeyNMT 2.3 at 1,700 and
83. The script prints ratios to these figures; they are meaningful only on a machine of that kind.

Beam search is timed with a trained model of that size (an untrained one never ends its sentences):

    seqtool train translate --train train.en train.de --dev val.en val.de -o MODEL --epochs 5 \\
        --set vocabulary.kind=word --set vocabulary.shared=false --set vocabulary.size=8000
    python tests/benchmarks/bench_translator.py [--model MODEL] [--threads N] [--batch-tokens N]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from machine import describe, matrix_product_rate, timed

from seqtool.devices import configure, resolve_precision
from seqtool.text.data_files import locate
from seqtool.text.parallel import SentencePair
from seqtool.training.optimization import build_optimizer
from seqtool.training.update import Arithmetic, Place, update
from seqtool.translation.batches import TrainingBatches
from seqtool.translation.data import load_training_data
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.search import SearchOptions
from seqtool.translation.settings import TranslatorSettings
from seqtool.translation.train import build_model, loss_function

PEERS = {"OpenNMT-py 3.5": (4_100, 165), "JoeyNMT 2.3": (1_700, 83)}  # see the docstring
ROOT = Path(__file__).resolve().parents[2]
BATCHES = 12  # number of batches that are timed


def shape(batch_tokens: int, **model: Any) -> TranslatorSettings:
    """Settings with the recorded network size, for the data that is available."""
    folder = Path(os.environ.get("SEQTOOL_DATA", ROOT.parent / "shared" / "data")) / "multi30k"
    files = {"train": ["train.en", "train.de"], "dev": ["val.en", "val.de"]}
    if not folder.is_dir():
        folder = ROOT / "recipes" / "translate-tiny"
        files = {"train": ["train.en", "train.out"], "dev": ["dev.en", "dev.out"]}
    settings = TranslatorSettings.model_validate(
        {
            "name": "benchmark",
            "data": files,
            "vocabulary": {"kind": "word", "shared": False, "size": 8000},
            "model": {"embedding": 256, "hidden": 256, **model},
            "training": {"batch_tokens": batch_tokens},
        }
    )
    return settings.model_copy(update={"data": locate(settings.data, folder)})


def multiply_adds(model: TranslatorModel) -> float:
    """Multiply-adds per target token, forward, with a source of the same length."""
    network = model.network
    weights = sum(p.numel() for p in network.parameters() if p.dim() == 2)
    return weights - network.source.weight.numel()  # the target embeddings are the projection


def training_job(settings: TranslatorSettings, precision: str) -> tuple[Callable[[], None], int, float]:
    """A job that makes some updates, the number of its target tokens, and multiply-adds per token."""
    device = torch.device("cpu")
    data = load_training_data(settings)
    torch.manual_seed(1)
    model = build_model(settings, data, device)
    batches = TrainingBatches(model.vocabularies, data, settings, device)(0)[:BATCHES]
    optimizer = build_optimizer(model.network, settings.training)
    arithmetic = Arithmetic.of(device, resolve_precision(precision, device))
    loss = loss_function(model, settings)

    def run() -> None:
        model.network.train()
        for number, batch in enumerate(batches):
            update(
                model.network,
                optimizer,
                [batch],
                loss,
                arithmetic=arithmetic,
                clip_norm=1.0,
                place=Place(number + 1, 1, number, 0.0),
            )

    return run, sum(batch.tokens for batch in batches), multiply_adds(model)


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch-tokens", type=int, default=4096)
    arguments = parser.parse_args()
    configure(arguments.threads)
    print(describe())
    train(arguments.batch_tokens)
    if arguments.model is not None:
        search(arguments.model, arguments.batch_tokens)


def train(batch_tokens: int) -> None:
    """Time updates in fp32 and bf16, and with coverage and copying."""
    plain, both = shape(batch_tokens), shape(batch_tokens, coverage=True, copy=True)
    jobs = {
        "fp32": training_job(plain, "fp32"),
        "bf16": training_job(plain, "bf16"),
        "bf16, coverage and copying": training_job(both, "bf16"),
    }
    seconds = timed({name: job for name, (job, _, _) in jobs.items()}, repeats=3, warmup=1)
    for name, (_, tokens, operations) in jobs.items():
        rate = tokens / seconds[name]
        peak = matrix_product_rate(torch.float32 if name == "fp32" else torch.bfloat16)
        share = rate * 6 * operations / 1e9 / peak
        ratios = ", ".join(f"{rate / training:.1f} x {peer}" for peer, (training, _) in PEERS.items())
        print(f"training, {name}: {rate:,.0f} target tokens/s, {ratios}, {share:.0%} of the product rate")


def search(path: Path, batch_tokens: int) -> None:
    """Time the translation of 1,000 captions."""
    folder = Path(os.environ.get("SEQTOOL_DATA", ROOT.parent / "shared" / "data")) / "multi30k"
    source = folder / "test_2016_flickr.en"
    if not source.is_file():
        print("there are no captions to translate: set SEQTOOL_DATA to the folder that contains multi30k/")
        return
    pairs = [SentencePair(line) for line in source.read_text(encoding="utf-8").splitlines()]
    jobs = {}
    for precision in ("fp32", "int8"):
        model = TranslatorModel.load(path, device="cpu", precision=precision)
        for beam in (1, 5):
            options = replace(SearchOptions.of(model.description.decoding), beam=beam)
            jobs[f"beam {beam}, {precision}"] = searching(model, pairs, options, batch_tokens)
    seconds = timed(jobs, repeats=3, warmup=1)
    for name, each in seconds.items():
        rate = len(pairs) / each
        ratios = ", ".join(f"{rate / beam:.1f} x {peer}" for peer, (_, beam) in PEERS.items())
        print(
            f"search, {name}: {rate:,.0f} sentences/s" + (f", {ratios}" if name.startswith("beam 5") else "")
        )


def searching(
    model: TranslatorModel, pairs: list[SentencePair], options: SearchOptions, batch_tokens: int
) -> Callable[[], None]:
    """A job that translates all pairs."""

    def run() -> None:
        model.search(pairs, options, batch_tokens=batch_tokens)

    return run


if __name__ == "__main__":
    main()
