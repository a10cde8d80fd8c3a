"""Subwords by SentencePiece, configured so that decoding gives back exactly the text that was encoded.

The library's defaults change text (NFKC, runs of spaces merged) and train on a sample of a long corpus; here
text stays as it is and all of it is read, so that the same text gives the same model. Text that contains
`<s>` and the like, or U+2581 (the library's symbol for a space), survives too: during training the special
symbols have names with a line end in them, and a line end, which no line contains, replaces U+2581. The
latter holds only for models that end in `EXACT`; older ones turn U+2581 into a space.

Reference: Kudo and Richardson 2018; unigram: Kudo 2018; bpe: Sennrich et al. 2016; sampled
segmentations: Kudo 2018, section 3.2, and BPE-dropout, Provilkov et al. 2020.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

from seqtool.errors import DataError, UsageError
from seqtool.text.lines import LINE_LIMIT
from seqtool.text.pieces import END, START, Piece, surfaces_at_first_byte
from seqtool.text.segmentation import SPACE, SegmentationSampler
from seqtool.text.vocabulary import PADDING, UNKNOWN

DEFAULT_SIZE = 8000
TRAINER_THREADS = 4  # fixed, since sums of floats depend on how the work is divided among threads
COVERAGE = 0.9995  # fraction of the text's characters that get pieces, if bytes can spell the others

# A protobuf field (number 200) at the end of a model file, which the library ignores. It marks a model whose
# input has its characters replaced as in `_INSIDE`.
EXACT = b"\xc2\x0c\x0dseqtool.exact"

# U+2585 marks unknown text in the library's trainer, which skips lines that contain it. In models without
# byte pieces, it is exchanged with a code point that is not a character.
UNKNOWN_MARK, NONCHARACTER = "\u2585", "\ufdd1"
_INSIDE = {SPACE: "\n"}
_EXCHANGED = {UNKNOWN_MARK: NONCHARACTER, NONCHARACTER: UNKNOWN_MARK}

# Messages of the library's trainer that are translated for the user.
_TOO_LARGE = re.compile(r"too high \((\d+)\)\. Please set it to a value <= (\d+)")
_TOO_SMALL = re.compile(r"smaller than required_chars\. (\d+) vs (\d+)")


def train_sentencepiece(
    lines: Iterable[str],
    *,
    size: int | None = None,
    exact: bool = True,
    model_type: Literal["unigram", "bpe"] = "unigram",
    byte_fallback: bool = False,
    split_digits: bool = False,
    lowercase: bool = False,
    reserved: tuple[str, ...] = (),
) -> bytes:
    """Train a SentencePiece model; ids 0 to 3 are padding, unknown, start and end.

    Args:
        lines: The text, without line ends.
        size: Number of pieces; None = `DEFAULT_SIZE`, or fewer if the text does not yield as many.
        exact: Whether there must be exactly `size` pieces; if not, fewer are accepted.
        model_type: Algorithm that chooses the pieces.
        byte_fallback: Whether characters without a piece are spelled in bytes, so that nothing is unknown.
        split_digits: Whether each digit is a piece of its own.
        lowercase: Whether to fold case, together with NFKC variants, as the library cannot fold case alone.
        reserved: Pieces that are never split, with ids from 4 on.

    Returns:
        The content of the library's model file.

    Raises:
        DataError: the text is empty.
        UsageError: the text yields fewer pieces than `size`, or needs more.
    """
    import sentencepiece

    source = _Watched(lines)
    table = None if lowercase else _inside(has_bytes=byte_fallback)  # folding changes text anyway
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(source) if table is None else (line.translate(table) for line in source),
            model_writer=model,
            vocab_size=size or DEFAULT_SIZE,
            hard_vocab_limit=exact and size is not None,
            model_type=model_type,
            byte_fallback=byte_fallback,
            split_digits=split_digits,
            character_coverage=COVERAGE if byte_fallback else 1.0,
            normalization_rule_name="nmt_nfkc_cf" if lowercase else "identity",
            remove_extra_whitespaces=False,
            user_defined_symbols=list(reserved),
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            pad_piece=_hidden(PADDING),
            unk_piece=_hidden(UNKNOWN),
            bos_piece=_hidden(START),
            eos_piece=_hidden(END),
            unk_surface=UNKNOWN,
            max_sentence_length=LINE_LIMIT,
            input_sentence_size=0,
            shuffle_input_sentence=False,
            num_threads=TRAINER_THREADS,
            minloglevel=3,
        )
    except RuntimeError as error:
        if source.error is not None:
            raise source.error from None
        raise _explained(str(error), size, byte_fallback, source) from error
    if not source.any_text:  # the model would consist of spaces only
        raise _no_text()
    return _with_special_names(model.getvalue()) + (b"" if table is None else EXACT)


FOLDED = ("A", "\ufb01", "\uff41")  # a capital, a ligature, a full-width letter


class SentencePieceCodec:
    """Encodes text as SentencePiece pieces, and decodes it.

    Args:
        proto: Content of a SentencePiece model file, which another program may have made.

    Raises:
        ValueError: it is not a SentencePiece model.
    """

    kind: str = "sentencepiece"

    def __init__(self, proto: bytes) -> None:
        import sentencepiece

        self._proto = proto
        self._processor: Any = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(proto)
        except RuntimeError as error:
            raise ValueError("not a SentencePiece model") from error
        self.unknown: int = self._processor.unk_id()
        self.symbols = tuple(map(self._processor.id_to_piece, range(len(self._processor))))
        self._bytes = [
            int(symbol[3:5], 16) if self._processor.is_byte(number) else None
            for number, symbol in enumerate(self.symbols)
        ]
        has_bytes = any(byte is not None for byte in self._bytes)
        self._inside = _inside(has_bytes=has_bytes) if proto.endswith(EXACT) else {}
        self._outside = {ord(inside): chr(outside) for outside, inside in self._inside.items()}

    @property
    def normalises(self) -> bool:
        """Whether case or variants of characters are folded before a line is segmented."""
        return any(self._processor.normalize(text).lstrip(SPACE) != text for text in FOLDED)

    def encode(self, line: str) -> list[int]:
        """The ids of the most likely segmentation."""
        ids: list[int] = self._processor.encode(line.translate(self._inside))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a sequence of ids; padding, start and end are left out."""
        text: str = self._processor.decode(list(ids))
        return text.translate(self._outside)

    def spelled(self, number: int) -> str | bytes:
        """The text of a piece, including the space before a word; the byte of a byte piece."""
        byte = self._bytes[number]
        if byte is None:
            return self.symbols[number].replace(SPACE, " ").translate(self._outside)
        return self._outside.get(byte, "").encode() or bytes([byte])

    def sample(self, line: str, alpha: float, seed: int) -> list[Piece]:
        """A random segmentation of a line; the surfaces of the pieces are left empty.

        Args:
            line: The line.
            alpha: In (0, 1]. unigram: exponent of the probabilities, so that small values give more varied
                segmentations; bpe: probability of skipping a merge.
            seed: Random seed; the same arguments always give the same pieces.

        Raises:
            UsageError: the model type has only one segmentation of each text.
        """
        assert 0 < alpha <= 1
        result: list[Piece] = []
        for text in self._sampler(self._processor.normalize(line.translate(self._inside)), alpha, seed):
            number = self._numbers.get(text)
            if number is None and self._byte_numbers:
                bytes_of_it = [self._byte_numbers[byte] for byte in text.encode()]
                result += [Piece(number, self.symbols[number], "") for number in bytes_of_it]
            elif number is not None:
                result.append(Piece(number, text, ""))
            elif result and result[-1].id == self.unknown:  # consecutive unknown text is one piece
                result[-1] = Piece(self.unknown, result[-1].symbol + text, "")
            else:
                result.append(Piece(self.unknown, text, ""))
        return result

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The ids of the pieces into which text can be segmented."""
        processor = self._processor
        return {
            symbol: number
            for number, symbol in enumerate(self.symbols)
            if self._bytes[number] is None
            and not (
                processor.is_control(number) or processor.is_unknown(number) or processor.is_unused(number)
            )
        }

    @cached_property
    def _byte_numbers(self) -> dict[int, int]:
        """The id of each byte's piece; empty if the model has no byte pieces."""
        return {byte: number for number, byte in enumerate(self._bytes) if byte is not None}

    @cached_property
    def _sampler(self) -> SegmentationSampler:
        whole = [symbol for symbol, number in self._numbers.items() if self._is_whole(number)]
        scores = {symbol: self._processor.get_score(number) for symbol, number in self._numbers.items()}
        for symbol in whole:
            del scores[symbol]
        return SegmentationSampler(scores, whole, self._model_type())

    def _model_type(self) -> Literal["unigram", "bpe"]:
        """The type of the model, which the library reveals only by what the model can do."""
        text = SPACE
        try:
            self._processor.encode(text, enable_sampling=True, alpha=0.5, nbest_size=-1)
        except RuntimeError:
            raise UsageError(
                "vocabulary.sampling: a model of this type has only one segmentation of each text; "
                "leave the setting out, or build a unigram or bpe vocabulary"
            ) from None
        try:
            self._processor.nbest_encode(text, nbest_size=2)
        except RuntimeError:
            return "bpe"
        return "unigram"

    def pieces(self, line: str) -> list[Piece]:
        """The most likely segmentation; a piece that begins a word also covers the space before it."""
        # The offsets are in characters, and `_inside` replaces each character by exactly one.
        found = self._processor.encode(line.translate(self._inside), return_type="offset_mapping")
        ids: list[int] = found["ids"]
        # A piece covers everything from the end of the piece before, so that nothing is lost that a model's
        # own normalisation drops (such as a second space).
        ends = [end for _, end in found["offsets"]]
        edges = [0, *ends[:-1], len(line)]
        surfaces = [line[start:end] for start, end in pairwise(edges)] if ids else []
        surfaces_at_first_byte(surfaces, [self._bytes[number] for number in ids])
        # For an unknown piece the library returns the text that it looked up.
        return [Piece(*each) for each in zip(ids, found["pieces"], surfaces, strict=True)]

    def to_bytes(self) -> bytes:
        """The content of the library's model file."""
        return self._proto

    def _is_whole(self, number: int) -> bool:
        """True for padding, unknown, start, end and the reserved symbols."""
        if self._processor.is_control(number) or self._processor.is_unknown(number):
            return True
        # The library does not say which symbols are reserved, but their score is 0. Other pieces have a
        # negative log-probability, or the negative of their rank, which is -0 for the first merge.
        score: float = self._processor.get_score(number)
        return self._bytes[number] is None and score == 0 and math.copysign(1, score) > 0


