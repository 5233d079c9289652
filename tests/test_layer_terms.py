"""Terms on hidden states and attention maps: hand-computed cases, the published maps, who receives a gradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import lively_model
from distilmt.errors import ConfigError
from distilmt.objectives import (
    AttentionAlignment,
    AttentionMaps,
    Cosine,
    HiddenMSE,
    LayerCombination,
    Layers,
    LogitMSE,
    Shape,
    parse,
)
from distilmt.objectives.layer_combination import groups
from distilmt.objectives.layer_tables import copied, supervised
from distilmt.training.student_loss import StudentLoss
from distilmt.vocab import Vocab

ALL = [
    "Cosine()", "Cosine(side='encoder')", "HiddenMSE()", "HiddenMSE(normalise=True, compare='inputs')", "LayerCombination()",
    "AttentionMaps()", "AttentionMaps(side='decoder')", "AttentionMaps(side='cross')", "AttentionAlignment()",
]  # fmt: skip


def layers(*states: list[list[float]], mask: list[bool], attention: dict[Any, Any] | None = None) -> Layers:
    """One sentence whose encoder and decoder have the same states [tokens, d]: embeddings first."""
    hidden = [torch.tensor([rows]) for rows in states]
    known = torch.tensor([mask])
    return Layers(hidden, hidden, known, known, attention or {})


def test_cosine_by_hand() -> None:
    ours = layers([[9.0, 9.0]] * 3, [[1.0, 0.0], [1.0, 1.0], [5.0, 5.0]], mask=[True, True, False])
    theirs = layers([[0.0, 1.0]] * 3, [[0.0, 2.0], [3.0, 0.0], [1.0, 9.0]], mask=[True, True, False])
    expected = (1 - 0) + (1 - 1 / math.sqrt(2))
    assert float(Cosine().value(ours, theirs, None)) == pytest.approx(expected)


def test_hidden_mse_by_hand() -> None:
    """One student layer imitates the last of six; with compare="inputs" its input that layer's input."""
    states = [[[float(layer), 0.0], [7.0, 7.0]] for layer in range(7)]
    ours = layers([[1.0, 1.0], [0.0, 0.0]], [[2.0, 3.0], [0.0, 0.0]], mask=[True, False])
    theirs = layers(*states, mask=[True, False])
    assert supervised(6, 1) == [5]
    outputs = ((2 - 6) ** 2 + 3**2) / 2
    inputs = ((1 - 5) ** 2 + 1**2) / 2
    assert float(HiddenMSE(side="encoder").value(ours, theirs, None)) == pytest.approx(outputs)
    assert float(HiddenMSE(side="both").value(ours, theirs, None)) == pytest.approx(2 * outputs)
    assert float(HiddenMSE(side="decoder", compare="inputs").value(ours, theirs, None)) == pytest.approx(inputs)
    # Two of the student's layers are added, as released; the copied ones are the teacher's first and last.
    deeper = layers([[0.0, 0.0]] * 2, [[1.0, 1.0], [0.0, 0.0]], [[2.0, 3.0], [0.0, 0.0]], mask=[True, False])
    for table, chosen in (("supervised", [3, 5]), ("copied", [0, 5])):
        expected = sum(((a - 1 - k) ** 2 + b**2) / 2 for (a, b), k in zip([(1, 1), (2, 3)], chosen, strict=True))
        found = HiddenMSE(side="encoder", map=table).value(deeper, theirs, None)  # type: ignore[arg-type]
        assert float(found) == pytest.approx(expected)
    # After a layer norm of two features only their order is left: (-1, 1) against (1, -1).
    normed = HiddenMSE(side="encoder", normalise=True).value(ours, theirs, None)
    assert float(normed) == pytest.approx(4.0, abs=1e-3)


def test_the_six_maps_are_the_published_ones() -> None:
    """Wu et al. 2020, table 1: 6 teacher layers, 2 student layers."""
    assert {name: groups(name, 6, 2) for name in ("skip", "regular", "overlap", "skip-middle", "cross", "skip-comb")} == {
        "skip": [[3], [6]], "regular": [[1, 2, 3], [4, 5, 6]], "overlap": [[1, 2, 3, 4], [3, 4, 5, 6]],
        "skip-middle": [[1, 2], [5, 6]], "cross": [[1, 3], [4, 6]], "skip-comb": [[1, 3, 5], [2, 4, 6]],
    }  # fmt: skip
    assert groups("regular", 3, 3) == [[1], [2], [3]]


