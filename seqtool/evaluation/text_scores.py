"""Scores of texts against references: BLEU, chrF and TER as in sacrebleu, exact match, copied words.

Every corpus score keeps sacrebleu's own statistics of each sentence, and applies sacrebleu's formula to many
sums at once. So the bootstrap costs one matrix product, and the score of a resample is a true corpus score.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
from rapidfuzz.distance import Levenshtein
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from seqtool.errors import DataError
from seqtool.evaluation.score import Array, Score, divide, ratio_score

Reference = str | Sequence[str]  # one reference text, or several

LEAST_LONG = 0.1  # share of references with four words or more, from which BLEU is informative
ORDERS = 4  # longest n-gram in BLEU, in words
CHARACTER_ORDERS = 6  # longest n-gram in chrF, in characters
BETA = 2  # chrF2: recall is weighted twice as much as precision


class CopyScores(NamedTuple):
    """Precision and recall of words copied from the source; see `copy_scores`."""

    precision: Score
    recall: Score


def text_scores(
    hypotheses: Sequence[str],
    references: Sequence[Reference],
    names: Collection[str] = ("bleu", "bleu_lowercase", "chrf", "exact_match"),
    *,
    tokenize: str = "13a",
) -> dict[str, Score]:
    """Several corpus scores by name.

    Args:
        hypotheses: Outputs, [B].
        references: One reference text per output, or several, [B].
        names: Names of the scores, keys of `SCORES`, in the order of the result; `ter` is slow.
        tokenize: Name of sacrebleu's tokeniser for BLEU; `none` for texts that are tokenised already.

    Raises:
        DataError: the numbers of outputs and references differ, or a sentence has no reference.
    """
    scores = {}
    for name in names:
        if name in ("bleu", "bleu_lowercase"):
            lowercase = name == "bleu_lowercase"
            scores[name] = bleu(hypotheses, references, lowercase=lowercase, tokenize=tokenize)
        else:
            scores[name] = SCORES[name](hypotheses, references)
    return scores


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[Reference],
    *,
    lowercase: bool = False,
    tokenize: str = "13a",
) -> Score:
    """Corpus BLEU as in sacrebleu, with exponential smoothing (Papineni et al. 2002; Post 2018).

    Args:
        hypotheses: Outputs, detokenised, [B].
        references: One reference text per output, or several, [B].
        lowercase: Whether to ignore case; if so, the score is called `bleu_lowercase`.
        tokenize: Name of sacrebleu's tokeniser; `none` splits at spaces only.

    Returns:
        Points, 0-100. Statistics, [B, 10]: length of output and of reference, then for each order the number
        of matched n-grams, then for each order the number of n-grams in the output.

    Raises:
        DataError: the numbers of outputs and references differ, or a sentence has no reference.
    """
    metric = BLEU(lowercase=lowercase, tokenize=tokenize, force=True)  # force: no advice on stderr
    name = "bleu_lowercase" if lowercase else "bleu"
    return _score(name, metric, hypotheses, references, 2 + 2 * ORDERS, _bleu)


def chrf(hypotheses: Sequence[str], references: Sequence[Reference]) -> Score:
    """Corpus chrF2 as in sacrebleu: F-score of character n-grams up to six, without spaces (Popović 2015).

    Args:
        hypotheses: Outputs, [B].
        references: One reference text per output, or several, [B].

    Returns:
        Points, 0-100. Statistics, [B, 18]: for each order the number of n-grams in the output, in the
        reference, and in both.

    Raises:
        DataError: the numbers of outputs and references differ, or a sentence has no reference.
    """
    metric = CHRF(char_order=CHARACTER_ORDERS, beta=BETA)
    return _score("chrf", metric, hypotheses, references, 3 * CHARACTER_ORDERS, _chrf)


def ter(hypotheses: Sequence[str], references: Sequence[Reference]) -> Score:
    """Translation edit rate as in sacrebleu; lower is better, and it may exceed 100 (Snover et al. 2006).

    It is slow, since it searches for the cheapest shifts of phrases in every sentence.

    Args:
        hypotheses: Outputs, [B].
        references: One reference text per output, or several, [B].

    Returns:
        Edits per 100 words of the reference. Statistics, [B, 2]: edits, and mean length of the references.

    Raises:
        DataError: the numbers of outputs and references differ, or a sentence has no reference.
    """
    return _score("ter", TER(), hypotheses, references, 2, _ter)


def exact_match(hypotheses: Sequence[str], references: Sequence[Reference]) -> Score:
    """Fraction of the outputs that are identical to one of their references.

    Args:
        hypotheses: Outputs, [B].
        references: One reference text per output, or several, [B].

    Returns:
        A fraction, 0-1.

    Raises:
        DataError: the numbers of outputs and references differ, or a sentence has no reference.
    """
    allowed = _check("exact_match", hypotheses, references)
    right = [hypothesis in texts for hypothesis, texts in zip(hypotheses, allowed, strict=True)]
    return ratio_score("exact_match", right, np.ones(len(right)), signature="whole lines, case:mixed")


def word_error_rate(hypotheses: Sequence[str], references: Sequence[Reference]) -> Score:
    """Fraction of the outputs that differ from all of their references, as of pronunciations of words.

    The arguments, the range and the errors are those of `exact_match`, from which this is 1 less.
    """
    right = exact_match(hypotheses, references).statistics[:, 0]
    return ratio_score("word_error_rate", 1 - right, np.ones(len(right)), signature="whole lines")


def edit_distance(hypotheses: Sequence[str], references: Sequence[Reference]) -> Score:
    """Mean Levenshtein distance of an output from the nearest of its references, in characters.

    Args:
        hypotheses: Outputs, [B].
        references: One reference text per output, or several, [B].

    Raises:
        DataError: the numbers of outputs and references differ, or a sentence has no reference.
    """
    edits, _ = _edits("edit_distance", hypotheses, references, list)
    return ratio_score("edit_distance", edits, np.ones(len(edits)), signature="characters", unit="plain")


def phoneme_error_rate(hypotheses: Sequence[str], references: Sequence[Reference]) -> Score:
    """Edits of symbols between spaces, divided by the symbols of the nearest reference; 0 and more.

    The arguments and errors are those of `edit_distance`.
    """
    edits, lengths = _edits("phoneme_error_rate", hypotheses, references, str.split)
    return ratio_score("phoneme_error_rate", edits, lengths, signature="symbols between spaces")


def _edits(
    name: str,
    hypotheses: Sequence[str],
    references: Sequence[Reference],
    split: Callable[[str], list[str]],
) -> tuple[list[int], list[int]]:
    """Levenshtein distance of each output from its nearest reference, and the length of the latter."""
    edits, lengths = [], []
    for hypothesis, texts in zip(hypotheses, _check(name, hypotheses, references), strict=True):
        output = split(hypothesis)
        nearest = [(Levenshtein.distance(output, split(text)), len(split(text))) for text in texts]
        distance, length = min(nearest, key=lambda each: each[0])
        edits.append(distance)
        lengths.append(length)
    return edits, lengths


def copy_scores(
    sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str], ignore: Collection[str] = ()
) -> CopyScores:
    """Precision and recall of words copied from the source: names, numbers, codes.

    Words are the tokens of 13a tokenisation, with case. Only words count that occur in the sentence's source,
    contain a letter or a digit (a full stop is the same in every language), and are not in `ignore` (meant
    for words that both languages have, such as "in"). Let o(w) and r(w) be the number of times that such a
    word w occurs in a sentence's output and in its reference. Summed over all sentences,

        precision = sum of min(o, r) / sum of o        correct among the words copied from the source
        recall    = sum of min(o, r) / sum of r        copied among the words that should be copied

    So a word that is copied once too often lowers precision. How often the source contains it is irrelevant.

    Args:
        sources: Texts that were translated, [B].
        hypotheses: Outputs, [B].
        references: One reference text per output, [B].
        ignore: Words that never count as copied.

    Returns:
        Two fractions, 0-1; 0 if there is nothing to count.

    Raises:
        DataError: the numbers of sources, outputs and references differ.
    """
    _require_equal("copy", hypotheses, references)
    _require_equal("copy", hypotheses, sources, "sources")
    counts = np.zeros((len(sources), 3))
    for row, texts in enumerate(zip(sources, hypotheses, references, strict=True)):
        source, output, reference = (_countable(text, ignore) for text in texts)
        output = Counter({word: count for word, count in output.items() if word in source})
        reference = Counter({word: count for word, count in reference.items() if word in source})
        counts[row] = (output & reference).total(), output.total(), reference.total()
    matched, copied, expected = counts.T
    signature = "words of the source, tok:13a, case:mixed" + (f", {len(ignore)} ignored" if ignore else "")
    return CopyScores(
        ratio_score("copy_precision", matched, copied, signature=signature),
        ratio_score("copy_recall", matched, expected, signature=signature),
    )


def bleu_informs(references: Sequence[Sequence[str]]) -> bool:
    """Whether BLEU says something about outputs with these references.

    Corpus BLEU is a product over n-grams of up to four words: if nearly all references are shorter, it is 0
    even for right outputs, or depends on very few sentences.

    Args:
        references: The references of each sentence.
    """
    long = sum(any(map(has_four_words, each)) for each in references)
    return long >= LEAST_LONG * len(references)


def has_four_words(text: str) -> bool:
    """Whether a text has an n-gram of each order in BLEU: at least four words in 13a tokenisation."""
    return len(_tokenizer()(text.rstrip()).split()) >= ORDERS


def sentence_bleu(hypothesis: str, reference: Reference) -> float:
    """Sentence BLEU as in sacrebleu, used as a reward, in points, 0-100.

    With exponential smoothing (Chen and Cherry 2014, method 3), and only with the orders for which the output
    is long enough (`effective_order`): a single correct word scores 100, an output without one scores 0.

    Args:
        hypothesis: The output.
        reference: One reference text, or several.
    """
    return float(_sentence_metrics()[0].sentence_score(hypothesis, _texts(reference)).score)


def sentence_chrf(hypothesis: str, reference: Reference) -> float:
    """Sentence chrF2 as in sacrebleu, used as a reward, in points, 0-100.

    Args:
        hypothesis: The output.
        reference: One reference text, or several.
    """
    return float(_sentence_metrics()[1].sentence_score(hypothesis, _texts(reference)).score)


def chrf_matrix(hypotheses: Sequence[str]) -> Array:
    """chrF2 of every text (row) with every text as its reference (column).

    Args:
        hypotheses: Texts, [n]; repeated texts cost nothing.

    Returns:
        Points, 0-100, [n, n]: `sentence_chrf(hypotheses[row], hypotheses[column])`. The matrix is not
        symmetric, since recall has more weight. It is 100 on the diagonal, and 0 for an empty text.
    """
    texts = {text: place for place, text in enumerate(dict.fromkeys(hypotheses))}
    squeezed = ["".join(text.split()) for text in texts]
    statistics = np.zeros((len(texts), len(texts), CHARACTER_ORDERS, 3))
    for order in range(1, CHARACTER_ORDERS + 1):
        grams = _indicators(squeezed, order)
        sizes = grams.sum(axis=1)
        statistics[:, :, order - 1, 0] = sizes[:, None]
        statistics[:, :, order - 1, 1] = sizes
        statistics[:, :, order - 1, 2] = grams @ grams.T
    table = _chrf(statistics.reshape(len(texts), len(texts), -1))
    places = [texts[text] for text in hypotheses]
    return table[np.ix_(places, places)]


def minimum_bayes_risk(hypotheses: Sequence[str]) -> int:
    """The sample with the highest mean chrF against all samples (Eikema and Aziz 2020).

    Args:
        hypotheses: Sampled translations of one sentence, including repetitions, at least one.

    Returns:
        Index of that sample; of equally good samples, the first.
    """
    assert hypotheses, "no sample to choose from"
    # Rounded, since sums of the same numbers in a different order may differ in the last digit.
    return int(np.argmax(np.round(chrf_matrix(hypotheses).mean(axis=1), 9)))


def _score(
    name: str,
    metric: BLEU | CHRF | TER,
    hypotheses: Sequence[str],
    references: Sequence[Reference],
    width: int,
    formula: Callable[[Array], Array],
) -> Score:
    """The score of a sacrebleu metric, with its statistics per sentence, [B, width], and its signature."""
    texts = _check(name, hypotheses, references)
    metric.num_refs = 1
    rows: list[list[float]] = []
    if texts:
        # sacrebleu takes one list for each place among the references, with None for a missing reference.
        places = range(max(map(len, texts)))
        columns = [[row[place] if place < len(row) else None for row in texts] for place in places]
        rows = metric._extract_corpus_statistics(list(hypotheses), columns)  # type: ignore[arg-type]
    statistics = np.array(rows, dtype=np.float64).reshape(len(texts), width)
    return Score(name, "points", str(metric.get_signature()), statistics, formula)


def _bleu(sums: Array) -> Array:
    """sacrebleu's `compute_bleu` with exponential smoothing; sums: [..., 10] -> [...]."""
    length, wanted = sums[..., 0], sums[..., 1]
    correct, total = sums[..., 2 : 2 + ORDERS], sums[..., 2 + ORDERS :]
    missed = correct == 0
    # The k-th order without a match counts as 1 / 2^k matches.
    smoothed = np.where(missed, 0.5 ** np.cumsum(missed, axis=-1), correct)
    defined = np.asarray((total > 0).all(axis=-1) & (correct > 0).any(axis=-1))
    precisions = np.where(defined[..., None], divide(smoothed, total), 1.0)
    shortness = np.minimum(0.0, 1.0 - divide(wanted, length))
    return np.where(defined, 100.0 * np.exp(shortness + np.log(precisions).mean(axis=-1)), 0.0)


