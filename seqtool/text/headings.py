"""Rows of headings above tables of sentence pairs: recognising them, and which columns hold the pair."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

PREVIEW = 100  # rows at the beginning of a file that decide what its columns are
UNLIKE = 0.1  # share of rows that may look like headings below a row of headings
IGNORED = "-"  # name of a column that is not read
REMARK = "first row taken as headings"

_WORDS = re.compile(r"[^\W\d_]+([ _-][^\W\d_]+){0,2}")  # one to three words of letters
_LONGEST = 30  # characters of a heading
_CODE = re.compile(r"([a-z]{2,3})([-_][a-z]{2,4})?")


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


# ISO 639-1, and the most frequent codes of ISO 639-2 and 639-3.
_CODES = _set_of(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de "
    "dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id "
    "ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu "
    "lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu "
    "rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr "
    "ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu eng deu ger fra fre spa ita por nld dut rus "
    "ukr pol ces cze slk slo hun ron rum bul ell gre tur ara heb fas per hin ben urd tam tel cmn zho chi "
    "jpn kor vie tha ind msa may fin swe nor nob dan isl ice est lav lit hrv srp slv cat eus baq glg gle "
    "cym wel lat epo swa"
)
# Names of languages, in English and in the language itself.
_LANGUAGES = _set_of(
    "afrikaans albanian shqip amharic arabic armenian azerbaijani basque euskara belarusian bengali "
    "bosnian breton bulgarian catalan català chinese mandarin cantonese croatian hrvatski czech čeština "
    "danish dansk dutch nederlands english englisch inglés anglais esperanto estonian eesti finnish suomi "
    "french français francais französisch francés galician galego georgian german deutsch allemand alemán "
    "greek gujarati haitian hausa hawaiian hebrew hindi hungarian magyar icelandic igbo indonesian irish "
    "gaeilge italian italiano japanese javanese kannada kazakh khmer korean kurdish latin latvian "
    "latviešu lithuanian macedonian malay malayalam maltese maori marathi mongolian nepali norwegian "
    "norsk persian farsi polish polski portuguese português portugues punjabi quechua romanian română "
    "russian русский sanskrit serbian sinhala slovak slovenčina slovene slovenian slovenščina somali "
    "spanish spanisch español espanol espagnol sundanese swahili swedish svenska tagalog tamil tatar "
    "telugu thai tibetan turkish türkçe turkmen ukrainian українська urdu uyghur uzbek vietnamese welsh "
    "cymraeg xhosa yiddish yoruba zulu"
)
# Usual headings of columns that are not sentences, and of sentences of no language in particular.
_OTHER_COLUMNS = _set_of(
    "id no nr number index key uid guid note notes comment comments remark remarks author user date time "
    "category domain topic type level licence license attribution url link file corpus split"
)
_SENTENCES = _set_of(
    "source src target tgt trg input output text sentence sentences translation reference original "
    "question answer features word lemma form"
)


def are_headings(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns, and is no data.

    Its cells are short, different names; and they are names or codes of languages or usual headings, or
    one of them is and the rows below do not look like that.

    Args:
        rows: The first rows of the file.

    >>> are_headings([["id", "english"], ["1", "Go."]]), are_headings([["run", "courir"], ["go", "aller"]])
    (True, False)
    """
    first = [_plain(cell) for cell in rows[0]]
    if not look_like_headings(rows):
        return False
    if all(map(_is_known, first)):
        return True
    return any(_is_known(cell) and not _CODE.fullmatch(cell) for cell in first)


