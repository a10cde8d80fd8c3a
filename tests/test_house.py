"""The imports of every file keep to the floors in the table of seqtool/README.md."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "seqtool"
FILES = sorted(PACKAGE.rglob("*.py"))
# From the ground up. A room imports the rooms of its own floor and everything below, never above.
FLOORS: list[set[str]] = [
    {"errors", "version"},
    {"files", "evaluation", "decoding"},
    {"nn", "settings", "settings_keys"},
    {"inspection", "devices"},
    {"text", "bundled", "settings_guide"},
    {"models"},
    {"training", "diagnosis"},
    {"lm"},
    {"tagging", "translation", "classification"},
    {"tasks"},
    {"resolution"},
    {"stages"},
    {"runs", "ensembles"},
    {"api"},
    {"suspicion"},
    {"__init__", "cli"},
    {"__main__"},
]
HEIGHT = {name: height for height, floor in enumerate(FLOORS) for name in floor}
# Neighbours that do not import each other: wings, except for one door (a wing may read text with a language
# model, by lm's public module), and a search that has never heard of a model.
WINGS = {"tagging", "translation", "lm", "classification"}
LM_DOOR = "seqtool.lm.reading"
STRANGERS = {(a, b) for a in WINGS for b in WINGS if a != b} | {("decoding", "nn")}
EXEMPT: set[tuple[str, str]] = set()  # (file, imported module); every entry needs a reason beside it
ONLY_IN_CLI = {"typer", "rich", "click"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "torch.load", "torch.save", "numpy.load", "np.load"}
FUNCTION_LINES, FILE_LINES = 70, 450


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


MODULES = {module_name(path): path for path in FILES}


def imported_modules(tree: ast.AST) -> list[str]:
    """All imports of a file, anywhere in it; `from seqtool.nn import crf` counts as `seqtool.nn.crf`."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name != "seqtool"]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if name in MODULES else node.module for name in inner]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "seqtool":
            name = f"seqtool.{node.attr}"
            found.append(name if name in MODULES else "seqtool")
    return found


def violations(module: str, imports: list[str]) -> list[str]:
    here, result = room(module), []
    for name in imports:
        there, top = room(name), name.split(".")[0]
        if top in FORBIDDEN_MODULES or (top in ONLY_IN_CLI and here != "cli"):
            result.append(f"{module} imports {name}")
        if top != "seqtool" or there == here or (module, name) in EXEMPT:
            continue
        strangers = (here, there) in STRANGERS and not (here in WINGS and name == LM_DOOR)
        if strangers or HEIGHT.get(there, len(FLOORS)) > HEIGHT[here]:
            result.append(f"{module} must not import {name}")
    return result


def forbidden_calls(tree: ast.AST) -> list[str]:
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if call in FORBIDDEN_CALLS]


def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def test_every_room_has_its_floor():
    assert {room(name) for name in MODULES} <= set(HEIGHT)


def test_a_room_imports_only_itself_and_what_lies_below():
    assert [line for name, tree in trees().items() for line in violations(name, imported_modules(tree))] == []


def test_neither_files_nor_rooms_import_in_a_circle():
    files = {name: set(imported_modules(tree)) & set(MODULES) - {name} for name, tree in trees().items()}
    rooms: dict[str, set[str]] = {}
    for name, imports in files.items():
        rooms.setdefault(room(name), set()).update({room(other) for other in imports} - {room(name)})
    for graph in (files, rooms):
        order = list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names a circle
        assert set(order) >= set(graph)


def test_nothing_can_execute_a_file():
    assert {name: calls for name, tree in trees().items() if (calls := forbidden_calls(tree))} == {}


def test_every_file_says_what_it_is():
    assert [name for name, tree in trees().items() if not ast.get_docstring(tree)] == []
    assert [
        str(folder) for folder in {path.parent for path in FILES} if not (folder / "__init__.py").exists()
    ] == []


def test_functions_and_files_stay_readable():
    long = [name for name, path in MODULES.items() if len(path.read_text().splitlines()) > FILE_LINES]
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                long += [f"{name}.{node.name}: {lines} lines"] if lines > FUNCTION_LINES else []
    assert long == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("seqtool.nn.crf", "from seqtool.text.columns import TaggedSentence"),
        ("seqtool.decoding.beam", "from seqtool.nn import crf"),
        ("seqtool.evaluation.score", "import seqtool.settings"),
        ("seqtool.text.columns", "from seqtool import tagging"),
        ("seqtool.translation.data", "from seqtool.tagging.data import Batch"),
        ("seqtool.lm.model", "from seqtool.tagging import model"),
        ("seqtool.tagging.model", "from seqtool.lm import model"),
        ("seqtool.tagging.train", "def late():\n    from seqtool.cli import console"),
        ("seqtool.training.progress", "from rich.table import Table"),
        ("seqtool.files", "import pickle"),
        ("seqtool.nn.crf", "from seqtool.attic import thing"),
        ("seqtool.training.loop", "import seqtool\nseqtool.train('ner-tiny')"),
        ("seqtool.training.loop", "from seqtool import train"),
    ],
)
def test_the_check_sees_a_forbidden_import(module, source):
    assert violations(module, imported_modules(ast.parse(source))) != []


@pytest.mark.parametrize("source", ["eval('1')", "torch.load(path)", "def f():\n    return exec(text)"])
def test_the_check_sees_a_forbidden_call(source):
    assert forbidden_calls(ast.parse(source)) != []


def test_the_command_line_starts_without_torch():
    """`--help` answers at once: importing PyTorch takes a second, so only commands that need it may."""
    code = "import sys, seqtool.cli.app; print({'torch', 'datasets', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "set()"), done.stderr
