"""`seqtool train` with invalid and unusual data, and its messages about it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Tiny, corpus, tiny_settings
from tests.cli.running import Inside, Outcome, contents, refused

QUICK = (*tiny_settings(), "--epochs", 1, "-o", "run")
GOOD = "Ada\tB-PER\nlives\tO\n\nTurin\tB-LOC\n\n"


def train(inside: Inside, content: str | bytes, *words: object, name: str = "t.conll") -> Outcome:
    """Train for one epoch on a file with this content, which is also its own dev part."""
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    return inside("train", "ner", "--train", name, "--dev", name, *QUICK, *words)


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.conll: no sentences"),
        (b"\n \t\n\r\n", "t.conll: no sentences"),
        (b"Ada\tB-PER\nlives\n\n", "t.conll:2: 1 column, expected 2"),
        (b"Ada\tB-PER\tx\nlives\tO\tx\nhere\tO\tx\tx\n\n", "t.conll:3: 4 columns, expected 3"),
        (b"Ada\nlives\n\n", "t.conll:1: no tags"),
        (b"Ada\tB-PER\n\xff\tO\n\n", "t.conll:2: not UTF-8 at byte 10 (0xff)"),
        ("Ada\tB-PER\n".encode("utf-16"), "t.conll:1: this is UTF-16 text; convert it to UTF-8"),
        (b"Ada\tB-PER\nli\0ves\tO\n", "t.conll:2: a NUL byte at byte 12"),
        (b"Ada\tB-PER\n" + b"x" * 1_000_001 + b"\tO\n", "t.conll:2: a line of more than 1000000 bytes"),
        (
            gzip.compress(GOOD.encode(), mtime=0),
            "t.conll:1: this is gzip data; give the file a name that ends in .gz",
        ),
    ],
)
def test_bad_data_is_3_and_leaves_nothing(
    inside: Inside, tmp_path: Path, content: bytes, message: str, dry: tuple[str, ...]
):
    outcome = train(inside, content, *dry)
    line = refused(outcome, 3, "train ner")
    assert message in line, line
    assert [path.name for path in tmp_path.iterdir()] == ["t.conll"]


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_missing_files_are_2_before_a_folder_is_made(
    inside: Inside, tiny: Tiny, tmp_path: Path, dry: tuple[str, ...]
):
    refused(inside("train", "ner", "--train", "absent", *dry), 2, "train ner", "absent: no such file")
    words = ("train", "ner", "--train", tiny.train, "--dev", "absent", *dry)
    refused(inside(*words), 2, "train ner", f"{tmp_path}/absent: no such file")
    words = ("train", "ner", "--train", tiny.train, "--test", tmp_path, *dry)
    refused(inside(*words), 2, "train ner", "is a folder; expected a file")
    assert list(tmp_path.iterdir()) == []


def test_checks_come_in_their_order(inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Usage, settings, device, paths, output folder, then data: the first error is the one reported."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    (tmp_path / "bad.conll").write_text("Ada\n")
    (tmp_path / "taken" / "state").mkdir(parents=True)
    before = contents(tmp_path)
    faults: list[tuple[tuple[str, ...], tuple[str, ...], int, str]] = [
        (("--track", "paper"), (), 2, "--track paper"),
        (("--set", "model.hidden=0"), (), 2, "model.hidden"),
        (("--device", "cuda"), (), 2, "--device cuda: this machine has 0 CUDA devices"),
        (("--dev", "absent"), (), 2, "absent: no such file"),
        (("-o", "taken"), ("-o", "new"), 2, "taken: holds a run already"),
        ((), (), 3, "bad.conll:1: no tags"),
    ]
    for number, (_, _, code, message) in enumerate(faults):
        words = [word for wrong, _, _, _ in faults[number:] for word in wrong]
        right = [word for _, right, _, _ in faults[:number] for word in right]
        outcome = inside("train", "ner", "--train", "bad.conll", *words, *right)
        refused(outcome, code, "train ner", message)
    assert contents(tmp_path) == before


def manifest(tmp_path: Path) -> Any:
    return json.loads((tmp_path / "run/manifest.json").read_text())


@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        (b"\xef\xbb\xbf" + GOOD.encode(), 2),
        (GOOD.replace("\n", "\r\n").encode(), 2),
        (GOOD.rstrip("\n").encode(), 2),
        (b"\n\n \t\n" + GOOD.encode() + b"\n\n", 2),
        ("-DOCSTART-\tO\n\n" + GOOD + "A\u2028b\x0bc\x85d\tB-PER\n\n", 3),
    ],
)
def test_harmless_oddities_are_read(inside: Inside, tmp_path: Path, content: str | bytes, sentences: int):
    assert train(inside, content).code == 0
    assert manifest(tmp_path)["data"]["train"]["sentences"] == sentences
    words = (tmp_path / "run/model/words.txt").read_text(encoding="utf-8").split("\n")
    assert '"ada"' in words  # neither byte order mark nor carriage return remains in it
    # The model loads again, whatever its training entities consist of.
    assert inside("tag", "-m", "run", stdin=b"Ada\n").code == 0


def test_gzip_and_json_lines_are_training_files(inside: Inside, tmp_path: Path):
    assert train(inside, gzip.compress(GOOD.encode()), name="t.conll.gz").code == 0
    rows = [
        {"tokens": ["Ada", "lives"], "tags": ["B-PER", "O"]},
        {"text": "in Turin", "spans": [{"start": 3, "end": 8, "label": "LOC"}]},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    outcome = train(inside, text, "--overwrite", name="t.jsonl")
    assert outcome.code == 0
    assert "layout: JSON lines" in outcome.err
    tags = (tmp_path / "run/model/tags.txt").read_text()
    assert '"S-LOC"' in tags


SCHEMES = {
    "iob1": "Ada\tI-PER\nlives\tO\n\nAda\tI-PER\nGrace\tB-PER\n\n",
    "iob2": "Ada\tB-PER\nlives\tO\n\nAda\tB-PER\nGrace\tB-PER\n\n",
    "iobes": "Ada\tS-PER\nlives\tO\n\nAda\tB-PER\nGrace\tE-PER\n\n",
    "bilou": "Ada\tU-PER\nlives\tO\n\nAda\tB-PER\nGrace\tL-PER\n\n",
    "bmes": "Ada\tS-PER\nlives\tO\n\nAda\tB-PER\nM\tM-PER\nGrace\tE-PER\n\n",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_tag_scheme_is_detected_and_kept_in_the_output(inside: Inside, scheme: str):
    outcome = train(inside, SCHEMES[scheme])
    assert outcome.code == 0
    assert f"\ntags: {scheme}\n" in outcome.err
    assert f"\ntags: {scheme}\n" in train(inside, SCHEMES[scheme], "--overwrite", "--scheme", scheme).err
    out = inside("tag", "-m", "run", stdin=b"Ada Grace lives Ada\nAda\nGrace\n").out.decode()
    prefixes = {line.partition("\t")[2].partition("-")[0] for line in out.splitlines() if line}
    assert (
        prefixes
        <= {
            "iob1": set("OIB"),
            "iob2": set("OBI"),
            "iobes": set("OBIES"),
            "bilou": set("OBILU"),
            "bmes": set("OBMES"),
        }[scheme]
    )


def test_a_scheme_that_the_tags_do_not_hold_to_is_3(inside: Inside, tmp_path: Path):
    refused(
        train(inside, SCHEMES["bilou"], "--scheme", "iob2"), 3, "train ner", "t.conll:1: ", "iob2", "--repair"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (GOOD * 11 + "Rome\tI-LOC\n\n" * 21, 56),
        (GOOD + "Rome\tS-LOC\n\n", 6),
        ("a\tB-X\n\nb\tU-X\n\nc\tS-X\n\n", 3),
    ],
)
def test_tags_that_hold_to_no_scheme_are_3_with_their_line(inside: Inside, content: str, line: int):
    refused(train(inside, content), 3, "train ner", f"t.conll:{line}: ", "valid in no scheme")


def test_an_invalid_sequence_in_json_lines_is_named_by_its_line(inside: Inside):
    rows = [{"tokens": ["a"], "tags": ["O"]}, {"tokens": ["b", "c"], "tags": ["O", "I-X"]}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    outcome = train(inside, text, "--scheme", "iob2", "--strict", name="t.jsonl")
    refused(outcome, 3, "train ner", "t.jsonl:2: ", "invalid iob2 sequence")


def test_repair_fixes_and_counts(inside: Inside):
    broken = "Ada\tI-PER\nlives\tO\n\nTurin\tB-LOC\nof\tI-PER\n\n"
    refused(
        train(inside, broken, "--scheme", "iob2", "--strict"),
        3,
        "train ner",
        "t.conll:1: invalid iob2 sequence",
        "--repair",
    )
    outcome = train(inside, broken, "--scheme", "iob2", "--repair")
    assert outcome.code == 0
    assert "4 tags repaired to valid iob2 sequences" in outcome.err  # two in train, two in dev: one file


def test_an_unseen_dev_tag_is_a_warning(inside: Inside, tmp_path: Path):
    (tmp_path / "d.conll").write_text("Ada\tB-PER\n\nAcme\tB-ORG\n\nAcme\tB-ORG\nCorp\tI-ORG\n\n")
    outcome = train(inside, GOOD, "--dev", "d.conll")
    assert outcome.code == 0
    assert "dev has tags that do not occur in training; each counts as an error: " in outcome.err
    assert "B-ORG (2), I-ORG (1)" in outcome.err


def test_a_tenth_is_held_out_without_dev(inside: Inside, tmp_path: Path):
    (tmp_path / "t.conll").write_text(corpus(20, seed=1))
    outcome = inside("train", "ner", "--train", "t.conll", *QUICK)
    assert outcome.code == 0
    assert "no dev file: the last 2 of the training sentences are held out for it" in outcome.err
    parts = manifest(tmp_path)["data"]
    assert (parts["train"]["sentences"], parts["dev"]["sentences"]) == (18, 2)
    (tmp_path / "t.conll").write_text("Ada\tB-PER\n\n")
    outcome = inside("train", "ner", "--train", "t.conll", *QUICK, "--overwrite")
    refused(outcome, 3, "train ner", "one sentence cannot be split into train and dev; give --dev")


def test_long_sentences_are_left_out_of_training_and_counted(inside: Inside, tmp_path: Path):
    long = "".join(f"w{i}\tO\n" for i in range(30)) + "\n"
    outcome = train(inside, GOOD + long, "--set", "data.max_length=29")
    assert "1 training sentence of more than 29 tokens left out (data.max_length)" in outcome.err
    assert manifest(tmp_path)["data"]["train"]["sentences"] == 2
    refused(
        train(inside, long, "--set", "data.max_length=29", "--overwrite"),
        3,
        "train ner",
        "t.conll: no training sentence of at most 29 tokens; raise data.max_length",
    )


def test_parts_of_speech_are_scored_by_accuracy(inside: Inside, tmp_path: Path):
    (tmp_path / "t.conllu").write_text(
        "# text = Ada lives\n1\tAda\tAda\tPROPN\t_\t_\t0\t_\t_\t_\n2\tlives\tlive\tVERB\t_\t_\t1\t_\t_\t_\n\n"
        * 5
    )
    outcome = inside("train", "pos", "--train", "t.conllu", "--epochs", 1, *tiny_settings())
    assert (outcome.code, outcome.out) == (0, b"runs/pos/custom\n")
    assert "tags: one per token, no spans" in outcome.err
    assert "best accuracy" in outcome.err
    out = inside("tag", "--format", "inline", stdin=b"Ada lives\n").out.decode()
    assert out.split("/")[0] == "Ada"
    refused(
        inside("tag", "--min-confidence", 0.5, stdin=b"Ada\n"), 2, "tag", "tags single tokens", "--confidence"
    )


def test_columns_are_named_by_options(inside: Inside, tmp_path: Path):
    (tmp_path / "t.tsv").write_text("B-PER x Ada\nO y lives\n\n" * 3)
    words = ("--train", "t.tsv", "--dev", "t.tsv", "--token-column", 3, "--tag-column", 1)
    outcome = inside("train", "ner", *words, *QUICK)
    assert outcome.code == 0
    assert "3 columns, whitespace-separated: token = 3, tag = 1" in outcome.err
    outcome = inside("train", "pos", *words, *QUICK, "-o", "pos", "--dry-run")
    assert outcome.code == 0 and "token = 3, tag = 1" in outcome.err
    refused(
        inside("train", "pos", "--train", "t.tsv", "--tag-column", 0),
        2,
        "train pos",
        "--tag-column 0: expected",
    )


def test_tags_with_bars_are_whole_tags_and_every_token_counts(inside: Inside, tmp_path: Path):
    row = "1\tDe\tde\tDET\tLID|bep\t_\t2\tdet\t_\t_\n2\tman\tman\tNOUN\tN|soort|ev\t_\t0\troot\t_\t_\n\n"
    (tmp_path / "t.conllu").write_text(row * 4)
    words = ("--train", "t.conllu", "--dev", "t.conllu", "--tag-column", 5)
    assert inside("train", "pos", *words, *QUICK).code == 0
    assert '"N|soort|ev"' in (tmp_path / "run/model/tags.txt").read_text()
    out = inside("evaluate", "t.conllu", "-m", "run", "--bootstrap", 0).out.decode()
    assert "accuracy counts 8 of 8 tokens\n" in out


def test_a_dry_run_says_what_a_run_says_of_its_data(inside: Inside, tmp_path: Path):
    outcome = train(inside, "Ada\tO\nlives\tO\n\n" * 3, "--dry-run")
    assert outcome.code == 0
    assert "t.conll: the training part has no entity" in outcome.err
    outcome = train(inside, GOOD, "--dry-run")
    assert "dev has only 2 entities: an F1 of 0.80 on it means " in outcome.err
