"""`seqtool train lm`, `lm sample` and `lm score`: their output for given input."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import LM_TEXT as TEXT
from tests.cli.conftest import Inside, TinyModel
from tests.cli.conftest import lm_words as words
from tests.cli.running import assert_error, environment, refused


def test_training_prints_the_path_and_shows_samples(lm: TinyModel) -> None:
    assert lm.training.lines == ["run"]
    assert "dev: nats_per_character " in lm.training.err
    assert "perplexity" not in lm.training.err  # exp(nats per character): the same quantity once more
    assert "sample: " in lm.training.err
    assert "vocabulary: 19 symbols (character)" in lm.training.err
    assert sorted(path.name for path in (lm.run / "model").iterdir()) == [
        "README.md",
        "config.json",
        "manifest.json",
        "model.safetensors",
        "symbols.vocabulary",
    ]


def test_a_text_that_was_learned_by_heart_is_written(inside: Inside, lm: TinyModel) -> None:
    outcome = inside("lm", "sample", "-m", lm.run, "--length", 40, "--temperature", 0, "--prompt", "the cat")
    assert outcome.code == 0
    assert outcome.out.decode().startswith("the cat sat on the mat.\nthe dog sat on the")
    assert outcome.out.endswith(b"\n")
    assert "40 symbols" in outcome.err
    assert "symbols/s" in outcome.err


def test_the_same_seed_writes_the_same_and_is_said(inside: Inside, lm: TinyModel) -> None:
    first, second = (inside("lm", "sample", "-m", lm.run, "--length", 80, "--seed", 5) for _ in range(2))
    assert first.out == second.out
    assert first.err.startswith("seed 5, fp32; ")
    assert inside("lm", "sample", "-m", lm.run, "--length", 80, "--seed", 6).out != first.out
    clock = inside("lm", "sample", "-m", lm.run, "--length", 80)
    seed = clock.err.split(",")[0].removeprefix("seed ")
    assert inside("lm", "sample", "-m", lm.run, "--length", 80, "--seed", seed).out == clock.out


def test_the_arithmetic_can_be_chosen_and_is_said(inside: Inside, lm: TinyModel) -> None:
    words = ("lm", "sample", "-m", lm.run, "--prompt", "the cat", "--length", 40, "--temperature", 0)
    exact = inside(*words, "--precision", "fp32")
    for precision in ("int8", "bf16"):
        other = inside(*words, "--precision", precision)
        assert other.out == exact.out  # memorised
        assert f", {precision}; 40 symbols" in other.err
    refused(inside(*words[:-2], "--precision", "int9"), 2, "lm sample", "precision int9: expected")
    refused(
        inside(*words[:-2], "--precision", "int8", "--beam", 2),
        2,
        "lm sample",
        "cannot be combined with --beam",
    )


def test_a_text_ends_with_what_it_shall_stop_at(inside: Inside, lm: TinyModel) -> None:
    words = ("lm", "sample", "-m", lm.run, "--prompt", "the", "--temperature", 0, "--stop", "mat.")
    alone = inside(*words, "--length", 300).out.decode()
    assert alone.endswith("mat.\n")
    assert alone.count("mat.") == 1
    several = inside(*words, "--stop", "sat", "-n", 3, "--length", 300).out.decode()
    text = alone[: alone.index("sat") + 3] + "\n"
    assert several == "\n".join([text] * 3)


def test_the_first_symbol_may_end_a_text(inside: Inside, lm: TinyModel) -> None:
    words = (
        "lm",
        "sample",
        "-m",
        lm.run,
        "--temperature",
        0,
        "--length",
        30,
        "--prompt",
        "the ca",
        "--stop",
        "t",
    )
    assert inside(*words).out == b"the cat\n"
    assert inside(*words, "-n", 2).out == b"the cat\n\nthe cat\n"


def test_several_texts_differ_and_the_first_is_the_one_alone(inside: Inside, lm: TinyModel) -> None:
    words = ("lm", "sample", "-m", lm.run, "--seed", 2, "--temperature", 1.5, "--length", 30)
    alone, several = inside(*words), inside(*words, "-n", 4)
    assert several.out.startswith(alone.out.rstrip(b"\n"))
    assert "120 symbols" in several.err


def test_a_saved_state_goes_on_and_forks(inside: Inside, lm: TinyModel) -> None:
    words = ("lm", "sample", "-m", lm.run, "--seed", 4)
    whole = inside(*words, "--length", 60).out
    first = inside(*words, "--length", 25, "--save-state", "here").out
    rest = inside(*words, "--length", 35, "--load-state", "here").out
    assert first[:-1] + rest == whole
    fork = inside("lm", "sample", "-m", lm.run, "--seed", 5, "--length", 35, "--load-state", "here").out
    assert fork != rest
    (Path.cwd() / "text").write_text("no state")
    refused(inside("lm", "sample", "-m", lm.run, "--load-state", "text"), 4, "lm sample", "truncated, or not")
    refused(inside("lm", "sample", "-m", lm.run, "--load-state", "nowhere"), 2, "lm sample", "no such file")


def test_beam_search_writes_a_probable_text_and_draws_nothing(inside: Inside, lm: TinyModel) -> None:
    words = ("lm", "sample", "-m", lm.run, "--prompt", "the dog", "--length", 16)
    assert inside(*words, "--beam", 3).out.decode() == "the dog sat on the log.\n\n"[:24]
    refused(
        inside(*words, "--beam", 3, "--temperature", 0.5, "-n", 2),
        2,
        "lm sample",
        "--temperature, --count has no effect with --beam",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--temperature", "-1"), "temperature"),
        (("--temperature", "nan"), "'nan'"),
        (("--top-p", "0"), "top-p 0"),
        (("--top-p", "1.5"), "top-p 1.5"),
        (("--min-p", "2"), "min-p 2"),
        (("--typical", "0"), "typical 0"),
        (("--length", "0"), "length"),
        (("-n", "2", "--save-state", "x"), "--save-state saves the state of one text"),
        (("--stop", ""), "--stop '': expected a text to stop after; leave it out to write --length symbols"),
        (("--stop", "a", "--stop", ""), "--stop ''"),
        (("--prompt", "a", "--prompt-file", "f"), "--prompt and --prompt-file both give the prompt"),
        (("--prompt-file", "absent"), "absent: no such file"),
    ],
)
def test_options_out_of_range_are_refused(
    inside: Inside, lm: TinyModel, arguments: tuple[str, ...], message: str
) -> None:
    refused(inside("lm", "sample", "-m", lm.run, *arguments), 2, "lm sample", message)


def test_a_prompt_with_an_unseen_character_is_bad_data(inside: Inside, lm: TinyModel) -> None:
    refused(
        inside("lm", "sample", "-m", lm.run, "--prompt", "the 猫"),
        3,
        "lm sample",
        "no symbol for the character '猫'",
    )


def test_a_prompt_comes_from_a_file_or_from_standard_input(
    inside: Inside, lm: TinyModel, tmp_path: Path
) -> None:
    words = ("lm", "sample", "-m", lm.run, "--length", 20, "--temperature", 0)
    expected = inside(*words, "--prompt", "the end.\nthe").out
    (tmp_path / "prompt.txt").write_text("the end.\nthe\n")
    (tmp_path / "prompt.gz").write_bytes(gzip.compress(b"the end.\nthe"))
    assert inside(*words, "--prompt-file", "prompt.txt").out == expected
    assert inside(*words, "--prompt-file", "prompt.gz").out == expected
    assert inside(*words, "--prompt-file", "-", stdin=b"the end.\nthe\n").out == expected
    (tmp_path / "prompt.txt").write_text("\n")
    assert inside(*words, "--prompt-file", "prompt.txt").out == inside(*words).out
    (tmp_path / "prompt.txt").write_text("the \u732b\n")
    done = inside(*words, "--prompt-file", "prompt.txt")
    refused(
        done, 3, "lm sample", "--prompt-file prompt.txt: the model has no symbol for the character '\u732b'"
    )


def test_the_advice_about_an_unknown_word_can_be_followed(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the company will buy shares\n<unk> said N\n" * 20)
    files = ("train", "lm", "--train", "text.txt", "--dev", "text.txt", "--max-steps", 1)
    assert inside(*files, *words("vocabulary.kind=word"), "-o", "words").code == 0
    sample = ("lm", "sample", "--length", 5, "--seed", 1, "--prompt", "the zebra")
    done = inside(*sample, "-m", "words")
    line = refused(done, 3, "lm sample", "no symbol for the word 'zebra'; use words of its training text")
    advice = line[line.index("--set ") :].split()
    assert inside(*files, *words(), *advice, "-o", "bytes").code == 0
    assert inside(*sample, "-m", "bytes").code == 0


def test_models_of_other_tasks_are_refused(inside: Inside, lm: TinyModel) -> None:
    refused(inside("tag", "-m", lm.run, stdin=b"a\n"), 4, "tag", "a model for lm")
    refused(inside("lm", "sample"), 2, "lm sample", "`seqtool train lm`")


def test_characters_come_one_by_one(lm: TinyModel) -> None:
    """The first text is written long before the last; a reader that leaves ends the program quietly."""
    command = [sys.executable, "-m", "seqtool", "lm", "sample", "-m", str(lm.run), "--length", "10000000"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=lm.folder
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert len(process.stdout.read(20)) == 20
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == b""


def test_lines_are_scored_as_they_come_and_add_up(inside: Inside, lm: TinyModel) -> None:
    outcome = inside("lm", "score", "-m", lm.run, stdin=TEXT.encode())
    rows = [json.loads(line) for line in outcome.lines]
    assert [row["text"] for row in rows] == TEXT.split("\n")[:-1]
    assert [row["line"] for row in rows] == list(range(1, len(rows) + 1))
    total = sum(row["nats"] for row in rows)
    assert f"{total:,.1f} nats" in outcome.err
    assert f"{total / math.log(2) / len(TEXT):.4f} bits per character" in outcome.err
    assert total / len(TEXT) < 0.3


def test_symbols_are_shown_with_their_log_probabilities(inside: Inside, lm: TinyModel) -> None:
    (row,) = map(json.loads, inside("lm", "score", "-m", lm.run, "--per-token", stdin=b"the cat\n").lines)
    assert "".join(symbol for symbol, _ in row["log_probabilities"]) == "the cat\n"
    assert math.isclose(-sum(value for _, value in row["log_probabilities"]), row["nats"], abs_tol=1e-4)


def test_columns_are_one_line_a_line(inside: Inside, lm: TinyModel) -> None:
    words = ("lm", "score", "-m", lm.run, "--format", "tsv")
    (row,) = (line.split("\t") for line in inside(*words, stdin=b"the cat\n").lines)
    assert (row[0], row[3], len(row)) == ("1", "the cat", 4)
    assert math.isclose(float(row[1]) / math.log(2) / len("the cat\n"), float(row[2]), abs_tol=1e-5)
    refused(
        inside(*words, "--per-token", stdin=b"the cat\n"), 2, "lm score", "--per-token has no effect with"
    )


def test_a_state_needs_a_folder_before_anything_is_written(inside: Inside, lm: TinyModel) -> None:
    outcome = inside("lm", "sample", "-m", lm.run, "--save-state", "absent/state")
    refused(outcome, 2, "lm sample", "absent/state: there is no folder absent; make it with: mkdir -p absent")
    outcome = inside("lm", "sample", "-m", lm.run, "--save-state", ".")
    refused(outcome, 2, "lm sample", ".: is a folder; expected a file to write")


def test_colours_need_no_symbols_beside_them(inside: Inside, lm: TinyModel) -> None:
    words = ("lm", "score", "-m", lm.run, "--format", "colour")
    shown = inside(*words, stdin=b"the cat\n")
    assert (shown.code, "the cat" in shown.out.decode()) == (0, True)
    unknown = inside(*words, stdin="the 漢字 cat\n".encode())
    assert "the 漢字 cat" in unknown.out.decode()
    refused(
        inside(*words, "--per-token", stdin=b"the cat\n"), 2, "lm score", "--per-token has no effect with"
    )


def test_cold_lines_know_nothing_of_each_other(inside: Inside, lm: TinyModel) -> None:
    words = ("lm", "score", "-m", lm.run, "--protocol", "cold")
    both = [json.loads(line)["nats"] for line in inside(*words, stdin=b"the cat\nsat on\n").lines]
    alone = [json.loads(line)["nats"] for line in inside(*words, stdin=b"sat on\n").lines]
    assert both[1] == alone[0]
    stream = inside("lm", "score", "-m", lm.run, stdin=b"the cat\nsat on\n").lines
    assert json.loads(stream[1])["nats"] != alone[0]


def test_the_strangest_lines_come_first(inside: Inside, lm: TinyModel) -> None:
    text = TEXT + "tac eht tam\n" + TEXT
    outcome = inside("lm", "score", "-m", lm.run, "--top", 2, stdin=text.encode())
    rows = [json.loads(line) for line in outcome.lines]
    assert rows[0]["text"] == "tac eht tam"
    assert len(rows) == 2
    assert rows[0]["bits_per_character"] >= rows[1]["bits_per_character"]
    assert f"{len(text.splitlines())} lines" in outcome.err


def test_empty_input_and_files_of_gzip(inside: Inside, lm: TinyModel) -> None:
    empty = inside("lm", "score", "-m", lm.run, stdin=b"")
    assert (empty.code, empty.out, empty.err) == (0, b"", "0 lines\n")
    Path("text.gz").write_bytes(gzip.compress(TEXT.encode()))
    assert (
        inside("lm", "score", "text.gz", "-m", lm.run).out == inside("lm", "score", lm.text, "-m", lm.run).out
    )


def test_unknown_characters_are_counted_not_refused(inside: Inside, lm: TinyModel) -> None:
    outcome = inside("lm", "score", "-m", lm.run, stdin="the 猫\n".encode())
    assert json.loads(outcome.lines[0])["unknown"] == 1
    assert "unknown to the model: 1" in outcome.err


def test_lm_score_says_when_a_text_is_too_short_to_be_learned_from(inside: Inside, lm: TinyModel) -> None:
    words = ("lm", "score", "-m", lm.run, "--adapt")
    short = inside(*words, stdin=b"the cat\n")
    assert "the text has 8 symbols, so there was no update" in short.err
    assert "there was no update" not in inside(*words, stdin=TEXT.encode()).err


def test_a_bad_byte_comes_after_the_lines_before_it(inside: Inside, lm: TinyModel) -> None:
    outcome = inside("lm", "score", "-m", lm.run, stdin=b"the cat\n\xff\n")
    assert_error(outcome, 3, "lm score", "not UTF-8 at byte 8")
    assert len(outcome.lines) == 1


def test_training_goes_on_where_it_stopped(inside: Inside, lm: TinyModel) -> None:
    files = ("--train", lm.text, "--dev", lm.text, *words("training.schedule=constant"))
    whole = inside("train", "lm", *files, "--max-steps", 12, "-o", "whole")
    assert whole.code == 0, whole.err
    assert inside("train", "lm", *files, "--max-steps", 7, "-o", "parts").code == 0
    again = inside("train", "lm", *files, "--max-steps", 12, "-o", "parts", "--resume")
    assert again.code == 0, again.err
    first, second = (Path(name, "model", "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert first == second


def test_lines_as_documents_are_written_one_a_line(inside: Inside) -> None:
    Path("names.txt").write_text("".join(f"{name}\n" for name in ("anna", "bertha", "carl", "dora") * 40))
    settings = words("data.documents=line", "training.curriculum=length", "data.dev_share=0.2")
    made = inside("train", "lm", "--train", "names.txt", *settings, "--max-steps", 60, "-o", "run")
    assert made.code == 0, made.err
    lines = inside("lm", "sample", "-m", "run", "-n", 5, "--seed", 1).out.decode().splitlines()
    assert len(lines) == 5
    assert all(lines)
    likeliest = inside("lm", "sample", "-m", "run", "--beam", 2, "--length", 30).out.decode()
    assert likeliest.count("\n") == 1  # a document ends with its line


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"", 3, "contains no text"),
        (b" \n\n", 3, "contains no text"),
        (b"\xff\xfea\x00", 3, "UTF-16"),
        (b"a\x00b\n", 3, "NUL byte"),
        (b"ab\n\xc3(\n", 3, "not UTF-8 at byte 3"),
    ],
)
def test_training_text_that_is_none_is_refused(
    inside: Inside, content: bytes, code: int, message: str
) -> None:
    Path("text").write_bytes(content)
    refused(inside("train", "lm", "--train", "text", "-o", "run"), code, "train lm", message)
    refused(inside("train", "lm", "--train", "missing", "-o", "run"), 2, "train lm", "no such file")


def test_words_have_the_bits_of_their_symbols(inside: Inside, lm: TinyModel) -> None:
    (row,) = map(
        json.loads, inside("lm", "score", "-m", lm.run, "--per-word", stdin="the  cät sat\n".encode()).lines
    )
    assert [word for word, _ in row["words"]] == ["the", "cät", "sat", "\n"]
    assert math.isclose(sum(bits for _, bits in row["words"]), row["nats"] / math.log(2), abs_tol=1e-4)
    tabs = inside("lm", "score", "-m", lm.run, "--per-word", "--format", "tsv", stdin=b"the\n")
    refused(tabs, 2, "lm score", "--per-word has no effect with --format colour")


def test_colours_are_explained_beside_the_text(inside: Inside, lm: TinyModel) -> None:
    outcome = inside("lm", "score", "-m", lm.run, "--format", "colour", stdin=b"the cat\n")
    assert outcome.err.startswith("bits per character stand before each line; a symbol is dim below 1 bit")


def test_a_text_in_place_of_a_file_is_told_how_to_be_scored(inside: Inside) -> None:
    message = "We are hungry: no such file; to score a text, write: echo 'We are hungry' | seqtool lm score"
    refused(inside("lm", "score", "We are hungry"), 2, "lm score", message)


def test_a_language_model_has_no_attention_but_states_and_gates(inside: Inside, lm: TinyModel) -> None:
    outcome = inside("inspect", "attention", "-m", lm.run, stdin=b"the cat\n")
    refused(
        outcome, 4, "inspect attention", f"seqtool inspect states -m {lm.run}, or seqtool inspect gates -m"
    )


# --- evaluate ---


def evaluated(inside: Inside, *words: object) -> dict[str, Any]:
    outcome = inside("evaluate", *words, "--json")
    assert outcome.code == 0, outcome.err
    found: dict[str, Any] = json.loads(outcome.out)
    return found


def test_evaluation_adds_up_every_symbol(inside: Inside, lm: TinyModel) -> None:
    found = evaluated(inside, "-m", lm.run)
    rows = [json.loads(line) for line in inside("lm", "score", lm.text, "-m", lm.run).lines]
    nats = sum(row["nats"] for row in rows) / len(TEXT)
    metrics = found["metrics"]
    assert math.isclose(metrics["nats_per_character"], nats, abs_tol=1e-5)
    assert math.isclose(metrics["bits_per_character"], nats / math.log(2), abs_tol=1e-5)
    assert math.isclose(metrics["perplexity"], math.exp(nats), abs_tol=1e-4)
    assert found["fingerprint"]["characters"] == len(TEXT)
    assert found["fingerprint"]["protocol"] == "streaming"
    assert set(found["yardsticks"]) == {"kneser_ney", "xz"}


def test_protocols_are_named_and_differ(inside: Inside, lm: TinyModel) -> None:
    words = ("-m", lm.run, "--no-baselines", "--bootstrap", 0)
    plain = evaluated(inside, *words)
    found = {
        flag: evaluated(inside, *words, *flag.split())
        for flag in ("--protocol cold", "--adapt", "--cache", "--adapt --cache")
    }
    names = {each["fingerprint"]["protocol"] for each in (plain, *found.values())}
    assert len(names) == 5
    figures = {each["metrics"]["nats_per_character"] for each in (plain, *found.values())}
    assert len(figures) == 5
    assert plain["yardsticks"] == {}


def test_the_former_name_of_baselines_works_with_a_warning(inside: Inside, lm: TinyModel) -> None:
    words = ("evaluate", "-m", lm.run, "--bootstrap", 0, "--json")
    before = inside(*words, "--no-yardsticks")
    assert before.out == inside(*words, "--no-baselines").out
    assert before.err.splitlines()[0] == "warning: --no-yardsticks is now called --no-baselines"
    assert "yardsticks" not in inside("evaluate", "-h").out.decode()


def test_a_mixture_is_no_worse_than_its_parts_on_dev(inside: Inside, lm: TinyModel) -> None:
    found = evaluated(inside, "-m", lm.run, "--part", "dev", "--interpolate", "--bootstrap", 0)
    parts = (found["metrics"]["nats_per_character"], found["yardsticks"]["kneser_ney"])
    assert found["mixture"]["nats_per_character"] <= min(parts) + 1e-6


def test_a_network_that_time_stopped_is_advised_to_take_more_of_it(
    inside: Inside, lm: TinyModel, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    limits = ("--max-minutes", 0.002, "--lr", 1e-4, "-o", "run")
    done = inside("train", "lm", "--train", text, "--dev", text, *words(), *limits)
    scored = inside("evaluate", "text.txt", "-m", "run")
    assert "training takes at most 0.002 minutes\n" in done.err
    for err in (done.err, scored.err):
        assert "time ended its training, so give it more minutes (--max-minutes), or a smaller network" in err
    assert "text.txt: the model was trained on this data" in scored.err
    assert "the development data is the training data" in done.err
    assert "this run has no test part" in inside("evaluate", "-m", "run").err


def test_a_table_is_shown_and_a_picture_drawn(inside: Inside, lm: TinyModel) -> None:
    outcome = inside("evaluate", "-m", lm.run, "--plots", "plots", "--against", lm.run)
    text = outcome.out.decode()
    assert outcome.code == 0, outcome.err
    for part in (
        f"{lm.run} on the test part of {lm.text}\n",
        "nats_per_character\t",
        "model\tbits per character\tnats per character\n",
        "Kneser-Ney n-gram\t",
        "streaming, 1,740 characters",
        "p = 1.0000",
        "; no difference (p = ",
    ):
        assert part in text
    assert Path("plots", "along_text.png").read_bytes().startswith(b"\x89PNG")


def test_text_given_needs_no_recipe_but_a_mixture_does(inside: Inside, lm: TinyModel, tmp_path: Path) -> None:
    shutil.copytree(lm.run / "model", tmp_path / "moved")
    found = evaluated(inside, lm.text, "-m", "moved")
    assert found["yardsticks"] == {}
    assert found["metrics"] == evaluated(inside, "-m", lm.run)["metrics"]
    refused(inside("evaluate", lm.text, "-m", "moved", "--interpolate"), 2, "evaluate", "needs the recipe")
    refused(inside("evaluate", "-m", "moved"), 2, "evaluate", "no recipe beside the model")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--beam", 2), "--beam is for translators only"),
        (("--scheme", "iob2"), "--scheme is for taggers only"),
        (("--batch-tokens", 7), "--batch-tokens is for taggers and translators only"),
        (("--protocol", "cold", "--adapt"), "protocol cold"),
    ],
)
def test_options_of_other_tasks_are_refused(
    inside: Inside, lm: TinyModel, words: tuple[object, ...], message: str
) -> None:
    refused(inside("evaluate", "-m", lm.run, *words), 2, "evaluate", message)


def test_the_lines_that_cost_most_are_written_first(inside: Inside, lm: TinyModel) -> None:
    words = ("evaluate", "-m", lm.run, "--bootstrap", 0, "--no-baselines", "--errors", "worst.jsonl")
    assert inside(*words).code == 0
    rows = [json.loads(line) for line in Path("worst.jsonl").read_text().splitlines()]
    scored = [json.loads(line) for line in inside("lm", "score", lm.text, "-m", lm.run).lines]
    assert {row["line"]: row["text"] for row in rows} == {row["line"]: row["text"] for row in scored}
    nats = {row["line"]: row["nats"] for row in scored}
    assert all(math.isclose(row["nats"], nats[row["line"]], abs_tol=1e-3) for row in rows)
    costs = [row["nats_per_character"] for row in rows]
    assert costs == sorted(costs, reverse=True)


def test_a_highest_cost_can_be_asked_for(inside: Inside, lm: TinyModel) -> None:
    words = ("evaluate", "-m", lm.run, "--bootstrap", 0, "--no-baselines", "--min")
    assert inside(*words, "perplexity=9").code == 0
    missed = inside(*words, "perplexity=1.0")
    assert missed.code == 9
    assert "> 1.0" in missed.err
