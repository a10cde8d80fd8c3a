"""`seqtool translate`: its output for given input."""

from __future__ import annotations

import gzip
import random
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Tiny, TinyTranslator, translator_words
from tests.cli.running import Inside, assert_error, refused
from tests.translation.tiny_pairs import TEXTS, WORDS

SOURCE, TARGET = TEXTS[2]  # Grace left . -> Grace ging .


def lines_of(out: bytes) -> list[str]:
    """Text without the characters that `splitlines` treats as line ends."""
    text = out.decode()
    assert text.endswith("\n") or not text
    return text.split("\n")[:-1]


def noise(count: int) -> list[str]:
    """Lines that the model has never seen, some blank."""
    source = random.Random(7)
    return [" ".join(source.choices(WORDS, k=source.randrange(8))) for _ in range(count)]


# --- one line out for each line in ---


def test_lines_are_translated_and_blank_lines_stay(inside: Inside, pairs: TinyTranslator) -> None:
    outcome = inside("translate", "-m", pairs.run, stdin=f"\n{SOURCE}\n \t\n{SOURCE}\n\n".encode())
    assert outcome.out.decode() == f"\n{TARGET}\n\n{TARGET}\n\n"
    assert outcome.code == 0
    assert outcome.err.startswith("5 lines, 6 symbols, ")
    assert "(beam 2, length penalty average 1, fp32)" in outcome.err


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--beam", 1),
        ("--beam", 5),
        ("--beam", 4, "--diverse", 2),
        ("--coverage-penalty", 0.2),
        ("--no-repeat-ngram", 3),
        ("--sample", "--temperature", 0),
        ("--mbr", 3, "--temperature", 0),
        ("--precision", "bf16"),
        ("--beam-penalty", "wu", "--length-penalty", 0.6),
    ],
    ids=str,
)
def test_every_search_gives_what_was_learned(
    inside: Inside, pairs: TinyTranslator, words: tuple[object, ...]
) -> None:
    outcome = inside("translate", pairs.source, "-m", pairs.run, *words)
    assert (outcome.code, outcome.out) == (0, pairs.answer)


@pytest.mark.parametrize("source", ["-", "empty", "empty.gz"])
@pytest.mark.parametrize("words", [(), ("--nbest", 2), ("--scores", "--alignments"), ("--sample",)], ids=str)
def test_nothing_in_nothing_out(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path, source: str, words: tuple[object, ...]
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "empty.gz").write_bytes(gzip.compress(b""))
    outcome = inside("translate", source, "-m", pairs.run, *words)
    assert outcome[:2] == (0, b"")
    assert outcome.err.startswith("0 lines, 0 symbols, ")


@pytest.mark.parametrize("words", [(), ("--sample",), ("--beam", 1), ("--no-repeat-ngram", 1)], ids=str)
def test_as_many_lines_come_out_as_go_in(
    inside: Inside, pairs: TinyTranslator, words: tuple[object, ...]
) -> None:
    lines = noise(40)
    text = "".join(line + "\n" for line in lines).encode()
    found = lines_of(inside("translate", "-m", pairs.run, "--max-length", 9, *words, stdin=text).out)
    assert len(found) == len(lines)
    assert all(not out for line, out in zip(lines, found, strict=True) if not line)


@pytest.mark.parametrize("words", [(), ("--sample", "--nbest", 2)], ids=str)
def test_output_does_not_depend_on_the_batches_or_the_stream(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path, words: tuple[object, ...]
) -> None:
    text = "".join(line + "\n" for line in noise(40)).encode()
    (tmp_path / "in.txt").write_bytes(text)
    (tmp_path / "in.gz").write_bytes(gzip.compress(text))
    command = ("translate", "-m", pairs.run, "--max-length", 9, *words)
    expected = inside(*command, "in.txt").out
    assert expected.count(b"\n") >= 40
    for budget in (1, 30):
        assert inside(*command, "in.txt", "--batch-tokens", budget).out == expected
    assert inside(*command, "in.gz").out == expected
    assert inside(*command, stdin=text).out == expected


