"""`seqtool translate`: translates lines as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seqtool.cli import console, options, rescoring, streams, translation_lines
from seqtool.cli.help import DATA
from seqtool.cli.option_groups import flag, given, with_options
from seqtool.cli.options import HardwareOptions, find_model
from seqtool.cli.streams import OutputOptions
from seqtool.cli.translate_options import (
    BesideGroup,
    DrawingGroup,
    FormGroup,
    LengthGroup,
    ModelsOption,
    RescoringGroup,
    SearchGroup,
    TagOption,
)
from seqtool.errors import DataError, UsageError, counted

if TYPE_CHECKING:
    from seqtool.cli.translation_lines import Inputs, Item
    from seqtool.translation.candidates import Rescoring, Translation
    from seqtool.translation.prediction import TranslatorModel
    from seqtool.translation.search import SearchOptions


@with_options
def translate(
    sources: streams.InputsArgument = None,
    model: ModelsOption = None,
    input_format: Annotated[
        Literal["text", "jsonl"] | None,
        typer.Option(
            help="Input format. text: lines; jsonl: objects with the key source, text or the model's source "
            "language, and any others. Default: jsonl for files that end in .jsonl, otherwise text.",
            rich_help_panel=DATA,
        ),
    ] = None,
    tag: TagOption = None,
    *,
    search: SearchGroup,
    of_lm: RescoringGroup,
    form: FormGroup,
    lengths: LengthGroup,
    drawing: DrawingGroup,
    beside: BesideGroup,
    output: OutputOptions,
    batch_tokens: options.BatchTokensOption = 8192,
    hardware: HardwareOptions,
) -> None:
    """Translate lines: one line in, one line out, in order.

    How to search is what the model's recipe says under [decoding], unless an option here says otherwise.

    Examples:
      echo 'call Anna at nine' | seqtool translate --beam 5
      seqtool translate source.txt -m runs/translate/translate-tiny --nbest 3
    """
    weight = rescoring.weight_of(of_lm.lm_weight, of_lm.lm)
    where = model or [find_model(None, ("translate",))]
    files = streams.inputs_of(sources)
    output.check()
    if beside.force_target is not None:
        _refuse_with_targets((search, of_lm, drawing, lengths, beside), form, hardware)
    from seqtool import api
    from seqtool.devices import configure

    configure(hardware.threads)
    translator = api.load_translator(where, device=hardware.device, precision=hardware.precision)
    texts = {"prefix": beside.force_target or beside.force_prefix, "phrases": beside.constraints}
    inputs = translation_lines.Inputs(files, translator, input_format, texts, batch_tokens, tag)
    with output.opened() as put:
        if beside.force_target is not None:
            _score_given(translator, inputs, form, put)
        else:
            chosen = _options(translator, search, of_lm, drawing, lengths, form, beside)
            reordered = None
            if of_lm.lm is not None:
                reordered = rescoring.load_rescoring(
                    translator, of_lm.lm, weight, chosen, hardware=hardware, batch_tokens=batch_tokens
                )
            _Work(translator, chosen, reordered, form, batch_tokens).run(inputs, put)


class _Work:
    """Translates groups of lines and writes the results."""

    def __init__(
        self,
        model: TranslatorModel,
        chosen: SearchOptions,
        reordered: Rescoring | None,
        form: FormGroup,
        batch_tokens: int,
    ) -> None:
        self.model, self.options, self.rescoring = model, chosen, reordered
        self.form, self.batch_tokens = form, batch_tokens
        if form.alignments:
            model.require_attention("to align words by")
        if form.attention is not None:
            model.require_attention("to draw")
            streams.make_folder(form.attention)

    def run(self, inputs: Inputs, put: Callable[[str], None]) -> None:
        """Translate all lines."""
        from seqtool.translation.unseen import Unseen

        started, lines, symbols = time.monotonic(), 0, 0
        unseen = Unseen(self.model.vocabularies, self.model.description.data.columns, self.model.tags)
        for group in inputs:
            unseen.add(item.pair for item in group)
            found = self._search(group, inputs)
            put("".join(self._written(group, found)))
            lines += len(group)
            symbols += sum(len(best[0].hypothesis.tokens) for best in found if best)
        seconds = max(time.monotonic() - started, 1e-9)
        count = counted(lines, "line")
        rate = f"{count}, {counted(symbols, 'symbol')}, {seconds:.1f} s, {lines / seconds:,.1f} lines/s"
        for remark in unseen.remarks():
            console.warn(remark)
        console.say(f"{rate} ({self.model.describe_search(self.options, self.rescoring)})")

    def _search(self, group: list[Item], inputs: Inputs) -> list[list[Translation]]:
        from seqtool.translation.search import UnwritableError

        try:
            found = self.model.search(
                [item.pair for item in group],
                self.options,
                prefixes=[item.prefix for item in group],
                phrases=[item.phrases for item in group],
                rescoring=self.rescoring,
                batch_tokens=self.batch_tokens,
            )
        except UnwritableError as error:
            place = inputs.place_beside(error.kind, group[error.number])
            raise DataError(f"{place}: {error.problem}") from error
        for item, translations in zip(group, found, strict=True):
            if translations and translations[0].hypothesis.exhausted:
                console.warn(
                    f"line {item.number}: the constraints allow no translation; an empty line is written"
                )
            elif translations and translations[0].hypothesis.unmet:
                console.warn(
                    f"line {item.number}: no translation with all phrases was found; try a larger --beam"
                )
        return found

    def _written(self, group: list[Item], found: list[list[Translation]]) -> Iterator[str]:
        """The lines or objects of a group."""
        scored_pairs = self._read(group, found) if self.form.alignments or self.form.attention else {}
        for position, (item, translations) in enumerate(zip(group, found, strict=True)):
            scored, alignment = scored_pairs.get(position), None
            if self.form.alignments:
                alignment = "" if scored is None else self.model.alignment(item.pair, scored)
            if self.form.attention is not None and scored is not None:
                from seqtool.cli.reports.attention import draw

                draw(scored, item.pair.source, self.form.attention / f"{item.number}.png")
            if self.form.form == "jsonl":
                yield translation_lines.json_line(item, translations, alignment, self.form.nbest)
            else:
                yield translation_lines.text_lines(
                    item.number, translations, alignment, self.form.nbest, scores=self.form.scores
                )

    def _read(self, group: list[Item], found: list[list[Translation]]) -> dict[int, Any]:
        """Scored pairs of the best translations, by their place in the group."""
        places = [i for i, translations in enumerate(found) if translations]
        scored_pairs = self.model.read(
            [group[i].pair for i in places],
            [found[i][0].hypothesis.tokens for i in places],
            batch_tokens=self.batch_tokens,
        )
        return dict(zip(places, scored_pairs, strict=True))


def _options(
    translator: TranslatorModel,
    search: SearchGroup,
    of_lm: RescoringGroup,
    drawing: DrawingGroup,
    lengths: LengthGroup,
    form: FormGroup,
    beside: BesideGroup,
) -> SearchOptions:
    """The search options of the model, with those that were typed in their place."""
    from seqtool.translation.search import SearchOptions

    base = SearchOptions.of(translator.description.decoding)
    draws = drawing.sample or drawing.mbr
    how = {name for name in given(drawing) if name not in ("sample", "mbr")}
    if draws:
        _refuse((search, beside, of_lm), "with --sample or --mbr")
        base = replace(base, beam=1, no_repeat_ngram=0, coverage_penalty=0.0)
    elif how:
        _refuse((drawing,), "without --sample", how)
    if drawing.mbr and form.nbest > 1:
        raise UsageError("--mbr gives one translation of each line; leave --nbest out")
    if draws and lengths.min_length:
        raise UsageError("--min-length has no effect with --sample or --mbr; leave it out")
    if drawing.mbr == 1:
        raise UsageError("--mbr 1: expected 2 or more samples, or 0 to search; use --mbr 16, for instance")
    if not draws:
        _check_beam(base.beam if search.beam is None else search.beam, search, of_lm, form)
    if 0 < lengths.max_length < (lengths.min_length or 0):
        raise UsageError(
            f"--max-length {lengths.max_length} is less than --min-length {lengths.min_length}; raise "
            "--max-length, or lower --min-length"
        )
    typed = {**vars(search), **vars(drawing), **vars(lengths), "nbest": form.nbest}
    return replace(base, **{name: value for name, value in typed.items() if value is not None})


def _check_beam(beam: int, search: SearchGroup, of_lm: RescoringGroup, form: FormGroup) -> None:
    """Refuse a beam that is too small for `--nbest` or `--lm`, or not a multiple of `--diverse`."""
    if of_lm.lm is not None and beam < 2:
        raise UsageError(
            f"--lm reorders the outputs of a beam, and the beam is {beam}; use --beam 5, for instance, or "
            "leave --lm out"
        )
    if form.nbest > beam:
        verb = "add" if search.beam is None else "use"
        raise UsageError(
            f"--nbest {form.nbest} needs a beam of at least {form.nbest}, and it is {beam}; {verb} "
            f"--beam {form.nbest}"
        )
    if search.diverse is not None and beam % search.diverse:
        verb = "add" if search.beam is None else "use"
        raise UsageError(
            f"--diverse {search.diverse} needs a beam that is a multiple of {search.diverse}, and it is "
            f"{beam}; {verb} --beam {-(-beam // search.diverse) * search.diverse}"
        )


def _refuse(groups: Sequence[Any], where: str, names: Collection[str] | None = None) -> None:
    """Refuse options that would be ignored."""
    for group in groups:
        for name in given(group):
            if names is None or name in names:
                raise UsageError(f"{flag(group, name)} has no effect {where}; leave it out")


def _refuse_with_targets(groups: Sequence[Any], form: FormGroup, hardware: HardwareOptions) -> None:
    """Refuse options that have no effect when given targets are scored."""
    extras = {
        "--nbest": form.nbest > 1,
        "--alignments": form.alignments,
        "--attention": form.attention is not None,
        "--precision int8": hardware.precision == "int8",
    }
    typed = [
        flag(group, name)
        for group in groups
        for name in given(group)
        if name not in ("force_target", "sample")
    ]
    if typed:
        raise UsageError(f"{typed[0]} has no effect with --force-target; leave it out")
    drawn = any(given(group).get("sample") for group in groups)
    if ignored := ["--sample"] * drawn + [name for name, is_given in extras.items() if is_given]:
        raise UsageError(f"{', '.join(ignored)} cannot be combined with --force-target; leave it out")


def _score_given(
    translator: TranslatorModel, inputs: Inputs, form: FormGroup, put: Callable[[str], None]
) -> None:
    """Write the log probabilities of the outputs of `--force-target`."""
    for group in inputs:
        pairs = [replace(item.pair, target=item.prefix) for item in group]
        scored_pairs = translator.read(pairs, batch_tokens=inputs.batch_tokens)
        for item, scored in zip(group, scored_pairs, strict=True):
            score = scored.score if item.pair.source.strip() else 0.0
            if form.form == "jsonl":
                put(translation_lines.scored_json(item, score))
            else:
                put(f"{score:.4f}\t{item.prefix}\n")
