"""`seqtool data suggest` and `data suspects`: what to annotate next, and what was annotated wrongly."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seqtool.cli import console, options, streams
from seqtool.cli.help import DATA, DECODING, MODEL, OUTPUT, TRAINING
from seqtool.cli.option_groups import with_options
from seqtool.cli.options import FloatHardwareOptions, find_taggers
from seqtool.cli.reports.tagged_sentences import FORMAT_HELP, Output, OutputFormat
from seqtool.cli.streams import OutputOptions
from seqtool.errors import UsageError, counted

if TYPE_CHECKING:
    from seqtool.tagging.doubt import Judgement, Suspicion
    from seqtool.tagging.prediction import TaggerModel
    from seqtool.tagging.suggestion import Candidate
    from seqtool.text.columns import TaggedSentence
    from seqtool.text.tagging_input import TaggingInput

CountOption = Annotated[
    int, typer.Option("--count", "-n", metavar="N", min=1, help="Sentences.", rich_help_panel=OUTPUT)
]
JudgeOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Tagger that judges FILE, trained on other sentences. Default: some are trained on parts of "
        "FILE.",
        rich_help_panel=MODEL,
    ),
]


@dataclass(frozen=True)
class ChoiceOptions:
    """How sentences are chosen."""

    strategy: Annotated[
        Literal["spans", "path", "entropy", "random"],
        typer.Option(
            help="What makes a sentence worth annotating: the expected number of wrong entities (spans), the "
            "doubt of its best tagging per token (path), the mean entropy of its tags (entropy), or chance.",
            rich_help_panel=DECODING,
        ),
    ] = "path"
    spread: Annotated[
        bool,
        typer.Option(
            "--spread/--no-spread", help="Avoid sentences that are similar.", rich_help_panel=DECODING
        ),
    ] = True
    annotated: Annotated[
        list[Path] | None,
        typer.Option(
            "--annotated",
            metavar="FILE",
            help="Annotated file, whose sentences are left out. Repeatable.",
            rich_help_panel=DATA,
        ),
    ] = None
    seed: Annotated[
        int | None, typer.Option(help="Random seed of --strategy random.", rich_help_panel=DECODING)
    ] = None

    def check(self) -> None:
        """Refuse a seed that nothing reads."""
        if self.seed is not None and self.strategy != "random":
            raise UsageError(f"--seed has no effect with --strategy {self.strategy}; leave it out")


@with_options
def suggest(
    pool: streams.InputsArgument = None,
    model: options.TaggersOption = None,
    count: CountOption = 100,
    output_format: Annotated[
        OutputFormat, typer.Option("--format", help=FORMAT_HELP, rich_help_panel=OUTPUT)
    ] = "conll",
    *,
    choice: ChoiceOptions,
    output: OutputOptions,
    hardware: FloatHardwareOptions,
) -> None:
    """Suggest which sentences of a text to annotate next, with the model's own tags as a start.

    The sentences that the model doubts most come first; comments (conll) or the key doubts (jsonl) say which
    tokens it doubts. Correct the tags, add the sentences to the training file, and train again.

    Examples:
      seqtool data suggest raw.txt -m runs/ner/mine -n 100 -o next.conll
      seqtool data suggest raw/ -m runs/ner/mine --format label-studio -o a.json
    """
    choice.check()
    where = find_taggers(model)
    files = streams.inputs_of(pool)
    (output.check_pair if output_format == "brat" else output.check)()
    from seqtool import api
    from seqtool.devices import configure
    from seqtool.tagging.suggestion import best_candidates, chosen

    configure(hardware.threads)
    tagger = api.load_tagger(where, device=hardware.device, precision=hardware.precision)
    written = Output(output_format, tagger, confidence=output_format == "jsonl")
    known = _known_sentences(choice.annotated or (), tagger)
    seen = _Counts()
    candidates = best_candidates(_candidates(files, tagger, choice, known, seen), count)
    found = list(chosen(candidates, count, spread=choice.spread))
    with output.opened_pair() as put:
        for candidate in found:
            put(*_written(written, candidate, tagger, output_format))
        put(written.end(), "")
    tokens = sum(len(each.item.sentence.tokens) for each in found)
    left_out = f", {seen.known:,} of them annotated already" if seen.known else ""
    console.say(
        f"{counted(len(found), 'sentence')} ({counted(tokens, 'token')}) of {seen.read:,}{left_out}, "
        f"by {choice.strategy}"
    )


@dataclass
class _Counts:
    """How many sentences were read, and how many of them are annotated already."""

    read: int = 0
    known: int = 0


def _known_sentences(files: Any, tagger: TaggerModel) -> set[tuple[str, ...]]:
    """The tokens of the sentences of annotated files."""
    from seqtool.tagging.data import read_file

    data = tagger.description.data
    return {sentence.tokens for path in files for sentence in read_file(path, "train", data).sentences}


def _candidates(
    files: list[str], tagger: TaggerModel, choice: ChoiceOptions, known: set[tuple[str, ...]], seen: _Counts
) -> Iterator[Candidate[TaggingInput]]:
    """The sentences of the pool, each once, with their scores."""
    from functools import partial

    from seqtool.cli.tag import sentence_size, sentences_read
    from seqtool.tagging.doubt import judged
    from seqtool.tagging.suggestion import Candidate, score_of

    read = partial(sentences_read, chosen=None, tagger=tagger)
    done = set(known)
    for group in streams.groups_from(files, read, size=sentence_size, budget=4096):
        fresh = []
        for item in group:
            tokens = item.sentence.tokens
            if not tokens:
                continue
            seen.read += 1
            seen.known += tokens in known
            if tokens not in done:
                done.add(tokens)
                fresh.append((seen.read, item))
        for (number, item), found in zip(fresh, judged(tagger, [i.sentence for _, i in fresh]), strict=True):
            score = score_of(found, choice.strategy, seed=choice.seed or 0, number=number)
            words = frozenset(token.lower() for token in item.sentence.tokens)
            yield Candidate(score, number, words, item, found)


def _written(
    output: Output, candidate: Candidate[TaggingInput], tagger: TaggerModel, form: OutputFormat
) -> tuple[str, str]:
    """A suggested sentence in the output format, with its score and doubts."""
    item, judgement = candidate.item, candidate.judgement
    score = round(candidate.score, 4)
    if form == "conll":
        notes = (f"# doubt = {score}", *(f"# doubted = {line}" for line in _doubts(item, judgement)))
        item = replace(item, comments=(*item.comments, *notes))
        judged = judgement.prediction
        return output.add(item, replace(judged, span_confidence=None, token_confidence=None))
    doubts = list(_doubts(item, judgement))
    if form == "jsonl":
        item = replace(item, keys={**_text_of(item), **(item.keys or {}), "doubt": score, "doubts": doubts})
    return output.add(item, judgement.prediction, {"doubt": score, "doubts": "; ".join(doubts)})


def _text_of(item: TaggingInput) -> dict[str, str]:
    return {} if item.text is None else {"text": item.text}


def _doubts(item: TaggingInput, judgement: Judgement) -> Iterator[str]:
    """The doubted tokens of a sentence, as in `Paris (5): B-LOC 0.51, O 0.40`."""
    for each in judgement.tokens:
        token = item.sentence.tokens[each.token]
        yield (
            f"{token} ({each.token + 1}): {each.tag} {each.probability:.2f}, {each.instead} "
            f"{each.instead_probability:.2f}"
        )


@dataclass(frozen=True)
class FoldOptions:
    """Cross-fitting without a model."""

    folds: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=2,
            help="Without -m: train K models, each on the other parts of FILE, and judge each part by the "
            "model that has not seen it. Default: 5.",
            rich_help_panel=TRAINING,
        ),
    ] = None
    max_minutes: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Without -m: minutes of training each of them, at most.", rich_help_panel=TRAINING
        ),
    ] = None
    task: Annotated[
        Literal["ner", "pos"] | None,
        typer.Option(help="Without -m: whether tags mark entities. Default: found.", rich_help_panel=DATA),
    ] = None


@with_options
def suspects(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Annotated file.")],
    model: JudgeOption = None,
    count: CountOption = 20,
    json_output: options.JsonOption = False,
    *,
    folds: FoldOptions,
    hardware: FloatHardwareOptions,
) -> None:
    """List the sentences whose annotation is probably wrong, the most suspicious first.

    A sentence is suspicious if other tags are far more probable than the annotated ones, by a model that was
    trained on other sentences: name it with -m, or leave it out to train some on the rest of the file.

    Examples:
      seqtool data suspects train.conll
      seqtool data suspects new.conll -m runs/ner/mine -n 50 --json
    """
    if model is not None:
        options.refuse(
            {"--folds": folds.folds, "--max-minutes": folds.max_minutes, "--task": folds.task}, "with -m"
        )
    if not source.is_file():
        raise UsageError(f"{source}: no such file")
    from seqtool import suspicion
    from seqtool.devices import configure

    configure(hardware.threads)
    if model is not None:
        found = suspicion.by_model(source, model, device=hardware.device, precision=hardware.precision)
    else:
        found = suspicion.by_folds(
            source,
            folds.folds or 5,
            task=folds.task,
            device=hardware.device,
            precision=hardware.precision,
            threads=hardware.threads,
            max_minutes=folds.max_minutes,
            say=console.say,
        )
    ranked = sorted(found, key=lambda pair: (-pair[1].odds, pair[0].line))
    for sentence, suspicious in ranked[:count]:
        console.write_result(_suspect(sentence, suspicious, as_json=json_output))
    wrong = sum(each.odds > 0 for _, each in found)
    console.say(f"{counted(len(found), 'sentence')}; for {wrong:,} other tags are more probable")


def _suspect(sentence: TaggedSentence, found: Suspicion, *, as_json: bool) -> str:
    """A suspicious sentence: where it is, the odds, what is annotated and what the model finds."""
    from seqtool.text.inline import format_inline
    from seqtool.text.tag_scheme import Scheme

    gold, tags = sentence.tags or (), found.prediction.tags
    differing = [n for n, (own, other) in enumerate(zip(gold, tags, strict=True)) if own != other]
    if as_json:
        value = {
            "file": sentence.source,
            "line": sentence.line,
            "log_odds": None if math.isinf(found.odds) else round(found.odds, 4),
            "tokens": list(sentence.tokens),
            "tags": list(gold),
            "model": tags,
            "differing": differing,
        }
        return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
    spans = any(tag.startswith(("B-", "I-", "S-", "U-", "L-", "E-")) for tag in (*gold, *tags))
    scheme: Scheme | None = "io" if spans else None
    odds = "a tag that the model does not have" if math.isinf(found.odds) else f"{found.odds:.1f} nats"
    shown = [format_inline(sentence.tokens, _types(each, spans), scheme) for each in (gold, tags)]
    return f"{sentence.source}:{sentence.line}\t{odds}\n  annotated {shown[0]}  model     {shown[1]}"


def _types(tags: Any, spans: bool) -> list[str]:
    return [tag.split("-", 1)[-1] for tag in tags] if spans else list(tags)