def test_a_line_that_takes_long_is_announced(inside: Inside, pairs: TinyTranslator) -> None:
    lines = f"{SOURCE}\n{'Grace ' * 1000}\n".encode()
    outcome = inside("translate", "-m", pairs.run, "--max-length", 3, stdin=lines)
    assert (outcome.code, outcome.out.count(b"\n")) == (0, 2)
    assert "standard input:2: 6,000 characters in one line; translating it is slow" in outcome.err
    assert "line 1:" not in outcome.err


def test_byte_order_mark_carriage_returns_and_a_missing_last_line_end(
    inside: Inside, pairs: TinyTranslator
) -> None:
    text = b"\xef\xbb\xbf" + f"{SOURCE}\r\n\r\n{SOURCE}".encode()
    assert inside("translate", "-m", pairs.run, stdin=text).out.decode() == f"{TARGET}\n\n{TARGET}\n"


@pytest.mark.parametrize(
    "name", ["Žižek", "e\u0301", "日本\u2028語", "👩‍👩‍👧", "\u202eabc", "a\x85b", "x\x1b[31m"]
)
def test_names_are_copied_byte_for_byte(inside: Inside, pairs: TinyTranslator, name: str) -> None:
    outcome = inside("translate", "-m", pairs.run, stdin=f"{name} left .\n".encode())
    assert outcome.out.decode() == f"{name} ging .\n"


@pytest.mark.parametrize("from_file", [True, False])
@pytest.mark.parametrize(
    ("bad", "message"), [(b"a \xff b", "not UTF-8 at byte"), (b"a\0b", "NUL")], ids=["byte", "nul"]
)
def test_what_stands_before_a_bad_line_is_answered(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path, from_file: bool, bad: bytes, message: str
) -> None:
    text = f"{SOURCE}\n".encode() * 2 + bad + f"\n{SOURCE}\n".encode()
    (tmp_path / "in.txt").write_bytes(text)
    name = "in.txt" if from_file else "standard input"
    outcome = inside("translate", *(["in.txt"] if from_file else []), "-m", pairs.run, stdin=text)
    assert outcome.out.decode() == f"{TARGET}\n" * 2
    assert_error(outcome, 3, "translate", f"{name}:3: ", message)


# --- what is written for a line ---


def test_nbest_has_index_rank_score_and_text(inside: Inside, pairs: TinyTranslator) -> None:
    text = f"{SOURCE}\n\nyes\n".encode()
    rows = [
        line.split("\t")
        for line in lines_of(inside("translate", "-m", pairs.run, "--beam", 4, "--nbest", 3, stdin=text).out)
    ]
    assert [(row[0], row[1]) for row in rows] == [(str(i), str(k)) for i in (1, 2, 3) for k in (1, 2, 3)]
    assert {len(row) for row in rows} == {4}
    assert rows[0][3] == TARGET
    assert [row[2:] for row in rows[3:6]] == [["0.0000", ""]] * 3
    assert rows[6][3] == "ja"
    for first in (0, 6):
        scores = [float(row[2]) for row in rows[first : first + 3]]
        assert scores == sorted(scores, reverse=True)
        assert len({row[3] for row in rows[first : first + 3]}) == 3


def test_the_help_says_what_holds_where_nothing_is_said(inside: Inside) -> None:
    text = " ".join(inside("translate", "-h").out.decode().split())
    assert "what the model's recipe says under [decoding], unless an option here says otherwise" in text
    assert "Write N lines for each line, blank ones too" in text
    assert "With --sample they are independent draws, and the same text may come more than once" in text


def test_drawn_lines_are_independent_so_that_a_likely_one_comes_again(
    inside: Inside, pairs: TinyTranslator
) -> None:
    command = ("translate", "-m", pairs.run, "--sample", "--nbest", 5, "--temperature", 0.1)
    rows = [line.split("\t") for line in lines_of(inside(*command, stdin=f"{SOURCE}\n".encode()).out)]
    assert [row[1] for row in rows] == ["1", "2", "3", "4", "5"]
    assert {row[3] for row in rows} == {TARGET}


