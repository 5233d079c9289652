"""What each published selection and schedule of data does, on cases small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from distilmt.distilling.recipe_options import RecipeOptions
from distilmt.labels.rank import Ranked, RankOptions, rank
from distilmt.labels.records import Candidate, Record
from distilmt.objectives.layer_tables import copied, supervised
from distilmt.recipes import mbr, seq_inter
from distilmt.recipes.denoise import noised
from distilmt.training.batches import BatchPlan, MixedPlan
from distilmt.training.own_targets import OwnTargets


def first_of(texts: list[str], scores: list[float], options: RankOptions, gold: str | None = None) -> Ranked:
    """Words are numbers: the ids of a text are itself."""
    candidates = [
        Candidate(text, [int(word) for word in text.split()], score, score, len(text.split()) + 1)
        for text, score in zip(texts, scores, strict=True)
    ]
    ((_, ranked),) = rank(
        [Record(1, "ok", candidates)],
        [gold],
        options,
        encode=lambda lines: [[int(w) for w in s.split()] for s in lines],
    )
    return ranked


def test_seq_inter_chooses_by_the_released_sentence_bleu_trap_14() -> None:
    """The gold is 1 2 3 4. Candidates carry begin and end symbols, which match nothing: two more words than they have."""
    ranked = first_of(["1 2", "1 2 3 4", "9 9 9 9 9"], [-0.1, -0.2, -0.3], seq_inter.RANKING, "1 2 3 4")
    whole = (4 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    short = (
        2 / 4 * 1 / 3 * 0.5 / 2 * 0.25 / 1
    ) ** 0.25  # orders without a match count 1/2, then 1/4; 4 words: no penalty
    wrong = (0.5 / 7 * 0.25 / 6 * 0.125 / 5 * 0.0625 / 4) ** 0.25
    assert ranked.order == [1, 0, 2]
    assert ranked.numbers == pytest.approx([100 * whole, 100 * short, 100 * wrong])


def test_seq_inter_leaves_out_orders_that_are_too_long_and_penalises_brevity() -> None:
    ((number,), order) = (lambda r: (r.numbers, r.order))(first_of(["1"], [0.0], seq_inter.RANKING, "1 2 3 4 5 6"))
    # Begin, 1, end: 3 words, no fourth order, but still the fourth root; exp(1 - 6/3).
    assert order == [0] and number == pytest.approx(100 * (1 / 3 * 0.5 / 2 * 0.25 / 1) ** 0.25 * 0.36787944117)


def test_seq_inter_keeps_the_higher_hypothesis_of_equals_trap_14() -> None:
    assert first_of(["7 8", "8 7"], [-0.1, -0.2], seq_inter.RANKING, "1 2").order == [0, 1]
    assert first_of(["7 8", "8 7"], [-0.2, -0.1], seq_inter.RANKING, "1 2").order == [1, 0]


def test_minimum_bayes_risk_counts_every_hypothesis_once() -> None:
    """Three hypotheses, two of them alike: 2/3 of the votes; by the model's probability it may be half."""
    assert mbr.RANKING.rule == "mbr" and mbr.RANKING.weights == "uniform"
    ranked = first_of(["5", "1", "1"], [-0.1, -0.2, -0.3], mbr.RANKING)
    assert ranked.order == [1, 2, 0] and ranked.numbers == pytest.approx([200 / 3, 200 / 3, 100 / 3])
    log_half, log_quarter = -0.69314718056, -1.38629436112
    weighted = first_of(["5", "1", "1"], [log_half, log_quarter, log_quarter], RankOptions(rule="mbr", weights="model"))
    assert weighted.order == [0, 1, 2] and weighted.numbers == pytest.approx([50, 50, 50])  # a tie: the model decides


def test_best_2_is_by_the_teachers_score() -> None:
    assert RecipeOptions().keep == 2  # Gordon & Duh
    assert first_of(["1", "2", "3"], [-0.3, -0.1, -0.2], RankOptions(rule="model")).order == [1, 2, 0]


def test_imitation_begins_with_the_text_and_ends_with_the_student() -> None:
    """Lin et al. 2020: the share of data prefixes is 200^-t, so a half after log_200 2 = 0.13 of the training."""
    imitation = OwnTargets(share=1.0, schedule="exponential")
    assert [1 - imitation.share_at(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([1, 200**-0.5, 1 / 200])
    assert imitation.share_at(0.13082) == pytest.approx(0.5, abs=1e-4)
    assert OwnTargets().temperature == 0.9 and OwnTargets().share_at(1.0) == 0  # GKD's samples; none unless asked for


def test_noise_of_a_line() -> None:
    """Lample et al. 2018: a tenth of the words left out, the others within three places of where they were."""
    words, left_out, moved = [f"w{i}" for i in range(40)], 0, 0
    for number in range(200):
        said = noised(" ".join(words), number).split()
        kept = sorted(said, key=words.index)
        left_out += 40 - len(kept)
        places = [abs(said.index(word) - kept.index(word)) for word in kept]
        assert max(places) <= 3 and len(set(said)) == len(said)
        moved += sum(place > 0 for place in places)
    assert 0.08 < left_out / 8000 < 0.12 and moved > 3000
    assert noised("a b c", 5) == noised("a b c", 5) and noised("one", 1) == "one" and noised("", 1) == ""


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_mixture_of_one_kind_alone_is_that_kinds_plan(share: float) -> None:
    """hybrid with a share of 0 is the gold text, batch by batch; with 1 it is the teacher's."""
    lengths = np.random.default_rng(1).integers(3, 20, (50, 2))
    options = {"tokens": 60, "steps": 40, "seed": 3}
    mixed = list(MixedPlan(lengths, [(0, 25), (25, 50)], [1 - share, share], **options))
    first = 25 if share else 0
    alone = list(BatchPlan(lengths[first : first + 25], **options))
    assert mixed == [[first + index for index in batch] for batch in alone]


# teacher layers: layers of a student, from 0, as the scripts of sequence-to-sequence distillation list them
COPIED = """
12: 0 | 0 6 | 0 6 11 | 0 4 8 11 | 0 2 4 7 9 11 | 0 1 2 4 5 7 9 10 11
16: 0 | 0 15 | 0 8 15 | 0 5 10 15 | 0 3 6 9 12 15 | 0 2 4 6 8 10 12 15 | 0 1 3 5 7 9 11 13 15 | 0 1 2 3 4 5 6 7 9 11 13 15
6: 0 | 0 5 | 0 2 5 | 0 1 3 5 | 0 1 2 3 4 5
"""
SUPERVISED = """
6: 5 | 3 5 | 1 4 5 | 1 2 4 5
12: 11 | 5 11 | 3 7 11 | 1 3 5 8 10 11
16: 15 | 4 9 12 15 | 1 3 5 7 9 11 13 15
"""


@pytest.mark.parametrize(("table", "rule"), [(COPIED, copied), (SUPERVISED, supervised)])
def test_the_published_tables_of_layers(table: str, rule: Callable[[int, int], list[int]]) -> None:
    for line in table.split("\n")[1:-1]:
        teacher, students = line.split(": ")
        for layers in ([int(layer) for layer in each.split()] for each in students.split("|")):
            assert rule(int(teacher), len(layers)) == layers
