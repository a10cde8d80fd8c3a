"""`seqtool inspect features`: the lexical features of a tagger that count most for each tag."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from seqtool.cli import console, options
from seqtool.cli.inspect.cells import print_rows
from seqtool.cli.options import find_model
from seqtool.errors import UsageError, nearest

TASKS = ("ner", "pos")


def features(
    model: options.ModelOption = None,
    tags: Annotated[
        list[str] | None, typer.Option("--tag", help="Tag to show. Repeatable. Default: all tags.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Number of features for each tag.")] = 5,
    json_output: options.JsonOption = False,
) -> None:
    """List the lexical features that count most for each tag of a tagger, with their weights.

    A weight is added to the score of the tag, in nats, wherever the word has the feature: 0.69 makes the
    tag twice as probable, other things being equal. `word -1` is the word before. Tags are those of the
    model, in which entities are marked by S- (single), B-, I-, E- (begin, inside, end).

    Examples:
      seqtool inspect features -m runs/ner/mine
      seqtool inspect features -m runs/ner/mine --tag B-PER --top 20
    """
    where = find_model(model, TASKS)
    from seqtool.tagging.prediction import TaggerModel
    from seqtool.tagging.tracing import strongest_features

    tagger = TaggerModel.load(where, device="cpu", precision="fp32")
    known = tagger.vocabularies.tags.symbols
    for tag in tags or ():
        if tag not in known:
            raise UsageError(f"--tag {tag}: no such tag{nearest(tag, known)}; there are {', '.join(known)}")
    found = {tag: strongest_features(tagger, tag, top) for tag in tags or known}
    if json_output:
        rows = {tag: [each._asdict() for each in weights] for tag, weights in found.items()}
        console.write_result(json.dumps(rows, ensure_ascii=False) + "\n")
        return
    table = [
        [tag, f"{each.weight:.2f}", f"word {each.position:+d}" if each.position else "word", each.name]
        for tag, weights in found.items()
        for each in weights
    ]
    print_rows(["tag", "weight", "of", "feature"], table)
