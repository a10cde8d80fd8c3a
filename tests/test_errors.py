from __future__ import annotations

import re
from pathlib import Path

import pytest

from seqtool import errors
from seqtool.errors import InterruptedRunError, SeqtoolError, nearest

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SeqtoolError)]


def test_the_drawn_tree_shows_every_error_with_its_exit_code() -> None:
    drawn = dict(re.findall(r"─ (\w+Error) +(130 or 143|\d+)\b", errors.__doc__ or ""))
    assert drawn.pop("InterruptedRunError") == "130 or 143"
    expected = {kind.__name__: str(kind.exit_code) for kind in KINDS}
    del expected["SeqtoolError"], expected["InterruptedRunError"]
    assert drawn == expected


def test_exit_codes_are_one_to_nine() -> None:
    codes = {kind.exit_code for kind in KINDS}
    assert codes == set(range(1, 10))


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_an_interrupted_run_ends_as_shells_expect(number: int, code: int) -> None:
    assert InterruptedRunError("stopped", number, Path("run")).exit_code == code


@pytest.mark.parametrize(
    ("name", "hint"),
    [("hiden", "; did you mean 'hidden'?"), ("hidden", "; did you mean 'hidden'?"), ("xyz", "")],
)
def test_nearest_names_only_what_is_near(name: str, hint: str) -> None:
    assert nearest(name, ["layers", "hidden", "cell"]) == hint
