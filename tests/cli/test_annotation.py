"""`data suggest`, `data suspects`, and the formats of annotation tools on the command line."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
import torch

from seqtool import api
from seqtool.nn.crf import log_partition, path_score, viterbi
from seqtool.tagging.doubt import DOUBTED, judged, suspicions
from seqtool.tagging.suggestion import NEAR
from seqtool.text.columns import TaggedSentence
from tests.cli.conftest import Tiny, tiny_settings
from tests.cli.running import Inside, refused

POOL = (
    "Ada lives in Paris .\nZorp met Quux in Blarg .\nAda lives in Paris .\nThe weather is fine .\n"
    "Zorp met Quux in Blarg !\nHopper saw Blarg .\n"
)


def suggested(out: bytes) -> list[str]:
    """The sentences of columns, as text."""
    blocks = [block.split("\n") for block in out.decode().split("\n\n") if block]
    return [" ".join(row.split("\t")[0] for row in rows if not row.startswith("# ")) for rows in blocks]


@pytest.mark.parametrize("strategy", ["path", "entropy", "spans"])
def test_what_the_model_doubts_most_comes_first(inside: Inside, tiny: Tiny, strategy: str) -> None:
    outcome = inside(
        "data", "suggest", "-m", tiny.run, "-n", 9, "--strategy", strategy, "--no-spread", stdin=POOL.encode()
    )
    assert outcome.code == 0, outcome.err
    found = suggested(outcome.out)
    tagger = api.load_tagger(tiny.run)
    lines = list(dict.fromkeys(POOL.splitlines()))
    sentences = [TaggedSentence(tuple(line.split())) for line in lines]
    worth = [getattr(each.doubt, strategy) for each in judged(tagger, sentences)]
    order = sorted(range(len(lines)), key=lambda i: (-worth[i], i))
    assert found == [lines[i] for i in order]
    assert "5 sentences" in outcome.err and f"of 6, by {strategy}" in outcome.err


@torch.no_grad()
def test_doubts_are_those_of_the_enumerated_distribution(tiny: Tiny) -> None:
    tagger = api.load_tagger(tiny.run, precision="fp32")
    sentence = TaggedSentence(("Zorp", "met", "Quux"))
    (found,) = judged(tagger, [sentence])
    ((_, scores, mask),) = tagger.score_batches([sentence])
    tags = tagger.vocabularies.tags.symbols
    total = log_partition(scores, tagger.chain, mask)
    paths = torch.tensor(list(itertools.product(range(len(tags)), repeat=3)))
    many = paths.shape[0]
    with torch.no_grad():
        each = path_score(scores.expand(many, -1, -1), tagger.chain, paths, mask.expand(many, -1))
    p = (each - total).exp()
    best = float(p.max())
    assert found.doubt.path == pytest.approx(1 - best ** (1 / 3), abs=1e-6)
    unary = torch.stack([(p[:, None] * (paths == k)).sum(0) for k in range(len(tags))], 1)
    assert found.doubt.entropy == pytest.approx(float(-torch.special.xlogy(unary, unary).sum()) / 3, abs=1e-6)
    begins = sum(float(unary[:, tags.index(tag)].sum()) for tag in tags if tag[0] in "BS")
    sure = sum(found.prediction.span_confidence or ())
    spans = len(found.prediction.spans)
    assert found.doubt.spans == pytest.approx((spans - sure) + (begins - sure), abs=1e-6)
    for token in found.tokens:
        assert token.probability < DOUBTED and token.instead_probability <= 1


def test_variants_of_a_sentence_are_not_suggested_together(inside: Inside, tiny: Tiny) -> None:
    outcome = inside("data", "suggest", "-m", tiny.run, "-n", 9, stdin=POOL.encode())
    found = suggested(outcome.out)
    words = [frozenset(line.lower().split()) for line in found]
    pairs = [(a, b) for n, a in enumerate(words) for b in words[:n]]
    assert all(len(a & b) / len(a | b) < NEAR for a, b in pairs)
    assert len(set(found)) == len(found) and len(found) >= 3


def test_suggestions_are_read_back_as_training_data(inside: Inside, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "pool.txt").write_text(POOL)
    for form, name in (
        ("conll", "n.conll"),
        ("jsonl", "n.jsonl"),
        ("label-studio", "n.json"),
        ("brat", "n.ann"),
    ):
        outcome = inside("data", "suggest", "pool.txt", "-m", tiny.run, "-n", 3, "--format", form, "-o", name)
        assert outcome.code == 0, outcome.err
        report = inside("data", "check", name, "--json")
        assert report.code == 0, report.err
        assert json.loads(report.out)["files"][0]["sentences"] >= 3


def test_annotated_sentences_are_left_out_and_chance_is_repeatable(
    inside: Inside, tiny: Tiny, tmp_path: Path
) -> None:
    (tmp_path / "pool.txt").write_text(POOL)
    (tmp_path / "known.conll").write_text("Ada\tB-PER\nlives\tO\nin\tO\nParis\tB-LOC\n.\tO\n")
    outcome = inside("data", "suggest", "pool.txt", "-m", tiny.run, "--annotated", "known.conll")
    assert "Ada lives in Paris ." not in suggested(outcome.out)
    assert "of 6, 2 of them annotated already" in outcome.err
    draw = ("data", "suggest", "pool.txt", "-m", tiny.run, "-n", 2, "--strategy", "random")
    assert inside(*draw, "--seed", 3).out == inside(*draw, "--seed", 3).out
    orders = {inside(*draw, "--seed", seed).out for seed in range(5)}
    assert len(orders) > 1
    refused(
        inside("data", "suggest", "pool.txt", "-m", tiny.run, "--seed", 3),
        2,
        "data suggest",
        "--seed has no effect with --strategy path",
    )


def test_comments_say_what_is_doubted(inside: Inside, tiny: Tiny) -> None:
    outcome = inside("data", "suggest", "-m", tiny.run, "-n", 1, stdin=b"Zorp met Quux in Blarg .\n")
    lines = outcome.out.decode().split("\n")
    assert lines[0].startswith("# doubt = ")
    noted = [line for line in lines if line.startswith("# doubted = ")]
    value = json.loads(
        inside(
            "data", "suggest", "-m", tiny.run, "--format", "jsonl", stdin=b"Zorp met Quux in Blarg .\n"
        ).out
    )
    assert [line.removeprefix("# doubted = ") for line in noted] == value["doubts"]
    assert value["text"] == "Zorp met Quux in Blarg ." and 0 <= value["doubt"] <= 1


def test_the_most_suspicious_annotation_comes_first(inside: Inside, tiny: Tiny, tmp_path: Path) -> None:
    good = "Ada\tB-PER\nlives\tO\nin\tO\nParis\tB-LOC\n.\tO\n"
    wrong = "Ada\tO\nlives\tO\nin\tO\nParis\tB-PER\n.\tO\n"
    (tmp_path / "f.conll").write_text(f"{good}\n{wrong}\n{good}")
    outcome = inside("data", "suspects", "f.conll", "-m", tiny.run, "-n", 1)
    first = outcome.out.decode().split("\n")
    assert first[0].startswith("f.conll:7\t") and "annotated Ada lives in [PER Paris]" in first[1]
    assert "model     [PER Ada] lives in [LOC Paris]" in first[2]
    assert "3 sentences; for 1 other tags are more probable" in outcome.err
    values = [
        json.loads(line)
        for line in inside("data", "suspects", "f.conll", "-m", tiny.run, "--json").out.splitlines()
    ]
    assert values[0]["line"] == 7 and values[0]["differing"] == [0, 3]
    tagger = api.load_tagger(tiny.run)
    sentence = TaggedSentence(("Ada", "lives"), ("O", "O"))
    (found,) = suspicions(tagger, [sentence])
    ((_, scores, mask),) = tagger.score_batches([sentence])
    tags = torch.tensor([[tagger.vocabularies.tags.id("O")] * 2])
    with torch.no_grad():
        expected = viterbi(scores, tagger.chain, mask)[1] - path_score(scores, tagger.chain, tags, mask)
    assert found.odds == pytest.approx(float(expected), abs=1e-6)


def test_a_tag_that_the_model_does_not_have_is_most_suspicious(tiny: Tiny) -> None:
    tagger = api.load_tagger(tiny.run)
    (found,) = suspicions(tagger, [TaggedSentence(("Ada",), ("S-GOD",))])
    assert math.isinf(found.odds)
    (partial,) = suspicions(tagger, [TaggedSentence(("Ada", "lives"), ("?", "?"))])
    assert partial.gold == pytest.approx(0.0, abs=1e-6) and partial.odds == pytest.approx(0.0, abs=1e-6)


def test_without_a_model_each_part_is_judged_by_the_others(
    inside: Inside, tiny: Tiny, tmp_path: Path
) -> None:
    outcome = inside("data", "suspects", tiny.train, "--folds", 2, "--max-minutes", 0.02, "-n", 2)
    assert outcome.code == 0, outcome.err
    assert "part 2 of 2: training on the other" in outcome.err and outcome.out.count(b"annotated") == 2
    refused(
        inside("data", "suspects", tiny.train, "-m", tiny.run, "--folds", 2),
        2,
        "data suspects",
        "--folds has no effect with -m",
    )
    half = inside("data", "suspects", tiny.train, "--folds", 2, "--precision", "fp16")
    refused(half, 2, "data suspects", "fp16")
    (tmp_path / "two.conll").write_text("Ada\tB-PER\n\nBo\tO\n")
    refused(inside("data", "suspects", "two.conll"), 3, "data suspects", "2 sentences; expected at least 10")


def test_tools_are_for_entities_and_brat_for_a_pair_of_files(inside: Inside, tiny: Tiny) -> None:
    refused(
        inside("tag", "-m", tiny.run, "--format", "brat", stdin=b"Ada\n"),
        2,
        "tag",
        "--format brat writes a pair of files",
    )
    outcome = inside(
        "tag", "-m", tiny.run, "--format", "brat", "-o", "x.ann", stdin=b"Ada lives in Paris .\n\nBo\n"
    )
    assert outcome.code == 0, outcome.err
    folder = Path(tiny.folder)
    del folder
    converted = inside("data", "convert", "x.ann", "x.conll")
    assert converted.code == 0, converted.err


def test_several_models_tag_together(inside: Inside, tiny: Tiny) -> None:
    alone = inside("tag", "-m", tiny.run, stdin=POOL.encode()).out
    assert inside("tag", "-m", tiny.run, "-m", tiny.run, stdin=POOL.encode()).out == alone


def test_models_that_do_not_fit_together_are_named_by_their_paths(inside: Inside, tiny: Tiny) -> None:
    Path("other.conll").write_text("Ada B-ROBOT\nsleeps O\n\n" * 12)
    assert inside("train", "ner", "--train", "other.conll", *tiny_settings(), "-o", "other").code == 0
    outcome = inside("tag", "-m", tiny.run, "-m", "other", stdin=POOL.encode())
    refused(outcome, 2, "tag", f"{tiny.run} and other: have different tags (")
