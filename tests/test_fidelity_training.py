"""What each published loss moves, when, and that a weight of 0 moves nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import MarianMTModel

from conftest import lively_model
from distilmt import models
from distilmt.distilling.methods import FINE_TUNING, METHODS, PLAIN, RELEASED, Phase
from distilmt.distilling.recipe_options import RecipeOptions
from distilmt.objectives import Head, LayerTerm, LogitMSE, Neighbours, parse
from distilmt.objectives.expression import _TERMS
from distilmt.train import TrainingOptions
from distilmt.training import trainer
from distilmt.training.batches import encode_pairs
from distilmt.training.layer_init import copy_layers
from distilmt.training.student_loss import StudentLoss
from distilmt.vocab import Vocab

ONE = torch.tensor(1.0)
# KNNKD learns from stored neighbours and no model: test_knn.py.
OBJECTIVES = sorted({p.objective for m in METHODS.values() for p in m.phases if "KNNKD" not in p.objective})


def moved(student: MarianMTModel) -> set[str]:
    """Names of the parameters with a gradient other than 0."""
    return {name for name, p in student.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}


def learnt(
    objective: str, vocab: Vocab, batch: dict[str, Tensor], size: str = "1x1:32:64:4", teacher: str = "2x2:32:64:4"
) -> tuple[MarianMTModel, StudentLoss]:
    """A student with the gradients of one batch. The teacher's parameters ask for gradients before."""
    student, other = lively_model(vocab, size), lively_model(vocab, teacher, seed=2).requires_grad_(True)
    loss = StudentLoss(student, parse(objective), other)
    value, _ = loss(denominator=ONE, **batch)
    value.backward()
    assert not other.training and all(p.grad is None for p in other.parameters())
    return student, loss


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_methods_loss_moves_all_of_the_student_and_nothing_of_the_teacher(
    objective: str, tiny_vocab: Vocab, two_sentences: dict[str, Tensor]
) -> None:
    student, loss = learnt(objective, tiny_vocab, two_sentences)
    # The biases of keys shift every key alike, which no softmax sees.
    still = {name for name, p in student.named_parameters() if p.requires_grad} - moved(student)
    assert all(name.endswith("k_proj.bias") for name in still)
    assert all(p.grad is not None for p in loss.beside.parameters())


@pytest.mark.parametrize(
    ("objective", "moves", "rests"),
    [
        ("LayerCombination()", "encoder.layers.1.fc2.weight", "decoder."),  # Wu et al. 2020: the encoder alone
        ("LayerCombination(map='skip')", "encoder.layers.0.fc2.weight", "decoder."),
        ("Cosine(side='encoder')", "encoder.layers.1.fc2.weight", "decoder."),
        ("HiddenMSE(side='encoder')", "encoder.layers.1.fc2.weight", "decoder."),
        # As released it compares the inputs of layers: the last layer's output is never supervised.
        ("HiddenMSE(side='decoder')", "decoder.layers.1.fc2.weight", "no part"),
        ("HiddenMSE(side='decoder', compare='inputs')", "decoder.layers.0.fc2.weight", "decoder.layers.1."),
        ("AttentionMaps(side='encoder')", "encoder.layers.1.self_attn.q_proj.weight", "encoder.layers.1.fc"),
        ("AttentionMaps(side='cross')", "decoder.layers.1.encoder_attn.q_proj.weight", "decoder.layers.1.fc"),
        ("AttentionAlignment()", "decoder.layers.1.encoder_attn.q_proj.weight", "decoder.layers.1.fc"),
        ("Cosine()", "decoder.layers.1.fc2.weight", "no part"),
    ],
)
def test_a_term_on_layers_moves_what_it_looks_at(
    objective: str, moves: str, rests: str, tiny_vocab: Vocab, two_sentences: dict[str, Tensor]
) -> None:
    found = {
        name.removeprefix("model.")
        for name in moved(learnt(objective, tiny_vocab, two_sentences, "2x2:32:64:4", "4x4:32:64:4")[0])
    }
    assert moves in found and not [name for name in found if name.startswith(rests)]


