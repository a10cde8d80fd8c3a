"""Scores of texts against references: BLEU, chrF and TER as in sacrebleu, exact match, copied words.

Every corpus score keeps sacrebleu's own statistics of each sentence, and computes sacrebleu's formula for
many sums at once: the bootstrap costs one matrix product, and each resample is a true corpus score.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from seqtool.errors import DataError
from seqtool.evaluation.score import Array, Score, divide, ratio_score

Reference = str | Sequence[str]  # one reference text, or several

ORDERS = 4  # of BLEU's n-grams, words
CHARACTER_ORDERS = 6  # of chrF's n-grams, characters
BETA = 2  # chrF2: recall counts twice as much as precision


class CopyScores(NamedTuple):
    """How well words of the source were copied; see `copy_scores`."""

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
        names: Keys of `SCORES`, in the order of the result; `ter` is slow.
        tokenize: BLEU's tokenisation; `none` for texts that are tokenised already.

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
    """Corpus BLEU of sacrebleu, exponential smoothing (Papineni et al. 2002; Post 2018).

    Args:
        hypotheses: Outputs, detokenised, [B].
        references: One reference text per output, or several, [B].
        lowercase: Fold case on both sides; the score is then called `bleu_lowercase`.
        tokenize: A tokeniser of sacrebleu; `none` splits at spaces only.

    Returns:
        Points, 0-100. Statistics: length of output and reference, matched n-grams, n-grams, [B, 10].

    Raises:
        DataError: the numbers of outputs and references differ, or a sentence has no reference.
    """
    metric = BLEU(lowercase=lowercase, tokenize=tokenize, force=True)  # force: no advice on stderr
    name = "bleu_lowercase" if lowercase else "bleu"
    return _score(name, metric, hypotheses, references, 2 + 2 * ORDERS, _bleu)


def chrf(hypotheses: Sequence[str], references: Sequence[Reference]) -> Score:
    """Corpus chrF2 of sacrebleu: F of character n-grams up to six, spaces left out (Popović 2015).

    Args:
        hypotheses: Outputs, [B].
        references: One reference text per output, or several, [B].

    Returns:
        Points, 0-100. Statistics: n-grams of the output, of the reference, and of both, per order, [B, 18].

    Raises:
        DataError: the numbers of outputs and references differ, or a sentence has no reference.
    """
    metric = CHRF(char_order=CHARACTER_ORDERS, beta=BETA)
    return _score("chrf", metric, hypotheses, references, 3 * CHARACTER_ORDERS, _chrf)


def ter(hypotheses: Sequence[str], references: Sequence[Reference]) -> Score:
    """Translation edit rate of sacrebleu: lower is better, and it may pass 100 (Snover et al. 2006).

    Slow, since it searches for the cheapest phrase movements in every sentence.

    Args:
        hypotheses: Outputs, [B].
        references: One reference text per output, or several, [B].

    Returns:
        Edits per 100 words of the reference. Statistics: edits, mean length of the references, [B, 2].

    Raises:
        DataError: the numbers of outputs and references differ, or a sentence has no reference.
    """
    return _score("ter", TER(), hypotheses, references, 2, _ter)


def exact_match(hypotheses: Sequence[str], references: Sequence[Reference]) -> Score:
    """Share of the outputs that are one of their references, character by character.

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


