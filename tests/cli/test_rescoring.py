"""`seqtool translate --lm` and `seqtool evaluate --lm`: outputs reordered by a language model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli import program
from tests.cli.conftest import TinyTranslator, lm_words
from tests.cli.running import Inside, refused
from tests.translation.tiny_pairs import TEXTS

LINES = "".join(f"{source}\n" for source, _ in (*TEXTS, ("Turing left the engine .", ""), ("", "")))
REMEDY = "choose the weight of the language model yourself, as in --lm-weight 0.3"


@pytest.fixture(scope="module")
def german(pairs: TinyTranslator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model of the targets, each line by itself."""
    folder = tmp_path_factory.mktemp("german")
    data = ("--train", pairs.target, "--dev", pairs.target, *lm_words("data.documents=line"))
    done = program.inside("train", "lm", *data, "--max-steps", 30, "-o", "run", folder=folder)
    assert done.code == 0, done.err
    return folder / "run"


def rows(out: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.decode().splitlines()]


def test_scores_are_those_of_both_models_and_the_totals_of_lm_score(
    inside: Inside, pairs: TinyTranslator, german: Path
) -> None:
    words = ("translate", "-m", pairs.poor, "--beam", 4, "--nbest", 4, "--format", "jsonl")
    plain = inside(*words, "--length-penalty", 0, stdin=LINES.encode())
    both = inside(*words, "--length-penalty", 0, "--lm", german, "--lm-weight", 1.5, stdin=LINES.encode())
    assert (plain.code, both.code) == (0, 0), both.err
    moved = 0
    for before, after in zip(rows(plain.out), rows(both.out), strict=True):
        assert before["source"] == after["source"]
        first, second = before.get("nbest"), after.get("nbest")
        assert isinstance(first, list) and isinstance(second, list)
        if not after["source"]:
            assert first == second == [{"text": "", "score": 0.0}]
            continue
        texts = "".join(f"{each['text']}\n" for each in first)
        scored = inside("lm", "score", "-m", german, "--protocol", "cold", stdin=texts.encode())
        nats = [float(str(row["nats"])) for row in rows(scored.out)]
        assert scored.code == 0
        expected = [
            (each["score"] - 1.5 * cost, each["text"]) for each, cost in zip(first, nats, strict=True)
        ]
        found = [(each["score"], each["text"]) for each in second]
        assert [score for score, _ in found] == pytest.approx(
            sorted((score for score, _ in expected), reverse=True), abs=1e-4
        )
        assert sorted(text for _, text in found) == sorted(text for _, text in expected)
        by_text = {each["text"]: cost for each, cost in zip(first, nats, strict=True)}
        for each in second:
            assert each["lm_log_probability"] == pytest.approx(-by_text[each["text"]], abs=1e-4)
        moved += [each["text"] for each in first] != [each["text"] for each in second]
    assert moved


def test_a_weight_of_0_prints_the_same_bytes(inside: Inside, pairs: TinyTranslator, german: Path) -> None:
    for words in ((), ("--nbest", 2), ("--scores", "--alignments"), ("--format", "jsonl")):
        plain = inside("translate", "-m", pairs.poor, *words, stdin=LINES.encode())
        same = inside(
            "translate", "-m", pairs.poor, *words, "--lm", german, "--lm-weight", 0, stdin=LINES.encode()
        )
        assert (same.code, same.out) == (0, plain.out)
        assert same.err.startswith("the language model is not asked, since its weight is 0\n")
        assert "reordered" not in same.err


def test_line_by_line_is_as_all_at_once(inside: Inside, pairs: TinyTranslator, german: Path) -> None:
    words = ("translate", "-m", pairs.poor, "--beam", 3, "--lm", german, "--lm-weight", 0.8)
    whole = inside(*words, stdin=LINES.encode())
    assert whole.out == inside(*words, "--batch-tokens", 1, stdin=LINES.encode()).out
    assert whole.out == b"".join(
        inside(*words, stdin=f"{line}\n".encode()).out for line in LINES.split("\n")[:-1]
    )
    assert whole.out != inside("translate", "-m", pairs.poor, "--beam", 3, stdin=LINES.encode()).out
    assert f"the outputs of the beam are reordered by {german}, weight 0.8" in whole.err
    assert f"(beam 3, length penalty average 1, reordered by {german}, weight 0.8, fp32)" in whole.err


def test_an_ensemble_is_reordered(inside: Inside, pairs: TinyTranslator, german: Path) -> None:
    words = ("translate", pairs.source, "-m", pairs.run, "-m", pairs.poor, "--lm", german)
    found = inside(*words, "--lm-weight", 0.1)
    assert found.code == 0, found.err
    assert found.out == inside(*words[:-2]).out  # of pairs that the first has memorised