def _chrf(sums: Array) -> Array:
    """sacrebleu's chrF, from mean precision and recall of the orders in both texts; [..., 18] -> [...]."""
    output, reference, matched = np.moveaxis(sums.reshape(*sums.shape[:-1], CHARACTER_ORDERS, 3), -1, 0)
    counted = (output > 0) & (reference > 0)
    orders = counted.sum(axis=-1)
    precision = divide(np.where(counted, divide(matched, output), 0.0).sum(axis=-1), orders)
    recall = divide(np.where(counted, divide(matched, reference), 0.0).sum(axis=-1), orders)
    return 100.0 * divide((1 + BETA**2) * precision * recall, BETA**2 * precision + recall)


def _ter(sums: Array) -> Array:
    """Edits per word, in points; 100 if the reference is empty and the output is not; [..., 2] -> [...]."""
    edits, words = sums[..., 0], sums[..., 1]
    return 100.0 * np.where(words > 0, divide(edits, words), edits > 0)


def _indicators(texts: Sequence[str], order: int) -> Array:
    """A matrix with a 1 in row i for the k-th occurrence of an n-gram in text i.

    The product of two rows is the clipped count of n-grams that the two texts share.
    """
    columns: dict[tuple[str, int], int] = {}
    places: list[list[int]] = []
    for text in texts:
        seen: Counter[str] = Counter()
        row = []
        for start in range(len(text) - order + 1):
            gram = text[start : start + order]
            row.append(columns.setdefault((gram, seen[gram]), len(columns)))
            seen[gram] += 1
        places.append(row)
    table = np.zeros((len(texts), len(columns)))
    for index, row in enumerate(places):
        table[index, row] = 1
    return table


