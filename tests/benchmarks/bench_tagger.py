"""Speed of training and tagging with a network of the size of Flair's default tagger.

One bidirectional LSTM of 256 units per direction, word embeddings of 100, a bidirectional character
LSTM of 25 units with embeddings of 25, and a CRF, on UD English-EWT where the real data is available
and on the data of ner-tiny elsewhere. Flair 0.15 was recorded at 1,970 tokens/s (training) and 7,900
(tagging) on two cores of an AMD EPYC with AVX512_BF16 and with CoNLL-sized sentences. The script
prints ratios to these figures; they are meaningful only on a machine of that kind.

    python tests/benchmarks/bench_tagger.py [--threads N] [--precision auto|fp32|bf16] [--batch-tokens N]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from machine import describe, matrix_product_rate, timed

from seqtool.devices import configure, resolve_precision
from seqtool.nn.losses import LossSum
from seqtool.tagging.batches import Corpus, encode
from seqtool.tagging.data import load_training_data
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.settings import TaggerSettings
from seqtool.tagging.train import build_model
from seqtool.text.batching import training_batches
from seqtool.text.data_files import locate
from seqtool.training.optimization import build_optimizer
from seqtool.training.update import Arithmetic, Place, update

FLAIR_TRAINING, FLAIR_TAGGING = 1_970, 7_900  # tokens/s of Flair 0.15; see the docstring
ROOT = Path(__file__).resolve().parents[2]


def shape(batch_tokens: int, precision: str) -> TaggerSettings:
    """Settings with the size of Flair's default tagger, for the data that is available."""
    folder = Path(os.environ.get("SEQTOOL_DATA", ROOT.parent / "shared" / "data")) / "ud_english_ewt"
    files = {"train": "en_ewt-ud-train.conllu", "dev": "en_ewt-ud-dev.conllu"}
    if not folder.is_dir():
        folder, files = ROOT / "recipes" / "ner-tiny", {"train": "train.conll", "dev": "dev.conll"}
    settings = TaggerSettings.model_validate(
        {
            "task": "pos",
            "name": "benchmark",
            "data": files,
            "model": {
                "hidden": 256,
                "word_embedding": 100,
                "characters": "rnn",
                "character_embedding": 25,
                "character_hidden": 25,
                "shape_embedding": 0,
            },
            "training": {"batch_tokens": batch_tokens, "precision": precision},
        }
    )
    return settings.model_copy(update={"data": locate(settings.data, folder)})


def multiply_adds(model: TaggerModel) -> int:
    """Multiply-adds per token, forward, of the sentence encoder and the output layer."""
    return sum(
        p.numel() for name, p in model.network.named_parameters() if p.dim() == 2 and "forms" not in name
    )


def training_step(model: TaggerModel, corpus: Corpus, settings: TaggerSettings, parts: list[list[int]]):
    """A job that makes one update with each of the `parts`."""
    device = torch.device("cpu")
    optimizer = build_optimizer(model.network, settings.training)
    arithmetic = Arithmetic.of(device, resolve_precision(settings.training.precision, device))

    def loss(batch) -> LossSum:
        return model.network.loss(batch)

    def run() -> None:
        model.network.train()
        for number, part in enumerate(parts):
            batch = corpus.batch(part)
            update(
                model.network,
                optimizer,
                [batch],
                loss,
                arithmetic=arithmetic,
                clip_norm=5.0,
                place=Place(number + 1, 1, number, 0.0),
            )

    return run


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    arguments = parser.parse_args()
    configure(arguments.threads)
    print(describe())
    settings = shape(arguments.batch_tokens, arguments.precision)
    data = load_training_data(settings)
    device = torch.device("cpu")
    precision = resolve_precision(arguments.precision, device)
    model = build_model(settings, data, device)
    table = model.vocabularies.form_table(settings.vocabulary)
    corpus = encode(data.train, model.vocabularies, table, with_tags=True)
    parts = training_batches(corpus.lengths, budget=arguments.batch_tokens, seed=1, epoch=0)
    parts = parts[: max(4, 40_000 // arguments.batch_tokens)]
    trained = sum(corpus.lengths[i] for part in parts for i in part)
    sentences = list(data.train[:6000])
    tagged = sum(len(sentence.tokens) for sentence in sentences)
    tagger = TaggerModel(
        model.network,
        model.vocabularies,
        model.description,
        training_entities=set(),
        device=device,
        precision=precision,
    )

    def tag() -> None:
        model.network.eval()
        tagger.forget()  # a cold cache: every word form is encoded again
        tagger.predict(sentences, batch_tokens=arguments.batch_tokens)

    jobs = {"training": training_step(model, corpus, settings, parts), "tagging": tag}
    seconds = timed(jobs, repeats=5, warmup=1)
    peak = matrix_product_rate(precision)
    operations = 2 * multiply_adds(model)
    kind = str(precision).removeprefix("torch.")
    for name, tokens, factor, flair in (
        ("training", trained, 3, FLAIR_TRAINING),
        ("tagging", tagged, 1, FLAIR_TAGGING),
    ):
        rate = tokens / seconds[name]
        share = rate * operations * factor / 1e9 / peak
        print(
            f"{name}: {rate:,.0f} tokens/s ({kind}), {rate / flair:.1f} x Flair 0.15 as recorded, "
            f"{share:.0%} of the measured product rate ({operations / 2e6:.2f} M multiply-adds per token)"
        )


if __name__ == "__main__":
    main()