def test_layer_combination_by_hand() -> None:
    ours = layers([[0.0]], [[2.0]], mask=[True])
    theirs = layers([[5.0]], [[3.0]], [[4.0]], mask=[True])
    project = nn.ModuleList([nn.Linear(1, 2)]).requires_grad_(False)
    with torch.no_grad():
        project[0].weight.copy_(torch.tensor([[1.0], [0.0]]))
        project[0].bias.zero_()
    # norm([2, 0]) = [1, 0]; norm([3; 4]) = [0.6, 0.8]
    assert float(LayerCombination().value(ours, theirs, project)) == pytest.approx(0.4**2 + 0.8**2)
    written = LayerCombination(groups="2,1").value(ours, theirs, project)
    assert float(written) == pytest.approx(0.2**2 + 0.6**2)


def test_attention_maps_by_hand() -> None:
    """Heads are averaged; the padded query counts nothing."""
    ours = torch.tensor([[[[1.0, 0.0], [0.3, 0.7]], [[0.5, 0.5], [0.9, 0.1]]]])  # one sentence, two heads
    theirs = torch.tensor([[[[0.25, 0.75], [0.0, 1.0]]]])
    one = layers([[0.0], [0.0]], mask=[True, False], attention={"encoder": [ours]})
    two = layers([[0.0], [0.0]], mask=[True, False], attention={"encoder": [theirs]})
    assert float(AttentionMaps().value(one, two, None)) == pytest.approx(0.5**2 + 0.5**2)


def test_attention_alignment_is_zero_where_the_mixture_is_the_teacher() -> None:
    maps = torch.rand(1, 2, 3, 3).softmax(-1)
    given = {"encoder": [maps], "decoder": [maps], "cross": [maps]}
    side = layers([[0.0]] * 3, mask=[True, True, False], attention=given)
    module = AttentionAlignment().module(Shape(4, 1, 1, 2, 2), Shape(4, 1, 1, 2, 2))
    assert isinstance(module, nn.ModuleDict)
    module.requires_grad_(False)
    with torch.no_grad():
        for mixture in module.values():
            mixture.weight.copy_(torch.eye(2))
            mixture.bias.zero_()
    assert float(AttentionAlignment().value(side, side, module)) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        module["cross"].weight.mul_(0)  # uniform over the 2 heads x 2 x 2 positions that are no padding
    lq = maps[:, :, :2, :2].flatten().log_softmax(0)
    expected = 0.5 * float((lq.exp() * (lq + math.log(8))).sum())
    assert float(AttentionAlignment().value(side, side, module)) == pytest.approx(
        expected, rel=1e-4, abs=1e-6
    )  # sums of float32