def test_auto_says_what_it_chose_and_the_weight_that_it_names_gives_the_same(
    inside: Inside, pairs: TinyTranslator, german: Path
) -> None:
    words = ("translate", pairs.source, "-m", pairs.poor, "--beam", 4, "--lm", german)
    found = inside(*words)
    first, second, *_ = found.err.splitlines()
    assert first == "choosing the weight of the language model on the development part (--lm-weight auto)"
    line = re.fullmatch(
        r"weight (\S+) of the language model: bleu on dev is (\S+), (\S+) without it; "
        r"--lm-weight \1 skips this choice",
        second,
    ) or re.fullmatch(r"weight (0): bleu on dev is .*", second)
    assert line, second
    again = inside(*words, "--lm-weight", line[1])
    assert again.out == found.out
    assert inside(*words, "--lm-weight", "auto").out == found.out


def test_an_evaluation_scores_the_reordered_outputs(
    inside: Inside, pairs: TinyTranslator, german: Path
) -> None:
    words = ("-m", pairs.poor, "--beam", 4, "--lm", german, "--lm-weight", 1.5)
    translated = inside("translate", pairs.source, *words)
    Path("out").write_bytes(translated.out)
    of_file = inside(
        "evaluate", pairs.source, pairs.target, "--predictions", "out", "--bootstrap", 0, "--json"
    )
    found = inside("evaluate", *words, "--bootstrap", 0, "--json")
    assert found.code == 0, found.err
    report = json.loads(found.out)
    assert report["metrics"] == json.loads(of_file.out)["metrics"]
    assert report["search"] == f"beam 4, length penalty average 1, reordered by {german}, weight 1.5, fp32"
    plain = inside("evaluate", "-m", pairs.poor, "--beam", 4, "--bootstrap", 0, "--json")
    assert json.loads(plain.out)["metrics"] != report["metrics"]
    compared = inside("evaluate", *words, "--against", pairs.poor)
    assert compared.code == 0, compared.err
    assert compared.out.decode().count("reordered by") == 1
    assert f"exact_match of {pairs.poor} with {german} minus exact_match of {pairs.poor}:" in " ".join(
        compared.out.decode().split()
    )
    on_dev = inside("evaluate", "-m", pairs.poor, "--part", "dev", "--lm", german, "--bootstrap", 0)
    assert on_dev.code == 0, on_dev.err
    assert "is chosen on dev, so its gain there says nothing about other data" in on_dev.err


def test_what_has_no_meaning_is_refused(inside: Inside, pairs: TinyTranslator, german: Path) -> None:
    with_lm = ("--lm", german)
    for words, message in (
        (("--lm-weight", 0.3), "is the weight of a language model; name one with --lm, or leave it out"),
        ((*with_lm, "--lm-weight", "much"), "--lm-weight much: expected auto, or a number of 0 or more"),
        ((*with_lm, "--lm-weight", "-1"), "--lm-weight -1: expected auto, or a number of 0 or more"),
        ((*with_lm, "--lm-weight", "nan"), "--lm-weight nan: expected auto"),
        ((*with_lm, "--beam", 1), "--lm reorders the outputs of a beam, and the beam is 1; use --beam 5"),
        ((*with_lm, "--sample"), "--lm has no effect with --sample or --mbr; leave it out"),
        ((*with_lm, "--mbr", 4), "--lm has no effect with --sample or --mbr; leave it out"),
        ((*with_lm, "--force-target", pairs.target), "--lm has no effect with --force-target; leave it out"),
        (("--lm", "nothing"), "nothing: no such"),
    ):
        refused(inside("translate", pairs.source, "-m", pairs.run, *words), 2, "translate", message)
    outcome = inside("translate", pairs.source, "-m", pairs.run, "--lm", pairs.poor)
    message = f"--lm {pairs.poor}: a model for translate; name one that `seqtool train lm` has made"
    refused(outcome, 4, "translate", message)
    for words, message in (
        (("-m", pairs.run, "--lm-weight", 0.3), "name one with --lm, or leave it out"),
        (("-m", pairs.run, *with_lm, "--beam", 1), "the beam is 1; use a larger one, such as --beam 5"),
        (("-m", german, *with_lm), "--lm is for translators only"),
        ((pairs.source, pairs.target, "--predictions", pairs.target, *with_lm), "--lm has no effect with"),
    ):
        refused(inside("evaluate", *words), 2, "evaluate", message)


def test_auto_without_the_files_of_the_run_names_the_remedy(
    inside: Inside, pairs: TinyTranslator, german: Path
) -> None:
    outcome = inside("translate", pairs.source, "-m", pairs.run / "model", "--lm", german)
    assert outcome.code == 0, outcome.err  # the recipe stands beside it
    Path("alone").symlink_to(pairs.run / "model")
    outcome = inside("translate", pairs.source, "-m", "alone", "--lm", german)
    refused(outcome, 2, "translate", f"alone: no recipe beside the model; {REMEDY}")


def test_help_names_the_options_and_the_default(inside: Inside) -> None:
    for command in ("translate", "evaluate"):
        out = " ".join(inside(command, "-h").out.decode().split())
        assert "--lm MODEL" in out
        assert "auto = the best of eight from 0 to 1" in out