@pytest.mark.parametrize("term", [name for name, term in _TERMS.items() if not issubclass(term, LayerTerm)])
def test_a_weight_of_zero_is_the_baseline_bit_for_bit_on_three_words(term: str) -> None:
    """Terms on layers: test_layer_terms.py."""
    g = torch.Generator().manual_seed(1)
    hidden, weight, teacher, states = (torch.randn(*s, generator=g) for s in ((5, 4), (3, 4), (5, 3), (5, 3)))
    hidden.requires_grad_()
    weight.requires_grad_()
    kind = Neighbours(torch.zeros(5, 1, dtype=torch.int64), torch.zeros(5, 1)) if term == "KNNKD" else teacher
    found = []
    for objective in ("0.7 * WordKD()" if term == "NLL" else "0.7 * NLL(label_smoothing=0.1)",):
        for added in ("", f" + 0 * {term}({'k=2' if term == 'Ranking' else ''})"):
            out = parse(objective + added).evaluate(
                student=Head(hidden, weight), targets=torch.tensor([2, 0, -100, 1, 1]), teacher=kind, snapshot=states
            )
            found.append([out.loss, *torch.autograd.grad(out.loss, (hidden, weight))])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_all_copied_layers_train_trap_4(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    """NeMo's copies were frozen and fewer than the student's layers: none of these is, after one step."""
    teacher, student = lively_model(tiny_vocab, "6x3:32:64:4", seed=2), lively_model(tiny_vocab, "3x2:32:64:4")
    teacher.requires_grad_(False)
    assert copy_layers(student, teacher) == ([0, 2, 5], [0, 2])
    before = {name: p.detach().clone() for name, p in student.named_parameters()}
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr=0.1)
    loss = StudentLoss(student, parse(METHODS["triple-layers"].objective), teacher)
    loss(denominator=ONE, **two_sentences)[0].backward()
    optimizer.step()
    same = {name for name, p in student.named_parameters() if torch.equal(p, before[name])}
    assert all(name.endswith(("k_proj.bias", "embed_positions.weight")) for name in same)
    assert len([name for name in before if name.endswith("fc1.weight")]) == 5


