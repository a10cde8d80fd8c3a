"""Line streams: what ends a line, what is refused, and that lines are passed on at once."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtool.errors import DataError, StorageError, UsageError
from seqtool.text.lines import LINE_LIMIT, lines_of, open_input, read_lines

LINE = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]))


def _gzipped(raw: bytes) -> bytes:
    return gzip.compress(raw, mtime=0)  # the current time would give the test another name in each process


def lines(raw: bytes, limit: int = LINE_LIMIT) -> list[str]:
    return list(read_lines(io.BytesIO(raw), "data", limit))


@given(st.lists(LINE), st.sampled_from(["\n", "\r\n"]))
def test_only_line_feed_ends_a_line(expected: list[str], end: str):
    if expected:
        expected[0] = expected[0].removeprefix("\ufeff")
    # The byte order mark in front protects a first line that begins with such a mark itself.
    raw = b"\xef\xbb\xbf" + "".join(line + end for line in expected).encode()
    assert lines(raw) == (expected or [""])


@pytest.mark.parametrize(
    "character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r"]
)
def test_other_separators_are_data(character: str):
    assert lines(f"a{character}b\nc\n".encode()) == [f"a{character}b", "c"]


def test_last_line_without_end_is_kept():
    assert lines(b"a\n\nb") == ["a", "", "b"]
    assert lines(b"") == []


def test_byte_order_mark_is_dropped_once_and_only_at_the_start():
    mark = b"\xef\xbb\xbf"
    assert lines(mark + mark + b"a\n" + mark + b"b\n") == ["\ufeffa", "\ufeffb"]


@given(st.lists(LINE, max_size=4), LINE)
def test_bad_byte_is_reported_with_line_and_absolute_offset(before: list[str], prefix: str):
    head = "".join(line + "\n" for line in before).encode() + prefix.encode()
    received: list[str] = []
    with pytest.raises(DataError) as caught:
        received.extend(read_lines(io.BytesIO(head + b"\xffz\n"), "data"))
    assert str(caught.value).startswith(f"data:{len(before) + 1}: not UTF-8 at byte {len(head)} (0xff)")
    assert len(received) == len(before)


def test_offset_counts_the_byte_order_mark():
    with pytest.raises(DataError, match=r"^data:1: not UTF-8 at byte 4 "):
        lines(b"\xef\xbb\xbfa\xff\n")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("text".encode("utf-16"), "data:1: this is UTF-16 text; convert it to UTF-8"),
        ("text".encode("utf-32"), "data:1: this is UTF-32 text; convert it to UTF-8"),
        (b"\xfe\xff\0t", "data:1: this is UTF-16 text; convert it to UTF-8"),
        (b"\0\0\xfe\xff\0\0\0t", "data:1: this is UTF-32 text; convert it to UTF-8"),
        (_gzipped(b"text"), "data:1: this is gzip data; give the file a name that ends in .gz"),
        (b"ab\nc\0d\n", "data:2: a NUL byte at byte 4; expected UTF-8 text, not binary data"),
    ],
)
def test_what_is_not_utf8_text_is_refused(raw: bytes, message: str):
    with pytest.raises(DataError) as caught:
        lines(raw)
    assert str(caught.value) == message


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_line_at_the_limit_passes_and_one_byte_more_does_not(end: bytes):
    assert lines(b"x" * 10 + end, limit=10) == ["x" * 10]
    with pytest.raises(DataError, match=r"^data:1: a line of more than 10 bytes"):
        lines(b"x" * 11 + end, limit=10)


def test_endless_line_takes_bounded_memory():
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"more than 1000000 bytes"):
            next(read_lines(io.BufferedReader(Endless()), "data"))
        assert tracemalloc.get_traced_memory()[1] < 10 * LINE_LIMIT
    finally:
        tracemalloc.stop()


def test_each_line_arrives_before_the_end_of_the_pipe():
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb", buffering=0) as sink:
        received = read_lines(stream, "pipe")
        for text in ["first", "second"]:
            sink.write(f"{text}\n".encode())
            assert next(received) == text


def test_gzip_is_read_and_damage_is_a_data_error_with_earlier_lines_out(tmp_path: Path):
    path = tmp_path / "data.txt.gz"
    packed = _gzipped(b"".join(b"%d\n" % n for n in range(10000)))
    path.write_bytes(packed)
    assert list(lines_of(path)) == [str(n) for n in range(10000)]
    path.write_bytes(packed[: len(packed) // 2])
    received: list[str] = []
    with pytest.raises(DataError, match=r"data.txt.gz:\d+: damaged gzip data"):
        received.extend(lines_of(path))
    assert received[:2] == ["0", "1"]


@pytest.mark.parametrize(
    "damage",
    [
        b"plain text",
        _gzipped(b"text")[:-8] + b"\0" * 8,  # checksum and length
        _gzipped(b"text")[:10] + b"\xff" * 20,  # the compressed data themselves
    ],
)
def test_foreign_or_corrupt_gzip_is_a_data_error(tmp_path: Path, damage: bytes):
    path = tmp_path / "data.gz"
    path.write_bytes(damage)
    with pytest.raises(DataError, match=r"damaged gzip data"):
        list(lines_of(path))


def test_missing_path_and_folder_are_usage_errors(tmp_path: Path):
    with pytest.raises(UsageError, match=r"absent.txt: no such file$"):
        open_input(tmp_path / "absent.txt")
    with pytest.raises(UsageError, match=r"is a folder; expected a file$"):
        open_input(tmp_path)
    with pytest.raises(UsageError, match=r"not a file name$"):
        open_input("a\0b")


def test_refused_open_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(StorageError, match=r"Permission denied$"):
        open_input(tmp_path / "secret.txt")


def test_closed_stream_is_a_storage_error():
    stream = io.BytesIO(b"a\n")
    stream.close()
    with pytest.raises(StorageError, match=r"^data: cannot be read"):
        list(read_lines(stream, "data"))


def test_closed_standard_input_is_a_storage_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(StorageError, match=r"^standard input is closed"):
        open_input("-")


def test_dash_reads_standard_input():
    script = "from seqtool.text.lines import lines_of; print(list(lines_of('-')))"
    done = subprocess.run([sys.executable, "-c", script], input=b"a\nb", capture_output=True, check=True)
    assert done.stdout == b"['a', 'b']\n"
