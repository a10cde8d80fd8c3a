"""The vocabularies of source and target: text to ids and back, copied symbols included.

Ids 0 to 3 are padding, unknown, start and end in every vocabulary. The *extended* vocabulary of a
source is the target vocabulary followed by those symbols of that source which it lacks. The ids of
such symbols are valid for that source only, and are decoded as the source spells them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from seqtool.decoding.constraints import Spelling
from seqtool.errors import ModelError, SettingsError
from seqtool.nn.pointer import NOT_COPYABLE
from seqtool.text.codec import Codec, build_sentencepiece, build_symbols, codec_of, read_codec
from seqtool.text.parallel import SentencePair
from seqtool.text.pieces import ByteCodec, Piece, byte_of
from seqtool.text.segmentation import SPACE
from seqtool.text.subwords import SentencePieceCodec
from seqtool.translation.settings import ModelSettings
from seqtool.translation.vocabulary_settings import VocabularySettings

PADDING, UNKNOWN, START, END = 0, 1, 2, 3
NEVER = [PADDING, START]  # symbols that no output contains, though the softmax gives them some probability
CONTROLS = ("<s>", "</s>")  # reserved first, so that they get the ids 2 and 3
SHARED, SOURCE, TARGET = (
    "shared.vocabulary",
    "source.vocabulary",
    "target.vocabulary",
)  # files of a model folder


# Settings of a target vocabulary that keeps all symbols between spaces as they are.
WHOLE = {"kind": "word", "size": 0, "min_count": 1, "lowercase": False}
Copies = Literal["nothing", "symbols", "all"]  # what can be copied of a source; all = its END as well


class EncodedSource(NamedTuple):
    """A source as ids, with the ids of its symbols in the extended target vocabulary."""

    ids: list[int]  # ids of features, then of symbols, then END
    symbols: list[int]  # extended target id of each of these, or NOT_COPYABLE
    extra: tuple[Piece, ...]  # the symbols that extend the target vocabulary, in the order of their ids
    first: int = 0  # number of features that stand before the symbols
    features: tuple[int, ...] = ()  # ids of features that are read apart from the symbols


class Vocabularies:
    """The vocabularies of a translator.

    Args:
        source: Vocabulary of the source.
        target: Vocabulary of the target; the same object if it is shared.

    Raises:
        ModelError: the ids 2 and 3 of a vocabulary are not start and end.
    """

    def __init__(self, source: Codec, target: Codec) -> None:
        for codec in (source, target):
            if tuple(codec.symbols[2:4]) != CONTROLS:
                raise ModelError(
                    f"a vocabulary whose symbols 2 and 3 are {' '.join(codec.symbols[2:4])}, expected "
                    "<s> </s>; build it with `seqtool vocab build --symbols '<s>' --symbols '</s>'`"
                )
        self.source, self.target = source, target
        self._source_ids = {symbol: number for number, symbol in enumerate(source.symbols)}
        self._target_ids = {symbol: number for number, symbol in enumerate(target.symbols) if number > END}

    @classmethod
    def build(
        cls, pairs: Sequence[SentencePair], settings: VocabularySettings, *, spaced: bool = False
    ) -> Vocabularies:
        """Build the vocabularies from the training part, or read the files that the settings name.

        Args:
            pairs: The training part.
            settings: The settings.
            spaced: Whether targets are symbols between spaces, which are kept whole.

        Raises:
            UsageError: a file is missing, or the text does not allow the size.
            ModelError: a file is not a vocabulary.
        """
        if settings.source_file is not None:
            source = read_codec(Path(settings.source_file))
            return cls(source, source if settings.shared else read_codec(Path(settings.target_file or "")))
        features = sorted({feature_symbol(name) for pair in pairs for name in pair.features})
        sources, targets = [pair.source for pair in pairs], [pair.target or "" for pair in pairs]
        if settings.shared:
            both = _build([*sources, *targets], settings, features)
            return cls(both, both)
        of_target = settings.model_copy(update=WHOLE) if spaced else settings
        return cls(_build(sources, settings, features), _build(targets, of_target, ()))

    def unknown_features(self, pair: SentencePair) -> list[str]:
        """The features of a pair that the source vocabulary lacks."""
        return [name for name in pair.features if feature_symbol(name) not in self._source_ids]

    def unknown_characters(self, text: str) -> list[str]:
        """The characters of a source that its vocabulary lacks; of words and bytes none are."""
        if self.source.kind not in ("character", "sentencepiece"):
            return []
        return [piece.symbol for piece in self.source.pieces(text) if piece.id == UNKNOWN]

    @property
    def is_shared(self) -> bool:
        """Whether both sides share one vocabulary."""
        return self.source is self.target

    def encode_source(
        self,
        pair: SentencePair,
        *,
        copies: Copies = "symbols",
        apart: bool = False,
        sampling: float = 0.0,
        seed: int = 0,
    ) -> EncodedSource:
        """Encode the source and features of a pair; features can never be copied.

        Args:
            pair: The pair, of which source and features are read.
            copies: What can be copied; a pure pointer network ends an output by copying END.
            apart: Whether features are read apart, instead of as symbols before the source.
            sampling: Randomness of SentencePiece segmentations, in [0, 1]; 0 = the most probable one.
            seed: Random seed of the sampling.
        """
        features = [self._source_ids.get(feature_symbol(name), UNKNOWN) for name in pair.features]
        pieces = pieces_of(self.source, pair.source, sampling, seed)
        extra: dict[str, Piece] = {}
        symbols = [NOT_COPYABLE] * len(pieces)
        if copies != "nothing":
            symbols = [self._extended(piece, extra) for piece in pieces]
        before: list[int] = [] if apart else features
        return EncodedSource(
            [*before, *(piece.id for piece in pieces), END],
            [*[NOT_COPYABLE] * len(before), *symbols, END if copies == "all" else NOT_COPYABLE],
            tuple(extra.values()),
            len(before),
            tuple(features) if apart else (),
        )

    def encode_target(
        self, text: str, extra: Sequence[Piece], *, sampling: float = 0.0, seed: int = 0
    ) -> list[int]:
        """Encode a target as extended ids, END at the end.

        Args:
            text: The target.
            extra: `EncodedSource.extra` of its source.
            sampling: Randomness of SentencePiece segmentations, in [0, 1]; 0 = the most probable one.
            seed: Random seed of the sampling.
        """
        numbers = {piece.symbol: len(self.target.symbols) + i for i, piece in enumerate(extra)}
        pieces = pieces_of(self.target, text, sampling, seed)
        ids = [numbers.get(piece.symbol, UNKNOWN) if piece.id == UNKNOWN else piece.id for piece in pieces]
        return [*ids, END]

    def require_exact_copies(self) -> None:
        """Require vocabularies with which copied text equals the source byte for byte.

        SentencePiece normalises a line before it splits it, so that a piece may cover half of a character.

        Raises:
            SettingsError: a SentencePiece vocabulary folds case or variants of characters.
        """
        if any(getattr(codec, "normalises", False) for codec in (self.source, self.target)):
            raise SettingsError(
                "model.copy and model.output = 'positions' give back the source's text as it is, and this "
                "SentencePiece vocabulary folds case and variants of characters (vocabulary.lowercase): "
                "--set vocabulary.lowercase=false, or --set vocabulary.kind=word"
            )

    def unwritable(self, text: str, extra: Sequence[Piece]) -> str | None:
        """The first word that cannot be encoded given a source's extra symbols; None if all can be."""
        if UNKNOWN not in self.encode_target(text, extra):
            return None
        return next((word for word in text.split() if UNKNOWN in self.encode_target(word, extra)), text)

    def text(self, ids: Iterable[int], extra: Sequence[Piece]) -> str:
        """The text of extended ids, given the extra symbols of their source."""
        ids, size = list(ids), len(self.target.symbols)
        if all(number < size for number in ids):
            return self.target.decode(ids)
        parts = [
            extra[number - size].surface if number >= size else _spelled(self.target, number)
            for number in ids
            if number > END or number == UNKNOWN
        ]
        if self.target.kind == "word":
            return " ".join(str(part) for part in parts)
        if self.target.kind == "sentencepiece" and isinstance(parts[0], str):
            parts[0] = parts[0].removeprefix(" ")  # it only marks a word's beginning, unlike a space's byte
        return _joined(parts)

    def source_symbols(self, pair: SentencePair, *, apart: bool = False) -> list[str]:
        """The symbols of a source as text, its end included, and its features unless they are read apart."""
        features = [] if apart else [feature_symbol(name) for name in pair.features]
        return [*features, *(piece.symbol for piece in self.source.pieces(pair.source)), CONTROLS[1]]

    def target_symbols(self, ids: Iterable[int], extra: Sequence[Piece]) -> list[str]:
        """The symbols of extended ids as text, given the extra symbols of their source."""
        symbols = self.target.symbols
        return [symbols[i] if i < len(symbols) else extra[i - len(symbols)].symbol for i in ids]

    def spelling(self, extras: Sequence[Sequence[Piece]]) -> Spelling:
        """The text that each target symbol stands for, and each extra symbol of some sources.

        Args:
            extras: The extra symbols of each source.
        """
        size = len(self.target.symbols)
        common = [_text_of(self.target, _spelled(self.target, number)) for number in range(size)]
        own = [[_text_of(self.target, piece.surface) for piece in extra] for extra in extras]
        return Spelling(common, own)

    def _extended(self, piece: Piece, extra: dict[str, Piece]) -> int:
        """Extended target id of a source symbol; a symbol that the target lacks is added to `extra`."""
        known = self._target_ids.get(piece.symbol)
        if known is not None:
            return known
        if not piece.symbol:
            return NOT_COPYABLE
        # A byte that the target lacks is kept apart by the character that it is part of.
        key = piece.symbol + piece.surface if byte_of(piece.symbol) else piece.symbol
        if self.target.kind == "sentencepiece" and piece.symbol.startswith(SPACE):
            # At the start of a line the surface lacks the space of the symbol, which is needed elsewhere.
            piece = piece._replace(surface=" " + piece.surface.removeprefix(" "))
        extra.setdefault(key, piece)
        return len(self.target.symbols) + list(extra).index(key)

    def to_files(self) -> dict[str, bytes]:
        """The vocabulary files of a model folder, by file name."""
        if self.is_shared:
            return {SHARED: self.source.to_bytes()}
        return {SOURCE: self.source.to_bytes(), TARGET: self.target.to_bytes()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], where: str) -> Vocabularies:
        """Vocabularies from the files of a model folder; the inverse of `to_files`.

        Args:
            files: Contents by file name.
            where: Name of the model in messages.

        Raises:
            ModelError: a file is missing or damaged.
        """
        try:
            if SHARED in files:
                both = codec_of(files[SHARED], f"{where}: {SHARED}")
                return cls(both, both)
            return cls(*(codec_of(files[name], f"{where}: {name}") for name in (SOURCE, TARGET)))
        except KeyError as error:
            raise ModelError(f"{where}: damaged: {error} is missing") from error


