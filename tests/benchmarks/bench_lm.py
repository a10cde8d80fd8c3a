"""Speed of language models in training and sampling, compared with stock `nn.LSTM`.

Two LSTM layers of 512, 65 characters, windows of 64 rows by 100 symbols, as char-rnn and torch-rnn are
usually measured. "stock" is `nn.LSTM` with a linear layer, cross-entropy and the same optimizer, in the
loop of a tutorial. Operations are counted as 6 per weight and character (forward and backward).

    python tests/benchmarks/bench_lm.py [--threads N] [--hidden N] [--training] [--writing] [--start]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import describe, matrix_product_rate, timed
from torch import nn
from torch.nn import functional

from seqtool.decoding.sampling import SamplingOptions
from seqtool.devices import configure, prepare_for_rows
from seqtool.lm.batches import Window
from seqtool.lm.model import LanguageNetwork
from seqtool.lm.prediction import LanguageModel, LanguageModelDescription
from seqtool.lm.sampling import Sampler, beginning
from seqtool.lm.settings import (
    AdaptationSettings,
    DataSettings,
    LanguageModelTraining,
    ModelSettings,
    VocabularySettings,
)
from seqtool.lm.train import StreamLoss
from seqtool.lm.vocabulary import Symbols
from seqtool.training.optimization import build_optimizer
from seqtool.training.update import Arithmetic, Place, update

CPU = torch.device("cpu")
ROWS, STEPS, LETTERS = 64, 100, 65
TEXT = "".join(chr(0x21 + number) for number in range(LETTERS))


def model_of(hidden: int) -> LanguageModel:
    """An untrained language model."""
    torch.manual_seed(1)
    vocabulary = VocabularySettings()
    symbols = Symbols.build([TEXT], vocabulary)
    settings = ModelSettings(embedding=64, hidden=hidden, layers=2, dropout=0.0)
    network = LanguageNetwork(len(symbols), settings, symbols.impossible)
    description = LanguageModelDescription(
        name="benchmark",
        model=settings,
        vocabulary=vocabulary,
        data=DataSettings(train="x"),
        adaptation=AdaptationSettings(),
        measured=None,
    )
    return LanguageModel(network, symbols, description, device=CPU, precision=torch.float32)


class Stock(nn.Module):
    """The network of a tutorial."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(LETTERS + 4, 64)
        self.lstm = nn.LSTM(64, hidden, 2, batch_first=True)
        self.output = nn.Linear(hidden, LETTERS + 4)

    def forward(self, inputs, state=None):
        """Scores [B, T, V] and the new state."""
        outputs, state = self.lstm(self.embedding(inputs), state)
        return self.output(outputs), state


def window() -> Window:
    """A window of random symbols."""
    symbols = torch.randint(4, LETTERS + 4, (ROWS, STEPS + 1))
    return Window(symbols[:, :-1].contiguous(), symbols[:, 1:].contiguous(), False, 0)


def our_update(hidden: int, dtype: torch.dtype):
    """One update as `seqtool train` makes it."""
    model, settings, batch = model_of(hidden), LanguageModelTraining(), window()
    optimizer, arithmetic = build_optimizer(model.network, settings), Arithmetic.of(CPU, dtype)
    loss = StreamLoss(model.network, settings, model.symbols)
    model.network.train()
    return lambda: update(
        model.network,
        optimizer,
        [batch],
        loss,
        arithmetic=arithmetic,
        clip_norm=settings.clip_norm,
        place=Place(1, 1, 0, 0.0),
    )