@pytest.mark.parametrize("term", ALL)
def test_padding_changes_nothing_and_only_the_student_learns(
    term: str,
    tiny_vocab: Vocab,
    two_sentences: dict[str, Tensor],
) -> None:
    def run(given: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor], StudentLoss, Any]:
        torch.manual_seed(1)
        student, teacher = lively_model(tiny_vocab, "1x1:16:32:2"), lively_model(tiny_vocab, "2x2:32:64:4", seed=2)
        loss = StudentLoss(student, parse(f"NLL() + 0.5 * {term}"), teacher)
        value, sums = loss(denominator=torch.tensor(3.0), **given)
        value.backward()
        return value.detach(), sums, loss, teacher

    value, sums, loss, teacher = run(two_sentences)
    name = term.split("(")[0]
    torch.testing.assert_close(value, (sums["NLL"] + 0.5 * sums[name]) / 3)
    assert float(sums[name]) > 0
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in loss.beside.parameters() if p.ndim > 1)
    fill = {"labels": -100, "attention_mask": 0}
    wide = {n: nn.functional.pad(t, (0, 3), value=fill.get(n, tiny_vocab.pad_id)) for n, t in two_sentences.items()}
    again, others, *_ = run(wide)
    torch.testing.assert_close(again, value, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(others[name], sums[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("term", [*ALL, "WordKD()", "WordKD(iterations=3)", "Ranking(iterations=2)", "SelectiveKD()"])
def test_a_weight_of_zero_is_the_baseline_bit_for_bit(
    term: str, tiny_vocab: Vocab, two_sentences: dict[str, Tensor]
) -> None:
    """With dropout and a second step: neither other kernels nor more random numbers than the baseline's."""
    found = []
    for objective in ("NLL()", f"NLL() + 0 * {term}"):
        torch.manual_seed(1)
        student, teacher = (
            lively_model(tiny_vocab, size, seed=2, dropout=0.3) for size in ("1x1:32:64:4", "2x2:32:64:4")
        )
        loss = StudentLoss(student.train(), parse(objective), teacher)
        torch.manual_seed(1)
        for _ in range(2):
            value, _ = loss(denominator=torch.tensor(1.0), **two_sentences)
            value.backward()
        found.append([p.grad for p in student.parameters() if p.grad is not None])
    assert found[0] and all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_schedules() -> None:
    """Annealing: T_max = 4 equal steps of the factor; the alignment's weight falls geometrically."""
    term = LogitMSE(stages=4)
    factors = [term.at(progress).factor for progress in (0, 0.24, 0.25, 0.5, 0.99, 1.0)]
    assert factors == [0.25, 0.25, 0.5, 0.75, 1.0, 1.0]
    falling = parse("2 * AttentionAlignment(final_weight=0.25)")
    assert [falling.at(progress).terms[0][0] for progress in (0.0, 0.5, 1.0)] == [2.0, 1.0, 0.5]


def test_tables() -> None:
    assert copied(12, 6) == [0, 2, 4, 7, 9, 11] and copied(6, 3) == [0, 2, 5] and copied(3, 3) == [0, 1, 2]
    assert copied(24, 3) == [0, 12, 23] and copied(5, 1) == [0]
    assert supervised(12, 3) == [3, 7, 11] and supervised(10, 5) == [1, 3, 5, 7, 9] and supervised(9, 1) == [8]
    with pytest.raises(ConfigError, match="expected a student of 1 to 2 layers, as its teacher has, got 3"):
        copied(2, 3)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("Cosine(side='middle')", r"side must be encoder\|decoder"),
        ("HiddenMSE(side='none')", r"side must be both\|encoder\|decoder"),
        ("LayerCombination(map='best')", "map must be one of skip, regular"),
        ("LayerCombination(groups='1;2')", "groups must be written as in"),
        ("LayerCombination(groups=3)", "groups must be text, got 3"),
        ("AttentionMaps(side='both')", r"side must be encoder\|decoder\|cross"),
        ("AttentionAlignment(final_weight=0)", r"final_weight must be in \(0, 1\]"),
        ("LogitMSE(stages=-1)", "stages must be at least 0"),
        ("LogitMSE(stages=2.5)", "stages must be integer"),
        ("Ranking(k=2.5)", "k must be integer"),
        ("SelectiveKD(level='global', queue_size=2.5)", "queue_size must be integer"),
    ],
)
def test_wrong_parameters(expression: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(expression)


def test_wrong_shapes(tiny_vocab: Vocab) -> None:
    small, large = lively_model(tiny_vocab), lively_model(tiny_vocab, "3x3:32:64:4")
    with pytest.raises(ConfigError, match="looks at the layers of a teacher model, got none"):
        StudentLoss(small, parse("NLL() + Cosine()"), None)
    with pytest.raises(ConfigError, match="expected a student of 1 to 2 layers"):
        StudentLoss(large, parse("NLL() + HiddenMSE()"), small)
    with pytest.raises(ConfigError, match="wants a teacher of a multiple of 2 encoder layers, got 3"):
        StudentLoss(small, parse("NLL() + LayerCombination()"), large)
    with pytest.raises(ConfigError, match="expected 2 groups of encoder layers from 1 to 3, got '1/4'"):
        StudentLoss(small, parse("NLL() + LayerCombination(groups='1/4')"), large)
