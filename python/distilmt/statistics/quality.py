"""Is one system's BLEU or chrF above another's? Over the sentences of a test set, and over training seeds besides.

With x[s, i] the n-gram counts of sentence i by the model of seed s, and M the corpus score of summed counts:

    score       (1/S) sum_s M(sum_i x[s, i])
    difference  D = score(system) - score(baseline)
    bootstrap   D* from sentences i* and seeds s* drawn with replacement, the same sentences for every model and the same
                seeds for both systems where they were trained with the same ones. What the drawn seeds deviate from
                the mean of all is multiplied by sqrt(S / c), c drawn from chi-squared with S-1 degrees of freedom.
                95% interval: percentiles of D*.  p = (1 + #{|D* - median D*| >= |D|}) / (1 + resamples)
    randomise   every sentence's translations swap systems or not, by a coin, for all seeds together.
                p = (1 + #{|D'| >= |D|}) / (1 + trials)

With one seed the first is the paired bootstrap and says how two models differ on such sentences; how their methods
differ needs several seeds. The second is always about the models at hand. The factor makes the share of the seeds as
heavy-tailed as Student's t: without it two or three seeds look far surer than they are (docs/statistics.md).

Sources: Koehn 2004 (W04-3250), paired bootstrap; Riezler & Maxwell 2005 (W05-0908), approximate randomisation and the
shift to the centre; Owen 2007 (Ann. Appl. Stat. 1:386), resampling both ways of a table; the factor is ours.

Against sacreBLEU's PairedTest with the same seed: observed scores, draws and the p of the randomisation are equal, but
for ties, which count here, so that a system compared with itself has p = 1 (there 1 / (1 + trials)). Its bootstrap p is
one-sided where all D* have one sign; this one is two-sided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distilmt.errors import ConfigError, DataError
from distilmt.text.files import plain_language

Measure = Literal["bleu", "chrf"]
Numbers = NDArray[np.float64]
_CHUNK = 512  # resamples at a time; a multiple of 32, for the generator draws 32 coins at once


@dataclass(frozen=True)
class Paired:
    """One system against a baseline, in points of the measure.

    Attributes:
        system, baseline: their corpus scores, means over seeds; `difference` is the first minus the second.
        low, high: 95% bootstrap interval of the difference.
        p_bootstrap: two-sided, over sentences, and over seeds where there are several.
        p_randomisation: two-sided, over sentences; None where the two systems have different numbers of seeds.
        sentences, seeds: how many; seeds of the system and of the baseline.
    """

    measure: Measure
    system: float
    baseline: float
    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_randomisation: float | None
    sentences: int
    seeds: tuple[int, int]


def paired(
    system: Mapping[int, Sequence[str]], baseline: Mapping[int, Sequence[str]],
    references: Sequence[str] | Sequence[Sequence[str]], *, measure: Measure = "bleu", target_lang: str = "",
    resamples: int = 1000, trials: int = 10_000, seed: int = 12345,
) -> Paired:  # fmt: skip
    """Compares two systems by both tests.

    Args:
        system, baseline: hypotheses by training seed, as in {1: lines, 2: lines}; one entry for a single model.
        references: one line per hypothesis, or a list of such lists.
        target_lang: as for `distilmt.evaluate.score`.
        resamples, trials: of the bootstrap and of the randomisation.

    Raises: DataError: no sentences, or counts that differ. ConfigError: fewer than one resample or trial.
    """
    own, other = (counts_of(each, references, measure, target_lang) for each in (system, baseline))
    return compare_counts(own, other, measure, resamples=resamples, trials=trials, seed=seed)


def counts_of(
    hypotheses: Mapping[int, Sequence[str]], references: Sequence[str] | Sequence[Sequence[str]], measure: Measure,
    target_lang: str = "",
) -> dict[int, Numbers]:  # fmt: skip
    """`sentence_statistics` of one system, by seed."""
    return {seed: sentence_statistics(each, references, measure, target_lang) for seed, each in hypotheses.items()}


def compare_counts(
    system: Mapping[int, Numbers], baseline: Mapping[int, Numbers], measure: Measure, *, resamples: int = 1000,
    trials: int = 10_000, seed: int = 12345,
) -> Paired:  # fmt: skip
    """`paired`, of counts that are known already."""
    if resamples < 1 or trials < 1:
        raise ConfigError(f"paired: resamples and trials must be 1 or more, got {resamples} and {trials}")
    if not system or not baseline:
        raise DataError("statistics: a system without any hypotheses - give at least one seed's")
    both = system.keys() == baseline.keys()
    own = np.stack(list(system.values()))
    other = np.stack([baseline[key] for key in (system if both else baseline)])
    score, against = (float(corpus_score(each.sum(1), measure).mean()) for each in (own, other))
    observed = score - against
    drawn = bootstrap(own, other, measure, resamples=resamples, seed=seed, same_seeds=both)
    low, high = map(float, np.percentile(drawn, [2.5, 97.5]))
    p = (1 + int((np.abs(drawn - np.median(drawn)) >= abs(observed)).sum())) / (1 + resamples)
    swapped = randomise(own, other, measure, trials=trials, seed=seed) if len(own) == len(other) else None
    seeds = (len(own), len(other))
    return Paired(measure, score, against, observed, low, high, p, swapped, own.shape[1], seeds)


def sentence_statistics(
    hypotheses: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]], measure: Measure = "bleu",
    target_lang: str = "",
) -> Numbers:  # fmt: skip
    """sacreBLEU's counts of every sentence: [sentences, 10] for BLEU, [sentences, 18] for chrF."""
    from sacrebleu.metrics import BLEU, CHRF

    streams = [references] if references and isinstance(references[0], str) else list(references)
    lengths = {len(stream) for stream in streams}
    if not hypotheses or lengths != {len(hypotheses)}:
        got = ", ".join(map(str, sorted(lengths))) or "no"
        raise DataError(
            f"statistics: {len(hypotheses)} hypotheses, but {got} references - they must be of the same lines"
        )
    # `force` keeps a warning about tokenised text quiet: it is for scores, and comes once from there.
    metric = BLEU(trg_lang=plain_language(target_lang), force=True) if measure == "bleu" else CHRF()
    return np.array(metric._extract_corpus_statistics(hypotheses, streams), dtype=float)