# Protobuf tag of the field that holds each name in the trainer settings (`sentencepiece_model.proto`).
_TAGS = {PADDING: b"\x82\x03", UNKNOWN: b"\xea\x02", START: b"\xf2\x02", END: b"\xfa\x02"}


def _hidden(name: str) -> str:
    """A name of the same length that no line contains, since the trainer removes such names from its text."""
    return "\n" + name[1:]


def _with_special_names(proto: bytes) -> bytes:
    """The model file with the usual names of the special symbols, among the pieces and in the settings."""
    for name, tag in _TAGS.items():
        for before in (b"\x0a", tag):  # tag of a piece's first field, its text
            head = before + bytes([len(name)])
            assert head + _hidden(name).encode() in proto
            proto = proto.replace(head + _hidden(name).encode(), head + name.encode(), 1)
    return proto


def _inside(*, has_bytes: bool) -> dict[int, str]:
    """Replacements inside the library for the characters that it would not return unchanged."""
    table = _INSIDE if has_bytes else {**_INSIDE, **_EXCHANGED}
    return {ord(outside): inside for outside, inside in table.items()}


class _Watched:
    """Passes lines to the library and keeps an error of theirs, which the library would hide."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = lines
        self.error: BaseException | None = None
        self.any_text = False

    def __iter__(self) -> Iterator[str]:
        try:
            for line in self._lines:
                self.any_text = self.any_text or bool(line.strip())
                yield line
        except BaseException as error:
            self.error = error
            raise


def _no_text() -> DataError:
    return DataError("no text: every line is blank; expected at least one word")


def _explained(message: str, size: int | None, byte_fallback: bool, source: _Watched) -> Exception:
    if not source.any_text:
        return _no_text()
    if found := _TOO_LARGE.search(message):
        return UsageError(
            f"--size {size}: this text yields at most {found[2]} pieces; lower --size or leave it out"
        )
    if found := _TOO_SMALL.search(message):
        advice = "raise it" if byte_fallback else "raise it, or use --byte-fallback for rare characters"
        return UsageError(f"--size {found[1]}: this text needs more than {found[2]} pieces; {advice}")
    return DataError(f"sentencepiece cannot learn from this text: {message}")
