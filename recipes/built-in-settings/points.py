"""Training parts of all sizes, below $SEQTOOL_DATA, and what someone who knows the models might type."""

from __future__ import annotations

from typing import NamedTuple


class Point(NamedTuple):
    """A training part.

    Attributes:
        task: Task of `seqtool train`.
        kind: Key of `BY_HAND`.
        metric: What is compared, a metric of `seqtool evaluate`.
        folder: Folder below $SEQTOOL_DATA.
        train: Its training file, or source and target.
        dev: Development file or files; none = the last tenth of the training file.
        test: Test file or files; none = the development part is all there is.
        first: Annotated sentences, pairs or characters that are taken of the training part; 0 = all.
        every: Each so many-th pair is taken instead, if this is not 0.
    """

    task: str
    kind: str
    metric: str
    folder: str
    train: tuple[str, ...]
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    first: int = 0
    every: int = 0


EWT = Point(
    *("pos", "tagger", "accuracy", "ud_english_ewt"),
    train=("en_ewt-ud-train.conllu",),
    dev=("en_ewt-ud-dev.conllu",),
    test=("en_ewt-ud-test.conllu",),
)
NCBI = Point(
    *("ner", "tagger", "f1", "ncbi_disease"), train=("train.tsv",), dev=("devel.tsv",), test=("test.tsv",)
)
GERMAN = Point(
    *("translate", "inflection", "exact_match", "sigmorphon2018"),
    train=("german-train-high",),
    dev=("german-dev",),
    test=("german-test",),
)
TATOEBA = Point(
    *("translate", "sentences", "bleu", "tatoeba_fra_eng"),
    train=("train.en", "train.fr"),
    dev=("dev.en", "dev.fr"),
    test=("test.en", "test.fr"),
)
SHAKESPEARE = Point("lm", "text", "loss", "tinyshakespeare", train=("input.txt",))

POINTS = {
    "ewt-100": EWT._replace(first=100),
    "ewt-1000": EWT._replace(first=1000),
    "ewt-all": EWT,
    "ncbi-100": NCBI._replace(first=100),
    "ncbi-1000": NCBI._replace(first=1000),
    "ncbi-all": NCBI,
    "german-100": GERMAN._replace(train=("german-train-low",)),
    "german-1000": GERMAN._replace(train=("german-train-medium",)),
    "german-10000": GERMAN,
    "tatoeba-1000": TATOEBA._replace(every=136),
    "tatoeba-5072": TATOEBA._replace(every=27),
    "shakespeare-10k": SHAKESPEARE._replace(first=10_000),
    "shakespeare-100k": SHAKESPEARE._replace(first=100_000),
    "shakespeare-1m": SHAKESPEARE._replace(first=1_000_000),
}

# By kind of data and name, the settings that are typed; what is not typed stays as it is chosen.
BY_HAND: dict[str, dict[str, tuple[str, ...]]] = {
    "tagger": {
        "rate 1e-3": ("training.learning_rate=1e-3",),
        "rate 4e-3": ("training.learning_rate=4e-3",),
        "batches of 1,024 tokens, dropout 0.4": ("model.dropout=0.4", "training.batch_tokens=1024"),
        "characters by a CNN": ('model.characters="cnn"',),
        "wider": ("model.hidden=300", "model.character_hidden=100"),
        "two layers, residual": ("model.layers=2", "model.residual=true"),
    },
    "inflection": {
        "LSTM 256": ('model.cell="lstm"',),
        "rate 1e-3": ("training.learning_rate=1e-3",),
        "rate 4e-3": ("training.learning_rate=4e-3",),
        "copying": ("model.copy=true",),
        "embedding 64, hidden 128": ("model.embedding=64", "model.hidden=128"),
    },
    "sentences": {
        "LSTM": ('model.cell="lstm"',),
        "2,000 subwords": ("vocabulary.size=2000",),
        "words": ('vocabulary.kind="word"', "vocabulary.min_count=2"),
        "rate 1e-3": ("training.learning_rate=1e-3",),
        "conditional decoder, dropout 0.4": ('model.decoder="conditional"', "model.dropout=0.4"),
    },
    "text": {
        "rate 1.2e-2": ("training.learning_rate=1.2e-2",),
        "rate 3e-3": ("training.learning_rate=3e-3",),
        "GRU": ('model.cell="gru"',),
        "hidden 256, dropout 0.3": ("model.hidden=256", "model.dropout=0.3"),
        "two layers": ("model.layers=2",),
    },
}
