"""Help of `seqtool inspect`."""

from __future__ import annotations

import pytest

from tests.cli.running import Inside

COMMANDS = ("attention", "cells", "curves", "gates", "gradients", "memory", "states")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_two_examples_of_the_command(inside: Inside, command: str):
    text = inside("inspect", command, "-h").out.decode()
    examples = text.partition("Examples:")[2].splitlines()[1:3]
    assert len(examples) == 2
    assert all(f"seqtool inspect {command}" in each for each in examples), text


def test_help_lists_every_command(inside: Inside):
    text = inside("inspect", "-h").out.decode()
    assert all(f"  {command} " in text for command in COMMANDS)