def copy_scores(
    sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str], ignore: Collection[str] = ()
) -> CopyScores:
    """Precision and recall of what an output shares with its source: names, numbers, codes.

    Words are what 13a tokenisation leaves between spaces, case kept. Counted are the words that the
    source of the sentence has, that hold a letter or a digit (a full stop stands in every language),
    and that are not in `ignore` (where the languages share words such as "in", give these). With
    o(w), r(w) for how often output and reference have such a word, over all sentences

        precision = sum of min(o, r) / sum of o        of the words that came from the source, the right ones
        recall    = sum of min(o, r) / sum of r        of the words that should come from it, those that did

    so a word copied once too often costs precision. How often the source has it does not matter.

    Args:
        sources: What was translated, [B].
        hypotheses: Outputs, [B].
        references: One text each, [B].
        ignore: Words that are no copies even where both sides have them.

    Returns:
        Two fractions, 0-1; 0 where there is nothing to count.

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


def has_four_words(text: str) -> bool:
    """Whether a text has an n-gram of every order that BLEU counts, after 13a tokenisation."""
    return len(_tokenizer()(text.rstrip()).split()) >= ORDERS


def sentence_bleu(hypothesis: str, reference: Reference) -> float:
    """BLEU of one sentence, as a reward: sacrebleu's, points, 0-100.

    Exponential smoothing (Chen and Cherry 2014, method 3), and only the orders that the output is long
    enough for (`effective_order`): a right word alone has 100, an output without a right word 0.
    """
    return float(_sentence_metrics()[0].sentence_score(hypothesis, _texts(reference)).score)


def sentence_chrf(hypothesis: str, reference: Reference) -> float:
    """chrF2 of one sentence, as a reward: sacrebleu's, points, 0-100."""
    return float(_sentence_metrics()[1].sentence_score(hypothesis, _texts(reference)).score)


def chrf_matrix(hypotheses: Sequence[str]) -> Array:
    """chrF2 of every text (row) with every other as its reference (column).

    Args:
        hypotheses: Texts, [n]; repeated ones cost nothing.

    Returns:
        Points, 0-100, [n, n]: `sentence_chrf(hypotheses[row], hypotheses[column])`. Not symmetric, since
        recall counts more; 100 on the diagonal, 0 for an empty text.
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
        hypotheses: Samples of a model's translations of one sentence, repetitions included, at least one.

    Returns:
        Its index; the first one of equally good samples.
    """
    assert hypotheses, "no sample to choose from"
    # Rounded, since sums of the same numbers in another order may differ in the last digit.
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
        # sacrebleu wants one list for each place among the references, with None where there is none.
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
    # The k-th order in a row of orders without a match counts as 1 / 2^k matches.
    smoothed = np.where(missed, 0.5 ** np.cumsum(missed, axis=-1), correct)
    defined = np.asarray((total > 0).all(axis=-1) & (correct > 0).any(axis=-1))
    precisions = np.where(defined[..., None], divide(smoothed, total), 1.0)
    shortness = np.minimum(0.0, 1.0 - divide(wanted, length))
    return np.where(defined, 100.0 * np.exp(shortness + np.log(precisions).mean(axis=-1)), 0.0)


def _chrf(sums: Array) -> Array:
    """sacrebleu's chrF: mean precision and recall of the orders that both sides have; [..., 18] -> [...]."""
    output, reference, matched = np.moveaxis(sums.reshape(*sums.shape[:-1], CHARACTER_ORDERS, 3), -1, 0)
    counted = (output > 0) & (reference > 0)
    orders = counted.sum(axis=-1)
    precision = divide(np.where(counted, divide(matched, output), 0.0).sum(axis=-1), orders)
    recall = divide(np.where(counted, divide(matched, reference), 0.0).sum(axis=-1), orders)
    return 100.0 * divide((1 + BETA**2) * precision * recall, BETA**2 * precision + recall)


def _ter(sums: Array) -> Array:
    """Edits per word, in points; 100 where the reference is empty and the output is not."""
    edits, words = sums[..., 0], sums[..., 1]
    return 100.0 * np.where(words > 0, divide(edits, words), edits > 0)


def _indicators(texts: Sequence[str], order: int) -> Array:
    """Row i has a one for the k-th occurrence of an n-gram in text i: products of rows are clipped counts."""
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
    """The references as lists, as many as there are hypotheses, none empty."""
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
    """Words with at least one letter or digit, each with its count."""
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
}
