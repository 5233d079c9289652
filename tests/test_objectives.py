"""Objectives: composition, text, one native call, reports, and Hugging Face outputs."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from distilmt import objectives, reference
from distilmt.errors import ConfigError
from distilmt.objectives import NLL, Head, Objective, WordKD, parse
from distilmt.objectives import objective as objective_module
from distilmt.ops.linear_kd import DenseTeacher, NativeTerm


@pytest.fixture
def student() -> Head:
    g = torch.Generator().manual_seed(1)
    return Head(torch.randn(6, 8, generator=g).requires_grad_(), torch.randn(13, 8, generator=g).requires_grad_())


@pytest.fixture
def teacher() -> Head:
    g = torch.Generator().manual_seed(2)
    return Head(torch.randn(6, 5, generator=g), torch.randn(13, 5, generator=g), torch.randn(13, generator=g))


@pytest.fixture
def targets() -> Tensor:
    return torch.tensor([1, 2, -100, 12, 0, 2])


def test_an_objective_reads_as_its_formula() -> None:
    objective = 0.5 * NLL(label_smoothing=0.1) + WordKD(temperature=2.0) * 0.25
    assert repr(objective) == "0.5 * NLL(label_smoothing=0.1) + 0.25 * WordKD(temperature=2.0)"
    assert repr(NLL() + WordKD()) == "NLL() + WordKD()"  # parameters stand there where they differ from their defaults
    assert objective == 0.25 * (2 * NLL(0.1) + WordKD(2.0))
    assert objective.needs_teacher and not (0.5 * NLL()).needs_teacher


def test_loss_is_the_weighted_sum_of_the_reported_terms(student: Head, teacher: Head, targets: Tensor) -> None:
    objective = 0.3 * NLL(label_smoothing=0.1) + 1.7 * WordKD(temperature=2.0)
    out = objective.evaluate(student=student, targets=targets, teacher=teacher)
    assert out.tokens == 5 and list(out.terms) == ["NLL", "WordKD"]
    torch.testing.assert_close(out.loss.detach(), 0.3 * out.terms["NLL"] + 1.7 * out.terms["WordKD"])
    plain = reference.linear_kd(student.hidden, student.weight, targets, terms=[NativeTerm("nll")])
    torch.testing.assert_close(out.nll, plain.loss.detach())  # without smoothing, whatever the objective
    assert out.loss.requires_grad and not any(value.requires_grad for value in (*out.terms.values(), out.nll))


def test_all_terms_are_one_native_call(
    student: Head, teacher: Head, targets: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    native = objective_module.linear_kd
    monkeypatch.setattr(objective_module, "linear_kd", lambda *a, **k: calls.append(k) or native(*a, **k))
    (NLL() + WordKD()).evaluate(student=student, targets=targets, teacher=teacher)
    assert len(calls) == 1


def test_row_weights_and_denominator(student: Head, teacher: Head, targets: Tensor) -> None:
    objective, weights = NLL() + WordKD(), torch.tensor([1.0, 0.0, 3.0, 2.0, 0.5, 1.0])
    out = objective.evaluate(student=student, targets=targets, teacher=teacher, weights=weights, denominator=7.0)
    terms, dense = (
        [NativeTerm("nll"), NativeTerm("forward_kl")],
        DenseTeacher(teacher.hidden, teacher.weight, teacher.bias),
    )
    given = {"terms": terms, "teachers": [dense], "row_weights": weights, "denominator": 7.0}
    want = reference.linear_kd(student.hidden, student.weight, targets, **given).loss
    torch.testing.assert_close(out.loss, want)
    unweighted = objective.evaluate(student=student, targets=targets, teacher=teacher)
    assert out.terms == unweighted.terms  # reports are per target, whatever the weights


def test_a_term_alone_is_an_objective(student: Head, targets: Tensor) -> None:
    alone, sum_of_one = NLL().evaluate(student=student, targets=targets), Objective(((1.0, NLL()),))
    assert alone.loss == sum_of_one.evaluate(student=student, targets=targets).loss


def test_a_teacher_that_nobody_asks_costs_nothing(student: Head, targets: Tensor) -> None:
    wrong = Head(torch.zeros(1, 1), torch.zeros(1, 1))
    assert NLL().evaluate(student=student, targets=targets, teacher=wrong).terms.keys() == {"NLL"}


def test_all_masked_batch_has_loss_zero_and_zero_gradients_c3_30(student: Head, teacher: Head, targets: Tensor) -> None:
    masked = torch.full_like(targets, -100)
    out = (NLL(0.1) + WordKD()).evaluate(student=student, targets=masked, teacher=teacher)
    out.loss.backward()
    assert out.loss == 0 and out.tokens == 0 and out.nll == 0 and not any(out.terms.values())
    assert not student.hidden.grad.any() and not student.weight.grad.any()


def test_hugging_face_outputs_in_a_plain_loop(student: Head, teacher: Head, targets: Tensor) -> None:
    def outputs(head: Head) -> SimpleNamespace:
        logits = head.hidden @ head.weight.T + (0 if head.bias is None else head.bias)
        return SimpleNamespace(logits=logits.view(2, 3, 13))

    objective = 0.5 * NLL(0.1) + 0.5 * WordKD(2.0)
    whole = objective.evaluate(student=student, targets=targets, teacher=teacher)
    want = torch.autograd.grad(whole.loss, (student.hidden, student.weight))
    out = objective(outputs(student), outputs(teacher), targets.view(2, 3))
    torch.testing.assert_close(out.loss, whole.loss)
    torch.testing.assert_close(torch.autograd.grad(out.loss, (student.hidden, student.weight)), want)
    torch.testing.assert_close(NLL()(outputs(student), None, targets.view(2, 3)).nll, whole.nll)


def test_a_missing_teacher_is_named(student: Head, targets: Tensor) -> None:
    with pytest.raises(ValueError, match=r"WordKD\(\) needs a teacher, got None"):
        WordKD().evaluate(student=student, targets=targets)


def test_what_one_call_cannot_do_is_refused(student: Head, teacher: Head, targets: Tensor) -> None:
    given = {"student": student, "targets": targets, "teacher": teacher}
    twice = NLL() + 4 * WordKD(iterations=2)
    with pytest.raises(ConfigError, match="one call is one decoder pass"):
        twice.evaluate(**given)
    assert twice.of_pass(1) == NLL() + 2 * WordKD() and twice.of_pass(2) == 2 * WordKD()
    assert twice.of_pass(1).evaluate(**given).loss == (NLL() + 2 * WordKD()).evaluate(**given).loss
    with pytest.raises(ConfigError, match=r"call objective.at\(progress\), from 0 to 1"):
        parse("LogitMSE(stages=4)").evaluate(**given)
    assert parse("LogitMSE(stages=4)").at(0.5).evaluate(**given).loss > 0
    with pytest.raises(ConfigError, match="terms on layers know no row weights"):
        parse("NLL() + Cosine()").evaluate(**given, weights=torch.ones(6), layers=())


@pytest.mark.parametrize(
    "text",
    [
        "NLL()",
        "0.5*NLL(label_smoothing=0.1)+0.5*WordKD(temperature=2)",
        "NLL(0.1) / 3 + WordKD() * 0.1",
        "2 * (0.25 * NLL() + WordKD(temperature=0.5))",
        "NLL(0.1, 'all', 3.0)",
        "WordKD(2.0, teacher_temperature=1.5) + Inheritance()",
        "WordKD(tail='rest')",
        "WordCE(0.5) + 3 * ReverseKD(2.0) + JensenShannon(0.3, continuous=True)",
        "SkewKD(0.2) + SkewReverseKD(0.3, 2) + TotalVariation() + AdaptiveKD(0.7)",
        "LogitMSE(0.5, centred=True) + Ranking(3) + Top1(weighted=True) + WithoutTop1(2.0)",
        "NLL(label_smoothing=0.1) + SelectiveKD(rate=0.3, level='global', queue_size=50, update='step', gather=True)",
        "NLL() + KNNKD(100.0)",
    ],
)
def test_text_is_read_and_written_back(text: str) -> None:
    assert parse(repr(parse(text))) == parse(text)


def test_every_term_can_be_written() -> None:
    terms = [getattr(objectives, name) for name in objectives.__all__]
    terms = [
        term
        for term in terms
        if isinstance(term, type)
        and issubclass(term, objectives.Term)
        and term not in (objectives.Term, objectives.LayerTerm)
    ]
    assert len(terms) == 21
    for term in terms:
        assert repr(term()) == f"{term.__name__}()" and parse(f"{term.__name__}()") == 1.0 * term()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NL()", "unknown term 'NL' - did you mean NLL?"),
        ("wordkd()", "unknown term 'wordkd' - did you mean WordKD?"),
        ("NLL(label_smothing=0.1)", "NLL has no parameter 'label_smothing' - did you mean label_smoothing?"),
        ("NLL(label_smoothing='a')", "NLL: label_smoothing must be number, got 'a'"),
        ("NLL(0.1, 0.2)", "smoothing must be others|all, got 0.2"),
        ("NLL(temperature=None)", "temperature must be number, got None"),
        ("KNNKD(epochs=None)", "epochs must be number, got None"),
        ("SelectiveKD(lowest='false')", "lowest must be true|false, got 'false'"),
        ("SkewReverseKD(skew=True)", "skew must be number, got True"),
        ("WordKD(temperature=1e5)", "temperature must be at most 10000, got 100000.0"),
        ("NLL(0.1, 'all', 1.0, 2.0)", "parameters: label_smoothing"),
        ("NLL(label_smoothing=x)", "'x' is not a plain value"),
        ("NLL", r"write NLL()"),
        ("NLL(", "not an expression"),
        ("", "not an expression"),
        ("0.5", "a number alone"),
        ("True * NLL()", "neither a number nor a term"),
        ("NLL() * NLL()", "cannot compute 'NLL() * NLL()'"),
        ("NLL() - WordKD()", "cannot compute"),
        ("NLL() / 0", "cannot compute"),
        ("__import__('os').system('ls')", "unknown term"),
        ("[NLL() for _ in range(3)][0]", "is not a plain value"),
        ("NLL() + NLL(0.1)", "NLL stands twice"),
        ("-1 * NLL()", "must be finite and at least 0, got -1.0"),
        ("1e999 * NLL()", "must be finite and at least 0, got inf"),
        ("WordKD(temperature=0)", "temperature must be finite and above 0, got 0"),
        ("NLL(label_smoothing=1)", "label_smoothing must be in [0, 1), got 1"),
        ("NLL(temperature=-1)", "temperature must be finite and above 0, got -1"),
        ("WordKD(teacher_temperature=0)", "teacher_temperature must be finite and above 0, got 0"),
        ("WordKD(tail='half')", "tail must be renormalise|drop|rest, got 'half'"),
        ("JensenShannon(beta=0)", "for 0 write WordKD, for 1 ReverseKD"),
        ("SkewKD(skew=1)", "skew must lie between 0 and 1, got 1"),
        ("AdaptiveKD(mass=0)", "mass must lie between 0 and 1, got 0"),
        ("LogitMSE(factor=0)", "factor must be in (0, 1], got 0"),
        ("Ranking(k=65)", "k must lie in [1, 64], got 65"),
        ("SelectiveKD(rate=0)", "rate must be in (0, 1], got 0"),
        ("SelectiveKD(rate=1.1)", "rate must be in (0, 1], got 1.1"),
        ("SelectiveKD(by='length')", "by must be one of student_nll, teacher_entropy"),
        ("SelectiveKD(level='sentence')", "level must be batch|global, got 'sentence'"),
        ("SelectiveKD(level='global', by='mask')", "got by='mask'"),
        ("SelectiveKD(level='global', queue_size=0)", "queue_size must be at least 1, got 0"),
        ("SelectiveKD(level='global', gather=True)", "gather=True needs update='step'"),
        ("(" * 500 + "NLL()" + ")" * 500, "not an expression"),
    ],
)
def test_a_wrong_expression_is_explained_c3_31(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert message in str(caught.value) and str(caught.value).startswith("objective ")


@pytest.mark.parametrize("second", ["WordKD(2.0)", "Ranking()", "SelectiveKD(0.5)", "SelectiveKD(level='global')"])
def test_compiles_without_a_graph_break(student: Head, teacher: Head, targets: Tensor, second: str) -> None:
    objective = parse(f"0.5 * NLL(0.1) + 0.5 * {second}")

    def loss(hidden: Tensor, weight: Tensor) -> Tensor:
        return objective.evaluate(student=Head(hidden, weight), targets=targets, teacher=teacher).loss

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert compiled(student.hidden, student.weight) == loss(student.hidden, student.weight)


def test_parameters_of_types_that_no_option_has_are_taken_as_they_are() -> None:
    @dataclass(frozen=True, repr=False)
    class Scaled(NLL):
        shares: dict[str, float] = field(default_factory=dict)
        given: InitVar[int] = 0

        def __post_init__(self, given: int) -> None:
            super().__post_init__()
            assert given == 3

    assert Scaled(0.1, shares={"a": 1.0}, given=3).shares == {"a": 1.0}
    with pytest.raises(ConfigError, match="Scaled: label_smoothing must be number, got 'a'"):
        Scaled("a", given=3)  # type: ignore[arg-type]