def look_like_headings(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row has different short names, all of them known, or few rows below are like that.

    Args:
        rows: The first rows of the file.
    """
    first = [_plain(cell) for cell in rows[0]]
    if not all(map(_is_name, first)) or len(set(first)) < len(first):
        return False
    below = [[cell for cell in map(_plain, row) if cell] for row in rows[1:]]
    known = all(map(_is_known, first))
    if known and not all(map(_CODE.fullmatch, first)):
        return True
    # Words of two letters may be both: `so,si` is a pair if the rows below are such words, too.
    same = _CODE.fullmatch if known else _is_name
    alike = sum(bool(row) and all(map(same, row)) for row in below)
    return alike <= UNLIKE * len(below) if below else known


def likely_sides(rows: Sequence[Sequence[str]], *, headings: bool) -> tuple[int, int]:
    """The columns, from 0, that most likely hold source and target.

    With headings, these are the first two that are languages; otherwise the first two columns of text: most
    cells have letters, and they are not the same few values again and again.

    Args:
        rows: The first rows of the file, all of at least two cells.
        headings: Whether the first of them names the columns.
    """
    names = [_plain(cell) for cell in rows[0]] if headings else []
    languages = [place for place, name in enumerate(names) if is_language(name)]
    # `id` and `no` are also the codes of Indonesian and Norwegian.
    plainly = [place for place in languages if names[place] not in _OTHER_COLUMNS]
    languages = plainly if len(plainly) > 1 else languages
    if len(languages) > 1:
        return languages[0], languages[1]
    below = rows[1:] if headings else rows
    texts = [
        place
        for place in range(len(rows[0]))
        if _is_text([row[place] for row in below if place < len(row)])
        and not (names and names[place] in _OTHER_COLUMNS)
    ]
    return (texts[0], texts[1]) if len(texts) > 1 else (0, 1)


def hold_features(cells: Sequence[str], separator: str) -> bool:
    """Whether a column holds features: lists of symbols that occur again and again, such as `V;PST`.

    Args:
        cells: Its first cells.
        separator: Text between two features.

    >>> hold_features(["N;ACC;SG", "N;GEN;SG"], ";"), hold_features(["go; run", "so; to"], ";")
    (True, False)
    """
    listed = [cell.strip(" ").split(separator) for cell in cells if cell.strip(" ")]
    symbols = [symbol for each in listed for symbol in each]
    several = sum(len(each) > 1 for each in listed)
    plain = all(symbol and not any(map(str.isspace, symbol)) for symbol in symbols)
    return plain and several > 0 and 2 * several >= len(listed) and len(set(symbols)) < len(symbols)


def is_language(name: str) -> bool:
    """Whether a heading is the name or the code of a language.

    >>> is_language("Deutsch"), is_language("pt-BR"), is_language("notes")
    (True, True, False)
    """
    name = _plain(name)
    code = _CODE.fullmatch(name)
    return name in _LANGUAGES or (code is not None and code[1] in _CODES)


def columns_example(names: Sequence[str]) -> str:
    """How to name the columns of a file, as it is typed.

    Args:
        names: Name of each column.
    """
    return f"--columns {','.join(names)} (as a setting: data.columns = {_listed(names)})"


def languages_example(source: str, target: str) -> str:
    """How to name source and target, as it is typed.

    Args:
        source: Heading, key or language of the sources.
        target: The same of the targets.
    """
    names = (source, target)
    return f"--languages {shlex.quote(','.join(names))} (as a setting: data.languages = {_listed(names)})"


def name_columns(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> list[str]:
    """Names for the columns of a file that has more of them than were expected.

    Args:
        rows: The first rows of the file.
        columns: The names that were expected.
    """
    width = len(rows[0])
    if tuple(columns) != ("source", "target"):
        return [*columns, *[IGNORED] * (width - len(columns))]
    sides = likely_sides(rows, headings=look_like_headings(rows))
    return [dict(zip(sides, columns, strict=True)).get(place, IGNORED) for place in range(width)]


def _listed(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _plain(cell: str) -> str:
    return cell.strip().strip('"').strip().lower()


def _is_name(cell: str) -> bool:
    return len(cell) <= _LONGEST and (_WORDS.fullmatch(cell) is not None or is_language(cell))


def _is_known(cell: str) -> bool:
    return cell in _OTHER_COLUMNS or cell in _SENTENCES or is_language(cell)


def _is_text(cells: Sequence[str]) -> bool:
    lettered = sum(any(map(str.isalpha, cell)) for cell in cells)
    varied = len(cells) < 10 or len(set(cells)) > UNLIKE * len(cells)
    return 2 * lettered >= max(len(cells), 1) and varied
