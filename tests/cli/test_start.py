"""What a command may import before it answers: an answer should come as soon as torch is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import ROOT, TIMEOUT, environment

GOLDEN = ROOT / "tests" / "golden"
TAGGER, TRANSLATOR, LM = (GOLDEN / wing / "finished" for wing in ("ner", "translate", "lm"))
LISTED = "imported: "
# Runs a command in a process that prints at its end what has been imported.
PROGRAM = f"""
import os, sys
os._exit = sys.exit
from seqtool.cli.app import main
try:
    main(sys.argv[1:])
finally:
    print("{LISTED}" + " ".join(sys.modules), file=sys.stderr)
"""
LOADING = f"""
import sys, seqtool
seqtool.load(sys.argv[1])
print("{LISTED}" + " ".join(sys.modules), file=sys.stderr)
"""
# Every kind of network, built as it is when a model folder is loaded.
BUILDING = f"""
import sys, torch
from seqtool.lm import model as lm, settings as lm_settings
from seqtool.nn.cell_names import BATCH_NORMALISED
from seqtool.nn.cell_options import CellOptions
from seqtool.nn.cells import CELLS, build_cell
from seqtool.translation import model, settings
from tests.nn.cells.making import STRUCTURES
from tests.translation.tiny_translator import DECODERS, FORMS
starts = [CellOptions(input_init=name, recurrent_init=name) for name in ("orthogonal", "kaiming", "xavier")]
starts += [CellOptions(), CellOptions(recurrent_init="identity"), CellOptions(chrono=9)]
built = 0
with torch.device("meta"):
    for name in CELLS:
        for options in starts:
            for inputs, dilation in ((4, 1), (4, 2), (6, 1)):
                try:
                    build_cell(name, inputs, 4, options=options, dilation=dilation)
                    built += 1
                except ValueError:
                    pass  # an option that the cell has nothing for
    for form in FORMS.values():
        model.Translator(9, 9, settings.ModelSettings(hidden=4, embedding=6, **form))
    for cell in set(CELLS) - BATCH_NORMALISED:
        for decoder in DECODERS:
            for embedding in (4, 6):
                options = dict(cell=cell, decoder=decoder, decoder_layers=2, embedding=embedding)
                model.Translator(9, 9, settings.ModelSettings(hidden=4, **options)).decoder.upper.tensors
    for options in STRUCTURES.values():
        lm.LanguageNetwork(9, lm_settings.ModelSettings(hidden=4, embedding=4, layers=2, **options))
    for options in (dict(embedding=0), dict(adaptive=True), dict(tied=True)):
        lm.LanguageNetwork(99, lm_settings.ModelSettings(**{{"hidden": 4, "embedding": 4, **options}}), [1])
assert built > len(CELLS) * 3
print("{LISTED}" + " ".join(sys.modules), file=sys.stderr)
"""

COMPILER = {"torch._dynamo", "torch._inductor", "sympy"}
LIBRARIES = {"matplotlib", "datasets", "pyarrow", "pandas", "sklearn", "scipy", "tensorboard", "tomli_w"}
METRICS = {"sacrebleu", "seqeval", "seqtool.evaluation"}
TRAINING = {
    f"seqtool.training.{room}" for room in ("job", "loop", "update", "state", "checkpoint", "optimization")
}
PICTURES = {"seqtool.inspection"}
WINGS = {"seqtool.tagging", "seqtool.translation", "seqtool.lm"}
ANSWERING = COMPILER | LIBRARIES | METRICS | TRAINING | PICTURES | {"rich"}


def imported(program: str, *arguments: object, stdin: bytes = b"") -> set[str]:
    """Names of all modules that a process has imported, with those of their parent packages."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        env=environment(),
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr.decode()
    (line,) = [line for line in done.stderr.decode().splitlines() if line.startswith(LISTED)]
    return set(line.removeprefix(LISTED).split())


@pytest.mark.parametrize(
    ("command", "model", "wing"),
    [
        (("tag",), TAGGER, "seqtool.tagging"),
        (("translate",), TRANSLATOR, "seqtool.translation"),
        (("lm", "sample", "--length", "5"), LM, "seqtool.lm"),
        (("lm", "score"), LM, "seqtool.lm"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_an_answer_imports_its_own_wing_and_nothing_that_it_does_not_use(
    command: tuple[str, ...], model: Path, wing: str
) -> None:
    found = imported(PROGRAM, "--quiet", *command, "-m", model, stdin=b"a b a\n")
    assert wing in found
    assert found & (ANSWERING | WINGS - {wing}) == set()


@pytest.mark.parametrize(
    ("model", "data", "allowed"),
    [
        (TAGGER, ["data.conll"], {"seqtool.tagging", "seqeval", "sklearn", "scipy", "pandas", "pyarrow"}),
        (TRANSLATOR, ["data.source", "data.target"], {"seqtool.translation", "sacrebleu"}),
        (LM, ["data.txt"], {"seqtool.lm"} | TRAINING | PICTURES),  # baselines follow from the run's settings
    ],
    ids=["tagger", "translator", "language model"],
)
def test_an_evaluation_imports_its_own_metrics(
    model: Path, data: list[str], allowed: set[str], tmp_path: Path
) -> None:
    for name in data:
        (tmp_path / name).write_text("a\tO\nb\tO\n\n" if name.endswith(".conll") else "a b\n")
    found = imported(
        PROGRAM, "--quiet", "evaluate", *(tmp_path / name for name in data), "-m", model, "--json"
    )
    forbidden = COMPILER | LIBRARIES | TRAINING | PICTURES | WINGS | {"rich", "sacrebleu", "seqeval"}
    assert found & (forbidden - allowed) == set()


def test_help_imports_neither_torch_nor_rich() -> None:
    assert imported(PROGRAM, "-h") & ({"torch", "numpy", "rich"} | LIBRARIES | WINGS) == set()


@pytest.mark.parametrize("model", [TAGGER, TRANSLATOR, LM], ids=lambda path: path.parent.name)
def test_loading_in_python_imports_no_more_than_a_command(model: Path) -> None:
    assert imported(LOADING, model) & (ANSWERING | {"typer"}) == set()


def test_no_network_is_built_for_its_shapes_by_way_of_the_compiler() -> None:
    assert imported(BUILDING) & COMPILER == set()