def copies_of(model: ModelSettings) -> Copies:
    """What a network with these settings can copy from its source."""
    if model.output == "positions":
        return "all"
    return "symbols" if model.copy_source or model.decoder == "edit" else "nothing"


def feature_symbol(name: str) -> str:
    """The vocabulary symbol of a feature, in angle brackets to distinguish it from letters and words."""
    return f"<{name}>"


def word_numbers(codec: Codec, symbols: Sequence[str]) -> list[int]:
    """Number of the word, from 0, that each symbol of a line belongs to.

    Only SentencePiece symbols form words; of other vocabularies each symbol counts as a word.
    """
    if codec.kind != "sentencepiece":
        return list(range(len(symbols)))
    starts = [place == 0 or symbol.startswith(SPACE) for place, symbol in enumerate(symbols)]
    return [sum(starts[: place + 1]) - 1 for place in range(len(symbols))]


def pieces_of(codec: Codec, text: str, sampling: float, seed: int) -> list[Piece]:
    """The symbols of a text, from a random segmentation if `sampling` is above 0."""
    sample = getattr(codec, "sample", None)
    if not sampling or sample is None:
        return codec.pieces(text)
    drawn: list[Piece] = sample(text, sampling, seed)
    return drawn


def _build(lines: list[str], settings: VocabularySettings, features: Sequence[str]) -> Codec:
    """A vocabulary of one side or both, with room for the symbols of features."""
    reserved = (*features, *settings.reserved)
    if settings.kind == "byte":
        if reserved:
            raise SettingsError(
                "vocabulary.kind = 'byte' has no symbols for features, tags or vocabulary.reserved; "
                "choose another kind, e.g. --set vocabulary.kind=character"
            )
        return ByteCodec()
    if settings.kind == "sentencepiece":
        return build_sentencepiece(
            lines,
            size=settings.size or None,
            exact=False,
            model_type=settings.model_type,
            byte_fallback=settings.byte_fallback,
            split_digits=settings.split_digits,
            lowercase=settings.lowercase,
            reserved=reserved,
        ).codec
    return build_symbols(
        lines,
        settings.kind,
        size=settings.size,
        min_count=settings.min_count,
        lowercase=settings.lowercase,
        reserved=(*CONTROLS, *reserved),
    ).codec


def _spelled(codec: Codec, number: int) -> str | bytes:
    """The text of an id, or the byte that it stands for."""
    if isinstance(codec, SentencePieceCodec):
        return codec.spelled(number)
    symbol = codec.symbols[number]
    return (byte_of(symbol) if codec.kind == "byte" else None) or symbol


def _text_of(codec: Codec, spelled: str | bytes) -> bytes:
    """The bytes that a symbol adds to a text, the space before a word included."""
    if isinstance(spelled, bytes):
        return spelled
    return (" " * (codec.kind == "word") + spelled).encode()


def _joined(parts: Sequence[str | bytes]) -> str:
    """The text of strings and bytes in a row; bytes that are not UTF-8 become U+FFFD."""
    raw = b"".join(part if isinstance(part, bytes) else part.encode() for part in parts)
    return raw.decode("utf-8", errors="replace")
