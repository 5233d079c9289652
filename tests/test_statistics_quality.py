"""Paired tests of translations: against sacreBLEU, against Fisher's randomisation, by hand, and over seeds."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.significance import PairedTest

from distilmt.errors import ConfigError, DataError
from distilmt.statistics import paired, quality, significance

WORDS = ["the", "a", "cat", "dog", "sat", "on", "mat", "ran", "house", "tree", "big", "small", "red", "green"]
METRICS = {"bleu": BLEU(force=True), "chrf": CHRF()}


def sentences(seed: int, count: int = 200) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(3, 15))) + "." for _ in range(count)]


def spoiled(lines: list[str], share: float, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(word if rng.random() > share else rng.choice(WORDS) for word in line.split()) for line in lines]


REFERENCES = sentences(0)
SYSTEM, BASELINE = spoiled(REFERENCES, 0.25, 1), spoiled(REFERENCES, 0.30, 2)


@pytest.mark.parametrize("measure", ["bleu", "chrf"])
@pytest.mark.parametrize("count", [1, 2, 200])
def test_scores_are_those_of_sacrebleu(measure, count):
    for lines in (SYSTEM, BASELINE, [""] * 200, ["zzz q"] * 200, ["the"] * 200):
        found = quality.corpus_score(
            quality.sentence_statistics(lines[:count], REFERENCES[:count], measure).sum(0), measure
        )
        expected = METRICS[measure].corpus_score(lines[:count], [REFERENCES[:count]]).score
        assert float(found) == pytest.approx(expected, abs=1e-9)


def test_several_references_are_those_of_sacrebleu():
    found = paired({1: SYSTEM}, {1: BASELINE}, [REFERENCES, sentences(9)], trials=1, resamples=1)
    assert found.system == pytest.approx(METRICS["bleu"].corpus_score(SYSTEM, [REFERENCES, sentences(9)]).score)


@pytest.mark.parametrize("measure", ["bleu", "chrf"])
def test_both_tests_are_those_of_sacrebleu_with_its_seed(measure, monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    found = paired({1: SYSTEM}, {1: BASELINE}, REFERENCES, measure=measure)
    systems, metrics = [("b", BASELINE), ("s", SYSTEM)], {"m": METRICS[measure]}
    theirs = {}
    for kind in ("bs", "ar"):
        _, results = PairedTest(systems, metrics, [REFERENCES], test_type=kind)()
        (theirs[kind],) = (values[1] for name, values in results.items() if name != "System")
    assert found.system == pytest.approx(theirs["bs"].score, abs=1e-9)
    assert found.p_randomisation == pytest.approx(theirs["ar"].p_value, abs=1e-12)
    # Its bootstrap: |D*| less their mean, against |D|; from the same draws.
    counts = [quality.counts_of({1: lines}, REFERENCES, measure)[1][None] for lines in (SYSTEM, BASELINE)]
    drawn = np.abs(quality.bootstrap(*counts, measure, resamples=1000, seed=12345, same_seeds=True))
    by_them = (1 + (drawn - drawn.mean() > abs(found.difference)).sum()) / 1001
    assert by_them == pytest.approx(theirs["bs"].p_value, abs=0.0025)  # they sum in float32
    assert found.low < found.difference < found.high


def test_randomisation_is_fishers_on_darwins_maize(monkeypatch):
    """Of the 2^15 signs of the differences, 1,726 sum up to 314 or more in size: p = 0.0527 (Fisher 1935, section 21)."""
    crossed = [188, 96, 168, 176, 153, 172, 177, 163, 146, 173, 186, 168, 177, 184, 96]
    selfed = [139, 163, 160, 160, 147, 149, 149, 122, 132, 144, 130, 144, 102, 124, 144]
    monkeypatch.setattr(quality, "corpus_score", lambda sums, _: sums[..., 0])
    plants = [np.array(each, dtype=float)[None, :, None] for each in (crossed, selfed)]
    p = quality.randomise(*plants, "bleu", trials=20_000, seed=1)
    assert p == pytest.approx(1726 / 2**15, abs=4 * np.sqrt(0.0527 * 0.9473 / 20_000))


def test_a_system_against_itself_is_no_finding():
    found = paired({1: SYSTEM}, {1: SYSTEM}, REFERENCES, resamples=100, trials=100)
    assert (found.difference, found.p_bootstrap, found.p_randomisation, found.low, found.high) == (0, 1, 1, 0, 0)


def test_sides_swap_the_sign_and_nothing_else():
    one, other = ({1: SYSTEM, 2: REFERENCES}, {1: BASELINE, 2: SYSTEM})
    there, back = paired(one, other, REFERENCES, trials=200), paired(other, one, REFERENCES, trials=200)
    assert back.difference == -there.difference and (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert (back.p_bootstrap, back.p_randomisation) == (there.p_bootstrap, there.p_randomisation)


def test_seeds_are_a_second_source_of_chance():
    """Three trainings whose sign changes, each of them far from the baseline: sentences alone would call it sure."""
    good, bad = spoiled(REFERENCES, 0.1, 3), spoiled(REFERENCES, 0.55, 4)
    mixed = {1: good, 2: bad, 3: good}
    base = dict.fromkeys(mixed, BASELINE)
    assert paired({1: good}, {1: BASELINE}, REFERENCES, trials=1000).p_randomisation < 0.01
    over_both = paired(mixed, base, REFERENCES, trials=1000)
    assert over_both.seeds == (3, 3) and over_both.p_bootstrap > 0.2 and over_both.low < 0 < over_both.high
    expected = np.mean([BLEU(force=True).corpus_score(lines, [REFERENCES]).score for lines in mixed.values()])
    assert over_both.system == pytest.approx(expected)


def false_alarms(monkeypatch, seeds: int, ratio: float, comparisons: int) -> float:
    """Share of p below 0.05 between two systems that are the same, on 100 sentences with a score that is a mean.

    `ratio` is the standard deviation that seeds give to the difference, over that which sentences give.
    """
    monkeypatch.setattr(quality, "corpus_score", lambda sums, _: sums[..., 0] / 100)
    rng, alarms = np.random.default_rng(0), 0
    for number in range(comparisons):
        both, own, seed = (rng.normal(size=shape) for shape in ((1, 100), (seeds, 100), (seeds, 1)))
        scores = both + 0.5 * own + ratio * np.sqrt(seeds / 100) * seed
        drawn = quality.bootstrap(
            scores[..., None], np.zeros((seeds, 100, 1)), "bleu", resamples=400, seed=number, same_seeds=True
        )
        alarms += (1 + (np.abs(drawn - np.median(drawn)) >= abs(scores.mean())).sum()) / 401 < 0.05
    return alarms / comparisons


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_few_seeds_that_scatter_widely_raise_no_false_alarms(monkeypatch, seeds):
    """5% may; resampled seeds without the factor give 30% for two seeds and 14% for five."""
    assert false_alarms(monkeypatch, seeds, ratio=4, comparisons=120) <= 0.1


def test_seeds_that_agree_are_as_sure_as_one():
    three = paired(dict.fromkeys((1, 2, 3), SYSTEM), dict.fromkeys((1, 2, 3), BASELINE), REFERENCES)
    one = paired({1: SYSTEM}, {1: BASELINE}, REFERENCES)
    assert three.difference == pytest.approx(one.difference)
    assert (three.low, three.high, three.p_bootstrap) == pytest.approx((one.low, one.high, one.p_bootstrap))
    assert three.p_randomisation == one.p_randomisation


def test_the_order_of_seeds_is_no_matter_but_their_names_pair_them():
    one, other = {1: SYSTEM, 2: BASELINE}, {1: BASELINE, 2: SYSTEM}
    swapped = paired(one, dict(reversed(other.items())), REFERENCES, trials=100)
    assert swapped == paired(one, other, REFERENCES, trials=100)
    unequal = paired(one, {1: BASELINE}, REFERENCES, trials=100)
    assert unequal.p_randomisation is None and unequal.seeds == (2, 1)


def test_a_report_corrects_over_systems_and_measures_together():
    systems = {"alone": {1: BASELINE}, "seq": {1: SYSTEM}, "word": {1: spoiled(REFERENCES, 0.3, 5)}}
    rows = significance(list(systems), systems, REFERENCES, trials=500)
    assert [(row["measure"], row["name"]) for row in rows] == [
        ("bleu", "seq"), ("bleu", "word"), ("chrf", "seq"), ("chrf", "word")]  # fmt: skip
    least = min(rows, key=lambda row: row["p"])
    assert least["p_holm"] == pytest.approx(4 * least["p"])
    for pair in (rows[:2], rows[2:]):
        least = min(pair, key=lambda row: row["p"])
        assert least["p"] == least["p_randomisation"] and least["against"] == "alone"
        assert least["test"] == "approximate randomisation over sentences"


def test_more_than_five_comparisons_get_intervals_and_no_p():
    many = {str(i): {1: spoiled(REFERENCES[:20], 0.3, i)} for i in range(7)}
    rows = significance(list(many), many, REFERENCES[:20], trials=10, resamples=20)
    assert len(rows) == 12 and all(row["p"] is row["p_holm"] is None and row["low"] <= row["high"] for row in rows)


def test_refusals():
    with pytest.raises(DataError, match="2 hypotheses, but 200 references"):
        paired({1: SYSTEM[:2]}, {1: BASELINE}, REFERENCES)
    with pytest.raises(DataError, match="0 hypotheses, but no references"):
        paired({1: []}, {1: []}, [])
    with pytest.raises(DataError, match="without any hypotheses"):
        paired({}, {1: BASELINE}, REFERENCES)
    with pytest.raises(ConfigError, match="resamples and trials must be 1 or more, got 0 and 5"):
        paired({1: SYSTEM}, {1: BASELINE}, REFERENCES, resamples=0, trials=5)
    with pytest.raises(DataError, match="needs two systems, got seq"):
        significance(["seq"], {"seq": {1: SYSTEM}}, REFERENCES)