def test_scores_stand_before_the_lines(inside: Inside, pairs: TinyTranslator) -> None:
    out = inside("translate", "-m", pairs.run, "--scores", stdin=f"{SOURCE}\n\n".encode()).out
    first, blank = lines_of(out)
    score, text = first.split("\t")
    assert text == TARGET
    assert re.fullmatch(r"-?0\.\d{4}", score)
    assert blank == "0.0000\t"


def test_alignments_stand_after_the_lines(inside: Inside, pairs: TinyTranslator) -> None:
    command = ("translate", "-m", pairs.run, "--alignments", "--beam", 3)
    first, blank = lines_of(inside(*command, stdin=f"{SOURCE}\n\n".encode()).out)
    text, links = first.split("\t")
    assert (text, blank) == (TARGET, "\t")
    assert re.fullmatch(r"\d-0 \d-1 \d-2", links)
    assert links.startswith("0-0 ")  # the name was copied from its position
    out = inside(*command, "--scores", stdin=f"{SOURCE}\n".encode()).out
    assert [len(line.split("\t")) for line in lines_of(out)] == [3]
    out = inside(*command, "--nbest", 2, stdin=f"{SOURCE}\n\n".encode()).out
    assert [len(line.split("\t")) for line in lines_of(out)] == [5] * 4


def test_pictures_of_attention_are_made_for_each_line_that_is_not_blank(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    outcome = inside("translate", "-m", pairs.run, "--attention", "a/b", stdin=f"{SOURCE}\n\nyes\n".encode())
    assert outcome.out.decode() == f"{TARGET}\n\nja\n"
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["1.png", "3.png"]
    for path in (tmp_path / "a" / "b").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "file").touch()
    refused(
        inside("translate", "-m", pairs.run, "--attention", "file"),
        5,
        "translate",
        "file: exists already and is not a folder",
    )


# --- constraints on outputs ---


def test_given_targets_are_scored(inside: Inside, pairs: TinyTranslator, tmp_path: Path) -> None:
    (tmp_path / "targets").write_text(f"{TARGET}\n{TARGET} {TARGET}\n")
    text = f"{SOURCE}\n{SOURCE}\n".encode()
    command = ("translate", "-m", pairs.run)
    good, bad = lines_of(inside(*command, "--force-target", "targets", stdin=text).out)
    assert good.split("\t")[1] == TARGET
    assert bad.split("\t")[1] == f"{TARGET} {TARGET}"
    assert float(bad.split("\t")[0]) < float(good.split("\t")[0]) - 1
    # The same as a search without normalisation gives.
    out = inside(*command, "--scores", "--beam-penalty", "none", stdin=f"{SOURCE}\n".encode()).out
    assert float(out.split(b"\t")[0]) == pytest.approx(float(good.split("\t")[0]), abs=2e-4)


