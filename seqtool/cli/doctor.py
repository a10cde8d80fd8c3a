"""`seqtool doctor`: the devices of this machine, what will be used, and why."""

from __future__ import annotations

import json
import os
import sys

from seqtool.cli import console, options, tables


def doctor(json_output: options.JsonOption = False) -> None:
    """Show versions, devices, precision and speed of this machine, what will be used and why.

    Examples:
      seqtool doctor
      seqtool doctor --json
    """
    from seqtool import diagnosis

    chosen = diagnosis.conclusion()
    sections = {**diagnosis.diagnose(), "terminal": _terminal(), "auto": chosen}
    if json_output:
        console.write_result(json.dumps(sections, ensure_ascii=False) + "\n")
        return
    for title, rows in sections.items():
        if rows is not chosen:
            console.print_table(tables.facts_table(title, rows.items()))
    console.write_result(
        f"auto uses {chosen['device']} ({chosen['device reason']}), {chosen['precision']} "
        f"for training ({chosen['precision reason']}), threads: {chosen['threads']}\n"
    )


def _terminal() -> dict[str, str]:
    """Where standard output and standard error go, and what the terminal can show."""
    screen = console.error_console()
    colours = screen.color_system if screen.is_terminal and not screen.no_color else None
    return {
        "stdout": "a terminal" if console.output().isatty() else "a pipe or file: no colour, no escapes",
        "stderr": "a terminal" if screen.is_terminal else "a pipe or file: plain lines for progress",
        "encoding": f"{sys.stdout.encoding}",
        "width": f"{screen.width} columns",
        "colours": colours or "none",
        "$TERM": os.environ.get("TERM", "not set"),
        "$NO_COLOR": os.environ.get("NO_COLOR", "not set"),
    }
