"""The loss of a batch of sentences: what counts as a target, and a teacher that stays the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from conftest import lively_model
from distilmt.objectives import parse
from distilmt.student_loss import StudentLoss
from distilmt.vocab import Vocab

ONE = torch.tensor(1.0)


@pytest.fixture(scope="module")
def inputs(tiny_vocab: Vocab) -> dict[str, Tensor]:
    """Two sentences of 4 and 2 targets."""
    labels = torch.tensor([[5, 9, 30, tiny_vocab.eos_id], [7, tiny_vocab.eos_id, -100, -100]])
    decoder = torch.tensor([[tiny_vocab.pad_id, 5, 9, 30], [tiny_vocab.pad_id, 7, *[tiny_vocab.pad_id] * 2]])
    source = torch.tensor([[8, 11, tiny_vocab.eos_id], [12, tiny_vocab.eos_id, tiny_vocab.pad_id]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    return {"labels": labels, "input_ids": source, "attention_mask": mask, "decoder_input_ids": decoder}


def sums(tiny_vocab: Vocab, inputs: dict[str, Tensor], objective: str = "NLL() + WordKD()") -> dict[str, Tensor]:
    models = [lively_model(tiny_vocab, seed=seed, dropout=0.5) for seed in (1, 2)]
    loss = StudentLoss(models[0].eval(), parse(objective), models[1].train())  # which the loss puts to rest
    assert not models[1].training
    first, again = (loss(denominator=ONE, **inputs) for _ in range(2))
    assert first[0] == again[0]  # trap 5
    return {"loss": first[0].detach(), **first[1]}


def test_a_teacher_in_train_mode_is_put_to_rest_trap_5(tiny_vocab: Vocab, inputs: dict[str, Tensor]) -> None:
    out = sums(tiny_vocab, inputs)
    torch.testing.assert_close(out["loss"], out["NLL"] + out["WordKD"])


def test_the_first_target_counts_although_decoding_starts_with_pad_trap_12(
    tiny_vocab: Vocab, inputs: dict[str, Tensor]
) -> None:
    model = lively_model(tiny_vocab, seed=1)
    rest = {name: value for name, value in inputs.items() if name != "labels"}
    lp = torch.log_softmax(model(**rest).logits[..., :-1], -1).detach()  # pad is no word
    each = -lp.gather(2, inputs["labels"].clamp(min=0)[..., None])[..., 0]
    known = inputs["labels"] != -100
    torch.testing.assert_close(sums(tiny_vocab, inputs)["NLL"], each[known].sum())
    first = torch.full_like(inputs["labels"], -100)
    first[:, 0] = inputs["labels"][:, 0]
    torch.testing.assert_close(sums(tiny_vocab, {**inputs, "labels": first})["NLL"], each[:, 0].sum())


def test_padding_changes_nothing_trap_1(tiny_vocab: Vocab, inputs: dict[str, Tensor]) -> None:
    fill = {"labels": -100, "attention_mask": 0}
    wide = {
        n: torch.nn.functional.pad(t, (0, 3), value=fill.get(n, tiny_vocab.pad_id)) for n, t in inputs.items()
    }  # fmt: skip
    torch.testing.assert_close(sums(tiny_vocab, wide), sums(tiny_vocab, inputs))


def test_what_is_reported_beside_the_terms(tiny_vocab: Vocab, inputs: dict[str, Tensor]) -> None:
    out = sums(tiny_vocab, inputs, "NLL() + SelectiveKD(0.5)")
    assert out.keys() == {"loss", "NLL", "SelectiveKD", "agreement", "selected", "gate"}
    assert out["selected"] == 3 and 0 <= out["agreement"] <= 6