def corpus_score(sums: Numbers, measure: Measure) -> Numbers:
    """sacreBLEU's corpus score, 0 to 100, of counts summed over sentences: [..., counts] -> [...]."""
    return _bleu(sums) if measure == "bleu" else _chrf(sums)


def bootstrap(
    system: Numbers, baseline: Numbers, measure: Measure, *, resamples: int, seed: int, same_seeds: bool
) -> Numbers:
    """Differences D* [resamples] of two systems' counts [seeds, sentences, counts]."""
    sentences = system.shape[1]
    draws, seed_draws = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    found = []
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        times = _times(draws.integers(0, sentences, (size, sentences)), sentences)
        mine = _seed_weights(seed_draws, size, len(system))
        theirs = mine if same_seeds else _seed_weights(seed_draws, size, len(baseline))
        found.append(_resampled(system, times, mine, measure) - _resampled(baseline, times, theirs, measure))
    return np.concatenate(found)


def randomise(system: Numbers, baseline: Numbers, measure: Measure, *, trials: int, seed: int) -> float:
    """p of the approximate randomisation of two systems with equally many seeds."""

    def distance(one: Numbers, two: Numbers) -> Numbers:
        return np.asarray(np.abs((corpus_score(one, measure) - corpus_score(two, measure)).mean(-1)))

    coins = np.random.default_rng(seed)
    one, two = system.sum(1), baseline.sum(1)
    observed, extreme = distance(one, two), 0
    for start in range(0, trials, _CHUNK):
        swap = coins.integers(2, size=(min(_CHUNK, trials - start), system.shape[1]), dtype=bool)
        moved = _weighted(baseline - system, swap.astype(float))
        extreme += int((distance(one + moved, two - moved) >= observed).sum())
    return (1 + extreme) / (1 + trials)


def _resampled(counts: Numbers, times: Numbers, seeds: Numbers, measure: Measure) -> Numbers:
    """Scores of resamples: sentences weighted by `times` [resamples, sentences], models by `seeds` [resamples, seeds]."""
    return np.asarray((corpus_score(_weighted(counts, times), measure) * seeds).sum(1))


def _seed_weights(rng: np.random.Generator, resamples: int, seeds: int) -> Numbers:
    """[resamples, seeds], each row with the sum 1: 1/S, and the drawn seeds' deviation from that by the factor."""
    if seeds == 1:
        return np.ones((resamples, 1))
    drawn = _times(rng.integers(0, seeds, (resamples, seeds)), seeds)
    return (1 + np.sqrt(seeds / rng.chisquare(seeds - 1, (resamples, 1))) * (drawn - 1)) / seeds


def _weighted(counts: Numbers, weights: Numbers) -> Numbers:
    """Sums over sentences: [seeds, sentences, counts], [resamples, sentences] -> [resamples, seeds, counts]."""
    seeds, sentences, kinds = counts.shape
    sums: Numbers = weights @ counts.transpose(1, 0, 2).reshape(sentences, -1)
    return sums.reshape(-1, seeds, kinds)


def _times(draws: NDArray[np.int64], kinds: int) -> Numbers:
    """How often each of `kinds` things was drawn: [resamples, draws] -> [resamples, kinds]."""
    rows = len(draws)
    flat = (draws + kinds * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, minlength=rows * kinds).reshape(rows, kinds).astype(float)


def _bleu(sums: Numbers) -> Numbers:
    """Counts: system length, reference length, matches by order, n-grams by order; smoothing "exp" as in evaluate.py."""
    length, reference, matches, total = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:10]
    with np.errstate(divide="ignore", invalid="ignore"):
        halves = 2.0 ** -np.cumsum(matches == 0, axis=-1)
        precision = np.where(matches == 0, halves, matches) / total
        brevity = np.where(length < reference, np.exp(1 - reference / length), 1.0)
        score = 100 * brevity * np.exp(np.log(precision).mean(-1))
    return np.where((matches > 0).any(-1) & (total > 0).all(-1), score, 0.0)


def _chrf(sums: Numbers) -> Numbers:
    """Counts: of the hypothesis, of the reference and matches, for each of six orders; beta 2."""
    system, reference, matches = np.moveaxis(sums.reshape(*sums.shape[:-1], 6, 3), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        known = (system > 0) & (reference > 0)
        orders = known.sum(-1)
        precision = np.where(known, matches / system, 0.0).sum(-1) / orders
        recall = np.where(known, matches / reference, 0.0).sum(-1) / orders
        score = 100 * 5 * precision * recall / (4 * precision + recall)
    return np.where((orders > 0) & (precision + recall > 0), score, 0.0)