def _check(name: str, hypotheses: Sequence[str], references: Sequence[Reference]) -> list[list[str]]:
    """The references of each hypothesis as a list, after checking that each has at least one."""
    _require_equal(name, hypotheses, references)
    texts = [_texts(reference) for reference in references]
    for number, row in enumerate(texts, start=1):
        if not row:
            raise DataError(f"{name}: sentence {number} has no reference, expected at least 1")
    return texts


def _require_equal(
    name: str, outputs: Sequence[str], others: Sequence[object], kind: str = "references"
) -> None:
    if len(outputs) != len(others):
        raise DataError(f"{name}: {len(outputs)} outputs, {len(others)} {kind}; expected equally many")


def _texts(reference: Reference) -> list[str]:
    return [reference] if isinstance(reference, str) else list(reference)


def _countable(text: str, ignore: Collection[str]) -> Counter[str]:
    """Counts of the words that have at least one letter or digit and are not ignored."""
    words = _tokenizer()(text.rstrip()).split()
    return Counter(word for word in words if word not in ignore and _has_letter_or_digit(word))


def _has_letter_or_digit(word: str) -> bool:
    return any(unicodedata.category(character)[0] in "LN" for character in word)


@functools.cache
def _tokenizer() -> Callable[[str], str]:
    tokenizer: Callable[[str], str] = Tokenizer13a()  # type: ignore[no-untyped-call]
    return tokenizer


@functools.cache
def _sentence_metrics() -> tuple[BLEU, CHRF]:
    return BLEU(effective_order=True, force=True), CHRF(char_order=CHARACTER_ORDERS, beta=BETA)


SCORES: dict[str, Callable[[Sequence[str], Sequence[Reference]], Score]] = {
    "bleu": bleu,
    "bleu_lowercase": functools.partial(bleu, lowercase=True),
    "chrf": chrf,
    "ter": ter,
    "exact_match": exact_match,
    "edit_distance": edit_distance,
    "word_error_rate": word_error_rate,
    "phoneme_error_rate": phoneme_error_rate,
}
