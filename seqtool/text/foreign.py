"""Refusing files in other formats by name, before they are misread as columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from seqtool.errors import DataError

_BRAT = re.compile(r"(T\d+\t\S+ \d+ \d+(;\d+ \d+)*(\t|$)|[REAMN*#]\d*\t\S+ \S)")
_XML = re.compile(r"\s*<(\?xml|!DOCTYPE|html|TEI|corpus|document|GATE)\b", re.IGNORECASE)
_WEBANNO = "#FORMAT=WebAnno"
ROWS = "one token per line, columns separated by tabs, and a blank line after each sentence"


def refuse_foreign(content: Sequence[str], name: str, extension: str) -> None:
    """Refuse a file that cannot be CoNLL columns.

    Args:
        content: First lines of the file, without blank ones.
        name: Name of the file for messages.
        extension: Extension of the name, such as `.csv`.

    Raises:
        DataError: the file is brat standoff, XML, WebAnno TSV or CSV; the message says what to do.
    """
    found = _name(content, extension)
    if found is not None:
        raise DataError(f"{name}: this is {found}")


def _name(content: Sequence[str], extension: str) -> str | None:
    if extension == ".ann" or all(map(_BRAT.match, content)):
        return "brat's standoff annotation; give the file a name that ends in .ann, beside its text in .txt"
    if _XML.match(content[0]):
        return f"XML or HTML; convert it to CoNLL columns: {ROWS}"
    if content[0].startswith(_WEBANNO):
        return "WebAnno TSV; export it from WebAnno or INCEpTION as CoNLL 2002"
    if extension == ".csv" or _has_commas(content):
        return (
            f"comma-separated; save it as CoNLL columns: {ROWS}; or, if it holds pairs of sentences, check "
            "it with `seqtool data check FILE --task translate`"
        )
    return None


def _has_commas(content: Sequence[str]) -> bool:
    """True if nearly all lines have the same number of commas, and few have spaces or tabs."""
    if len(content) < 2 or any("\t" in line for line in content):
        return False
    counts = Counter(line.count(",") for line in content if line.strip() != ",")
    if not counts:
        return False
    commas, lines = counts.most_common(1)[0]
    words = sum(len(line.split()) for line in content) / len(content)
    return commas > 0 and lines > 0.9 * len(content) and words < 2