def test_a_blank_line_scores_nothing_where_targets_are_given(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    (tmp_path / "targets").write_text(f"\n{TARGET}\n")
    out = inside(
        "translate", "-m", pairs.run, "--force-target", "targets", stdin=f"\n{SOURCE}\n".encode()
    ).out
    assert lines_of(out)[0] == "0.0000\t"


def test_prefixes_are_kept_to(inside: Inside, pairs: TinyTranslator, tmp_path: Path) -> None:
    (tmp_path / "prefixes").write_text("ja\n\nGrace Grace\n")
    text = f"{SOURCE}\n{SOURCE}\n{SOURCE}\n".encode()
    found = lines_of(inside("translate", "-m", pairs.run, "--force-prefix", "prefixes", stdin=text).out)
    assert found[0].startswith("ja ")
    assert found[1] == TARGET
    assert found[2].startswith("Grace Grace")
    command = ("translate", "-m", pairs.run, "--force-prefix", "prefixes", "--max-length", 1)
    short = lines_of(inside(*command, stdin=text).out)
    assert short[2].startswith("Grace Grace")
    assert [len(line.split()) <= most for line, most in zip(short, (2, 1, 3), strict=True)] == [True] * 3


def test_phrases_are_in_their_lines_or_a_warning_says_so(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    (tmp_path / "phrases").write_text("Maschine\tja ja\n\n")
    text = f"{SOURCE}\n{SOURCE}\n".encode()
    command = ("translate", "-m", pairs.run, "--constraints", "phrases", "--beam", 8)
    outcome = inside(*command, stdin=text)
    with_phrases, without = lines_of(outcome.out)
    assert " Maschine " in f" {with_phrases} "
    assert " ja ja " in f" {with_phrases} "
    assert without == TARGET
    (tmp_path / "phrases").write_text("Maschine Maschine Maschine\n\n")
    outcome = inside(*command, "--max-length", 2, stdin=text)
    assert len(lines_of(outcome.out)) == 2
    assert "warning: line 1: no translation with all phrases was found; try a larger --beam\n" in outcome.err


def test_a_phrase_with_an_unknown_word_is_refused_by_name(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    (tmp_path / "phrases").write_text("ja\nMaschine\tGr\u00e4fin Ada\n")
    command = ("translate", "-m", pairs.run, "--constraints", "phrases")
    outcome = inside(*command, stdin=f"{SOURCE}\nyes\n".encode())
    message = assert_error(
        outcome, 3, "translate", "phrases:2: phrase 'Gr\u00e4fin Ada': the vocabulary has no "
    )
    assert message.endswith("; leave the phrase out")
    (tmp_path / "prefixes").write_text("ja\nGr\u00e4fin\n")
    command = ("translate", "-m", pairs.run, "--force-prefix", "prefixes")
    outcome = inside(*command, stdin=f"{SOURCE}\nyes\n".encode())
    assert_error(outcome, 3, "translate", "prefixes:2: prefix 'Gr\u00e4fin': the vocabulary has no ")


def test_constraints_that_leave_nothing_empty_the_line_and_say_so(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    (tmp_path / "prefixes").write_text("ja ja ja\n")
    command = ("translate", "-m", pairs.run, "--force-prefix", "prefixes", "--no-repeat-ngram", 1)
    outcome = inside(*command, stdin=f"{SOURCE}\n".encode())
    assert (outcome.code, outcome.out) == (0, b"\n")
    assert "warning: line 1: the constraints allow no translation; an empty line is written\n" in outcome.err


@pytest.mark.parametrize("option", ["--force-prefix", "--constraints", "--force-target"])
def test_a_file_beside_the_input_needs_as_many_lines(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path, option: str
) -> None:
    (tmp_path / "beside").write_text("ja\n")
    outcome = inside("translate", "-m", pairs.run, option, "beside", stdin=f"{SOURCE}\nyes\n".encode())
    assert_error(outcome, 3, "translate", "beside: 1 line, but standard input has more")
    outcome = inside("translate", "-m", pairs.run, option, "absent", stdin=b"yes\n")
    refused(outcome, 2, "translate", "absent: no such file")


@pytest.mark.parametrize("option", ["--force-prefix", "--constraints", "--force-target"])
def test_a_file_beside_an_empty_input_has_to_be_there(
    inside: Inside, pairs: TinyTranslator, option: str
) -> None:
    assert inside("translate", "-m", pairs.run, option, "absent", stdin=b"").code == 2


@pytest.mark.parametrize("option", ["--force-prefix", "--constraints", "--force-target"])
def test_a_file_beside_the_input_may_not_be_longer(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path, option: str
) -> None:
    (tmp_path / "beside").write_text("ja\nja\nja\n")
    assert inside("translate", "-m", pairs.run, option, "beside", stdin=f"{SOURCE}\n".encode()).code == 3


# --- sampling ---


def test_drawing_repeats_with_its_seed(inside: Inside, pairs: TinyTranslator) -> None:
    def drawn(*words: object) -> bytes:
        command = ("translate", "-m", pairs.run, "--sample", "--temperature", 3, "--max-length", 8)
        outcome = inside(*command, *words, stdin=pairs.text)
        assert outcome.code == 0
        return outcome.out

    assert drawn("--seed", 1) == drawn("--seed", 1) == drawn()
    assert drawn("--seed", 2) != drawn("--seed", 1)
    greedy = inside("translate", "-m", pairs.run, "--beam", 1, "--max-length", 8, stdin=pairs.text).out
    assert drawn("--top-k", 1) == greedy == drawn("--top-p", 1e-6)
    rows = [line.split("\t") for line in lines_of(drawn("--nbest", 2))]
    assert [row[1] for row in rows] == ["1", "2"] * 10


def test_more_can_be_drawn_than_the_beam_of_the_recipe(inside: Inside, pairs: TinyTranslator) -> None:
    out = inside("translate", "-m", pairs.run, "--sample", "--nbest", 5, stdin=b"yes\n").out
    assert [line.split("\t")[1] for line in lines_of(out)] == ["1", "2", "3", "4", "5"]


def test_minimum_risk_gives_one_line_each(inside: Inside, pairs: TinyTranslator) -> None:
    command = ("translate", "-m", pairs.run, "--mbr", 6, "--temperature", 0.5)
    first, second = (inside(*command, stdin=b"yes\n\nyes yes .\n") for _ in range(2))
    assert lines_of(first.out) == ["ja", "", "ja ja ."]
    assert first.out == second.out
    assert "the best of 6 samples by chrF" in first.err


# --- ensembles ---


def test_an_ensemble_of_one_vocabulary(inside: Inside, pairs: TinyTranslator) -> None:
    command = ("translate", "-m", pairs.run, "-m", pairs.poor)
    both = inside(*command, "--max-length", 9, "--scores", stdin=pairs.text)
    alone = inside(*command[:3], "--max-length", 9, "--scores", stdin=pairs.text)
    assert both.code == 0
    assert len(lines_of(both.out)) == 10
    assert both.out != alone.out
    twice = inside("translate", "-m", pairs.run, "-m", pairs.run, stdin=pairs.text)
    assert twice.out == pairs.answer


def test_an_ensemble_of_two_vocabularies_is_4(inside: Inside, pairs: TinyTranslator) -> None:
    files = ("--train", pairs.source, pairs.target)
    assert inside("train", "translate", *files, *translator_words(), "--epochs", 1, "-o", "x").code == 0
    outcome = inside("translate", "-m", pairs.run, "-m", "x", stdin=b"yes\n")
    refused(outcome, 4, "translate", "different vocabularies; an ensemble needs models of one")


def test_the_models_that_do_not_go_together_are_named_as_typed(inside: Inside, pairs: TinyTranslator) -> None:
    files = ("--train", pairs.source, pairs.target)
    assert inside("train", "translate", *files, *translator_words(), "--epochs", 1, "-o", "x").code == 0
    line = inside("translate", "-m", pairs.run, "-m", "x", stdin=b"yes\n").err
    assert f"{pairs.run} and x" in line or f"x and {pairs.run}" in line


# --- refusals ---


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--beam", 0), "--beam"),
        (("--nbest", 0), "--nbest"),
        (("--nbest", 3), "--nbest 3 needs a beam of at least 3, and it is 2; add --beam 3"),
        (("--beam", 3, "--nbest", 4), "--nbest 4 needs a beam of at least 4, and it is 3; use --beam 4"),
        (
            ("--beam", 4, "--diverse", 3),
            "--diverse 3 needs a beam that is a multiple of 3, and it is 4; use --beam 6",
        ),
        (("--sample", "--temperature", -1), "--temperature"),
        (("--temperature", "nan"), "temperature"),
        (("--top-p", 1.5), "--top-p has no effect without --sample"),
        (("--sample", "--temperature", "nan"), "temperature"),
        (
            ("--sample", "--temperature", "inf"),
            "temperature inf: expected a finite number, 0 (greedy) or more",
        ),
        (("--sample", "--top-p", 0), "top-p 0"),
        (("--sample", "--top-p", 1.5), "top-p 1.5"),
        (("--sample", "--top-p", "nan"), "top-p nan"),
        (("--sample", "--top-k", -1), "--top-k"),
        (("--mbr", 1), "--mbr 1: expected 2 or more samples"),
        (("--sample", "--min-length", 3), "--min-length has no effect with --sample or --mbr; leave it out"),
        (("--beam", 3, "--diverse", 2), "--diverse 2 needs a beam that is a multiple of 2, and it is 3; use"),
        (("--length-penalty", -1), "--length-penalty"),
        (("--length-penalty", "nan"), "--length-penalty"),
        (
            ("--min-length", 5, "--max-length", 3),
            "--max-length 3 is less than --min-length 5; raise --max-length, or",
        ),
        (("--batch-tokens", 0), "--batch-tokens"),
        (("--sample", "--no-repeat-ngram", 2), "--no-repeat-ngram has no effect with --sample"),
        (("--sample", "--force-prefix", "f"), "--force-prefix has no effect with --sample"),
        (("--mbr", 2, "--constraints", "f"), "--constraints has no effect with --sample or --mbr"),
        (("--device", "tpu"), "--device tpu"),
    ],
    ids=str,
)
def test_a_value_out_of_its_range_is_2(
    inside: Inside, pairs: TinyTranslator, words: tuple[object, ...], message: str
) -> None:
    refused(inside("translate", "-m", pairs.run, *words, stdin=b"yes\n"), 2, "translate", message)


@pytest.mark.parametrize(
    "words",
    [
        ("--temperature", 0.5),
        ("--top-k", 3),
        ("--sample", "--beam", 3),
        ("--sample", "--diverse", 2),
        ("--sample", "--coverage-penalty", 0.5),
        ("--mbr", 3, "--nbest", 2),
        ("--force-target", "targets", "--nbest", 2),
        ("--force-target", "targets", "--sample"),
        ("--force-target", "targets", "--alignments"),
        ("--force-target", "targets", "--attention", "pictures"),
        ("--force-target", "targets", "--precision", "int8"),
    ],
    ids=str,
)
def test_an_option_that_means_nothing_here_is_2(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path, words: tuple[object, ...]
) -> None:
    (tmp_path / "targets").write_text("ja\n")
    assert inside("translate", "-m", pairs.run, *words, stdin=b"yes\n").code == 2


def test_phrases_with_groups_are_2(inside: Inside, pairs: TinyTranslator, tmp_path: Path) -> None:
    (tmp_path / "phrases").write_text("ja\n")
    command = ("translate", "-m", pairs.run, "--beam", 4, "--diverse", 2, "--constraints", "phrases")
    refused(inside(*command, stdin=b"yes\n"), 2, "translate", "phrases", "diverse")


def test_a_model_of_another_task_is_4_naming_both(inside: Inside, pairs: TinyTranslator, tiny: Tiny) -> None:
    for command, model in (("translate", tiny.run), ("tag", pairs.run)):
        refused(inside(command, "-m", model, stdin=b"yes\n"), 4, command, "ner", "translate")


def test_without_any_model_the_message_has_the_command_that_makes_one(inside: Inside) -> None:
    message = "no model: name one with -m MODEL, or train one with `seqtool train translate`"
    refused(inside("translate", "--beam", 5), 2, "translate", message)


def test_an_input_that_is_no_file_is_a_usage_error(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    refused(inside("translate", "absent.txt", "-m", pairs.run), 2, "translate", "absent.txt: no such file")
    refused(
        inside("translate", tmp_path, "-m", pairs.run),
        2,
        "translate",
        "the folder has no files; name a file",
    )


def test_the_newest_run_is_found(inside: Inside, pairs: TinyTranslator) -> None:
    files = ("--train", pairs.source, pairs.target)
    for name in ("first", "second"):
        words = ("--set", f"name={name}", "--epochs", 1)
        assert inside("train", "translate", *files, *translator_words(), *words).code == 0
    outcome = inside("translate", "--beam", 5, "--max-length", 5, stdin=b"yes\n")
    assert outcome.code == 0
    assert "model: runs/translate/second (the newest run)\n" in outcome.err
    assert len(lines_of(outcome.out)) == 1