def stock_update(hidden: int, dtype: torch.dtype):
    """The same update as a tutorial writes it."""
    network, batch = Stock(hidden), window()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def run() -> None:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            scores, _ = network(batch.inputs)
            loss = functional.cross_entropy(scores.flatten(0, 1), batch.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()

    return run


def multiply_adds(hidden: int) -> int:
    """Multiply-adds per character, forward, of recurrent layers and output; embeddings are looked up."""
    return 4 * hidden * (64 + hidden) + 4 * hidden * 2 * hidden + hidden * (LETTERS + 4)


def training(hidden: int) -> None:
    """Print the characters per second of seqtool and stock, in fp32 and bf16."""
    names = {"fp32": torch.float32, "bf16": torch.bfloat16}
    jobs = {}
    for name, dtype in names.items():
        jobs[f"seqtool {name}"] = our_update(hidden, dtype)
        jobs[f"stock {name}"] = stock_update(hidden, dtype)
    seconds = timed(jobs, repeats=7, warmup=2)
    peaks = {name: matrix_product_rate(dtype) for name, dtype in names.items()}
    print(f"\ntraining, 2 x {hidden}, {ROWS} x {STEPS}")
    for name, each in seconds.items():
        rate = ROWS * STEPS / each
        operations = rate * 6 * multiply_adds(hidden) / 1e9
        shares = ", ".join(
            f"{operations / peak:.0%} of the {kind} product rate" for kind, peak in peaks.items()
        )
        print(f"{name:14} {rate:9,.0f} characters/s, {operations:5.0f} GFLOP/s, {shares}")
    ratio = seconds["seqtool fp32"] / seconds["seqtool bf16"]
    print(f"bf16 is {ratio:.2f} times as fast as fp32")


def writing(hidden: int, threads: int, streams: int) -> None:
    """Print the characters per second of all streams together; run in its own process, like the command."""
    configure(threads)
    prepare_for_rows(streams)
    model = model_of(hidden)
    start = beginning(model, TEXT).repeated(streams)

    def written(steps: int, **how: bool):
        def run() -> None:
            sampler = Sampler(model, SamplingOptions(seed=1), start, **how)
            for _ in range(steps):
                sampler.step()

        return run

    steps = {"int8": 200, "fp32": 100} if streams > 1 else {"int8": 2000, "fp32": 1000}
    jobs: dict[str, Callable[[], None]] = {
        "int8": written(steps["int8"], int8=True),
        "fp32": written(steps["fp32"]),
    }
    if streams == 1:
        steps |= {"plain steps": 300, "nn.LSTM": 200}
        jobs |= {"plain steps": written(300, fast=False), "nn.LSTM": stock_writing(hidden, 200)}
    seconds = timed(jobs, repeats=5, warmup=1)
    for name, count in steps.items():
        rate = streams * count / seconds[name]
        print(f"{streams:2} {'stream' if streams == 1 else 'streams'}, {name:14} {rate:9,.0f} characters/s")


def stock_writing(hidden: int, steps: int) -> Callable[[], None]:
    """A job that samples as a tutorial does."""
    stock = Stock(hidden).eval()

    @torch.inference_mode()
    def run() -> None:
        last, state = torch.tensor([[4]]), None
        for _ in range(steps):
            scores, state = stock(last, state)
            last = torch.multinomial(scores[:, -1].softmax(1), 1)

    return run


def in_own_process(work: Callable[..., None], *arguments: object) -> None:
    """Run a function in a new process, because oneDNN chooses its kernels once per process."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(process.exitcode)


def starting() -> None:
    """Print the time from starting the command to its first character."""
    with tempfile.TemporaryDirectory() as folder:
        model = model_of(512)
        model.save(Path(folder) / "model", card="")
        command = [
            sys.executable,
            "-m",
            "seqtool",
            "lm",
            "sample",
            "-m",
            folder,
            "--prompt",
            "!",
            "--length",
            "9",
        ]
        print("\nstarting `seqtool lm sample`")
        for _ in range(3):
            begun = time.monotonic()
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                assert process.stdout is not None
                process.stdout.read(2)
                print(f"first character after {time.monotonic() - begun:.2f} s")
                process.stdout.read()
        begun = time.monotonic()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        print(f"importing torch alone {time.monotonic() - begun:.2f} s")


def main() -> None:
    """Measure and print the parts that were asked for, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--hidden", type=int, default=512)
    for part in ("training", "writing", "start"):
        parser.add_argument(f"--{part}", action="store_true", help="run only this part (can be combined)")
    arguments = parser.parse_args()
    configure(arguments.threads)
    print(describe())
    all_of_it = not (arguments.training or arguments.writing or arguments.start)
    if all_of_it or arguments.training:
        training(arguments.hidden)
    if all_of_it or arguments.writing:
        print(f"\nwriting, 2 x {arguments.hidden}, {LETTERS + 4} symbols", flush=True)
        for streams in (1, 64):
            in_own_process(writing, arguments.hidden, arguments.threads, streams)
    if all_of_it or arguments.start:
        starting()


if __name__ == "__main__":
    main()
