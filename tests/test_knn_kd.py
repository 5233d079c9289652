"""kNN-KD's released options, on three words by hand: gold mixed in token by token, and a temperature that falls."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from distilmt import train
from distilmt.errors import ConfigError
from distilmt.objectives import Head, Neighbours, parse

P = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64) / 14  # the student; its surest word is 2, with 9/14
FAR = 100 * log(2)


@pytest.mark.parametrize(
    ("eta", "ids", "target"),
    [
        # Shares 1/2, 1/4, 1/4 of the words 1, 0, 1: m = 3/4. Gold is word 1, and a the larger of 3/7 + eta and 9/14.
        (0.1, [1, 0, 1], [5 / 14 / 4, 9 / 14 + 5 / 14 * 3 / 4, 0]),
        (0.3, [1, 0, 1], [(4 / 7 - 0.3) / 4, 3 / 7 + 0.3 + (4 / 7 - 0.3) * 3 / 4, 0]),
        # Of the words 2, 0, 2, so that gold is no neighbour.
        (0.1, [2, 0, 2], [5 / 14 / 4, 9 / 14, 5 / 14 * 3 / 4]),
    ],
)
@pytest.mark.parametrize("as_logits", [True, False])
def test_adaptive_by_hand(eta: float, ids: list[int], target: list[float], as_logits: bool) -> None:
    z, embedding = P.log()[None], torch.eye(3, dtype=torch.float64)
    hidden = z.clone().requires_grad_()
    student = Head(hidden, None) if as_logits else Head(hidden, embedding)
    teacher = Neighbours(torch.tensor([ids]), torch.tensor([[0.0, FAR, FAR]], dtype=torch.float64))
    out = parse(f"KNNKD(temperature=100, adaptive=True, eta={eta})").evaluate(
        student=student, targets=torch.tensor([1]), teacher=teacher
    )
    out.loss.backward()
    wanted = torch.tensor(target, dtype=torch.float64)
    torch.testing.assert_close(hidden.grad[0], P - wanted)  # no gradient through a
    said = wanted[wanted > 0]
    assert float(out.loss.detach()) == pytest.approx(float((said * (said / P[wanted > 0]).log()).sum()))


def test_a_falling_temperature() -> None:
    """Released: by epochs e, max(1, T - 20 e), or max(1, 2 T / (1 + exp(e / 10)))."""
    linear, sigmoid = (
        parse(f"KNNKD(temperature=100, schedule='{name}', epochs=10)") for name in ("linear", "inverse_sigmoid")
    )

    def temperature(objective: object, progress: float) -> float:
        return objective.at(progress).terms[0][1].temperature  # type: ignore[attr-defined, no-any-return]

    assert [temperature(linear, t) for t in (0, 0.2, 0.5, 1)] == pytest.approx([100, 60, 1, 1])
    assert [temperature(sigmoid, t) for t in (0, 1)] == pytest.approx([100, 200 / (1 + exp(1))])
    quick = parse("KNNKD(temperature=100, schedule='linear', decay=5, epochs=10)")
    assert temperature(quick, 0.5) == pytest.approx(75)
    given = {"student": Head(P.log()[None], None), "targets": torch.tensor([1])}
    teacher = Neighbours(torch.tensor([[1, 0]]), torch.tensor([[0.0, 60.0]], dtype=torch.float64))
    fixed = parse("KNNKD(temperature=60)").evaluate(**given, teacher=teacher)
    assert linear.at(0.2).evaluate(**given, teacher=teacher).loss == fixed.loss
    with pytest.raises(ConfigError, match="changes over the training"):
        linear.evaluate(**given, teacher=teacher)
    for wrong in ("schedule='cosine'", "eta=0.5", "decay=0"):
        with pytest.raises(ConfigError, match="KNNKD: "):
            parse(f"KNNKD({wrong})")


def test_what_makes_neighbours_is_said() -> None:
    made = "`distilmt knn build.*` and `distilmt knn search`"
    with pytest.raises(
        ConfigError, match=f"objective 'KNNKD\\(\\)' looks at neighbours - make them by {made}.*--neighbours"
    ):
        train(train=("s", "t"), dev=("s", "t"), out="o", objective="KNNKD()")
    student = Head(P.log()[None], None)
    with pytest.raises(ConfigError, match=f"KNNKD needs Neighbours, got Head - .*{made} make: --neighbours"):
        parse("KNNKD()").evaluate(student=student, targets=torch.tensor([1]), teacher=student)