def test_annealing_has_two_stages_and_its_factor_rises_in_tenths(
    tiny_vocab: Vocab, two_sentences: dict[str, Tensor]
) -> None:
    """Jafari et al. 2021: Phi(T) = 1 - (T - 1) / T_max for T = 10, ..., 1; then hard labels alone, at the full rate."""
    assert METHODS["annealing"].phases == (Phase("gold", "LogitMSE(stages=10)"), Phase("gold", PLAIN))
    phi = [1 - (t - 1) / 10 for t in range(10, 0, -1)]
    assert [LogitMSE(stages=10).at(update / 10).factor for update in range(10)] == pytest.approx(phi)
    for epochs in (10, 30, 200):  # released: a counter that rises every int(epochs / T_max) epochs
        by_epoch = [(1 + epoch // (epochs // 10)) / 10 for epoch in range(epochs)]
        assert [LogitMSE(stages=10).at(epoch / epochs).factor for epoch in range(epochs)] == pytest.approx(by_epoch)
    student, teacher = lively_model(tiny_vocab), lively_model(tiny_vocab, seed=2)
    loss = StudentLoss(student, parse("LogitMSE(stages=10)"), teacher)
    rest = {name: value for name, value in two_sentences.items() if name != "labels"}
    with torch.no_grad():
        z, v = (model(**rest).logits[..., :-1][two_sentences["labels"] != -100] for model in (student, teacher))
        for progress, factor in ((0.0, 0.1), (0.55, 0.6), (0.999, 1.0)):
            loss.progress = progress
            torch.testing.assert_close(
                loss(denominator=ONE, **two_sentences)[0], (z - factor * v).square().mean(1).sum()
            )


def test_the_alignments_weight_falls_by_a_tenth_an_epoch() -> None:
    """Align-to-Distill: 0.9 to the power of the epochs behind, which over E epochs is final_weight = 0.9^E."""
    objective = parse(f"AttentionAlignment(final_weight={0.9**20})")
    assert [objective.at(epoch / 20).terms[0][0] for epoch in (0, 1, 10)] == pytest.approx([1, 0.9, 0.9**10])


def test_published_weights_of_the_methods() -> None:
    """What the sources state, in numbers: what a method minimises in each of its phases and passes."""
    tie = parse(METHODS["tie"].objective)
    sixth = 0.5 / 3  # alpha / N
    for number, nll in ((1, True), (2, False), (3, False)):
        terms = {type(term).__name__: weight for weight, term in tie.of_pass(number).terms}
        assert terms == pytest.approx({"WordKD": sixth, "Ranking": sixth} | ({"NLL": 0.5} if nll else {}))
    assert [t.k for _, t in tie.terms if type(t).__name__ == "Ranking"] == [5]  # type: ignore[attr-defined]
    assert METHODS["selective"].objective == f"{RELEASED} + SelectiveKD(rate=0.5)"  # added, not convex
    assert parse(METHODS["triple"].objective) == parse("2 * NLL() + 5 * WordKD(temperature=2) + 1 * Cosine()")
    assert parse(METHODS["combine"].objective) == parse("0.1 * NLL() + 0.2 * WordKD() + 0.7 * LayerCombination()")
    assert parse(METHODS["hybrid"].objective) == parse("NLL() + WordKD()")
    assert parse(METHODS["word-kd"].objective) == parse(f"0.5 * {PLAIN} + 0.5 * WordKD()")
    first, then = METHODS["stacked"].phases
    assert (first.recipe, first.objective, first.rate) == ("seq-kd", PLAIN, 1.0)
    assert (then.recipe, then.objective, then.rate) == ("seq-inter", METHODS["word-kd"].objective, FINE_TUNING)
    assert FINE_TUNING == 0.1  # Kim & Rush: 0.1 after 1.0


def test_knn_kd_is_as_released() -> None:
    """It has fairseq's older smoothing, e / V in every column, and both terms count alike; the page says the same."""
    assert parse(METHODS["knn-kd"].objective) == parse(f"{RELEASED} + KNNKD(temperature=100)")
    page = (Path(__file__).parents[1] / "docs" / "losses.md").read_text()
    (written,) = re.findall(r"`(NLL\([^`]*KNNKD\([^)]*\))`", page)
    assert parse(written) == parse(METHODS["knn-kd"].objective)
    assert RecipeOptions().knn_exclude == "none" and RecipeOptions().knn_k == 64


def test_the_checkpoint_is_chosen_by_bleu_and_not_by_the_loss_trap_15(
    tiny_vocab: Vocab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kim & Rush 2016: perplexity on gold gets worse while translations get better. The loss falls here, BLEU has a top."""
    lines = [f"the {n} sees the {m} ." for n in ("dog", "cat", "tree") for m in ("house", "river")]
    pairs = encode_pairs(lines, lines, list(range(1, 7)), tiny_vocab, max_tokens=64, what="text")
    bleu, weights = iter([5.0, 9.0, 9.0, 7.0]), []

    def scores(model: Path, dev: object, options: object, target_lang: str) -> dict[str, float]:
        weights.append(models.load(model).state_dict())
        return {"bleu": next(bleu), "chrf": 0.0}

    monkeypatch.setattr(trainer, "dev_scores", scores)
    options = TrainingOptions(updates=8, batch_tokens=64, eval_every=2, log_every=1, threads=1, precision="float32")
    found = trainer.fit(
        lively_model(tiny_vocab, "1x1:16:32:2"), tiny_vocab, pairs, (lines, lines), objective=parse("NLL()"), teacher=None,
        options=options, folder=tmp_path,
    )  # fmt: skip
    kept = models.load(found.model).state_dict()
    assert (found.best_update, found.dev_bleu) == (4, 9.0)  # the first of equals
    assert all(torch.equal(kept[name], value) for name, value in weights[1].items())
    assert found.curve[-1]["nll"] < found.curve[1]["nll"]
