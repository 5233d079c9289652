"""The loss of a batch of sentences: what counts as a target, and a teacher that stays the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import lively_model
from distilmt.errors import ConfigError
from distilmt.objectives import parse
from distilmt.training.student_loss import StudentLoss
from distilmt.vocab import Vocab

ONE = torch.tensor(1.0)


def sums(tiny_vocab: Vocab, two_sentences: dict[str, Tensor], objective: str = "NLL() + WordKD()") -> dict[str, Tensor]:
    models = [lively_model(tiny_vocab, seed=seed, dropout=0.5) for seed in (1, 2)]
    loss = StudentLoss(models[0].eval(), parse(objective), models[1].train())  # which the loss puts to rest
    assert not models[1].training
    first, again = (loss(denominator=ONE, **two_sentences) for _ in range(2))
    assert first[0] == again[0]  # trap 5
    return {"loss": first[0].detach(), **first[1]}


def test_a_teacher_in_train_mode_is_put_to_rest_trap_5(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    out = sums(tiny_vocab, two_sentences)
    torch.testing.assert_close(out["loss"], out["NLL"] + out["WordKD"])


def test_the_first_target_counts_although_decoding_starts_with_pad_trap_12(
    tiny_vocab: Vocab, two_sentences: dict[str, Tensor]
) -> None:
    model = lively_model(tiny_vocab, seed=1)
    rest = {name: value for name, value in two_sentences.items() if name != "labels"}
    lp = torch.log_softmax(model(**rest).logits[..., :-1], -1).detach()  # pad is no word
    each = -lp.gather(2, two_sentences["labels"].clamp(min=0)[..., None])[..., 0]
    known = two_sentences["labels"] != -100
    torch.testing.assert_close(sums(tiny_vocab, two_sentences)["NLL"], each[known].sum())
    first = torch.full_like(two_sentences["labels"], -100)
    first[:, 0] = two_sentences["labels"][:, 0]
    torch.testing.assert_close(sums(tiny_vocab, {**two_sentences, "labels": first})["NLL"], each[:, 0].sum())


def test_padding_changes_nothing_trap_1(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    fill = {"labels": -100, "attention_mask": 0}
    wide = {
        n: torch.nn.functional.pad(t, (0, 3), value=fill.get(n, tiny_vocab.pad_id)) for n, t in two_sentences.items()
    }  # fmt: skip
    torch.testing.assert_close(sums(tiny_vocab, wide), sums(tiny_vocab, two_sentences))


def test_what_is_reported_beside_the_terms(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    out = sums(tiny_vocab, two_sentences, "NLL() + SelectiveKD(0.5)")
    assert out.keys() == {"loss", "NLL", "SelectiveKD", "agreement", "looked", "selected", "gate", "nll", "tokens"}
    assert torch.equal(out["nll"], out["NLL"]) and out["tokens"] == 6
    assert out["selected"] == out["looked"] == 3 and 0 <= out["agreement"] <= 3


@pytest.mark.parametrize("objective", ["NLL(0.1) + WordKD()", "NLL() + HiddenMSE() + AttentionMaps(side='cross')"])
def test_a_loop_on_hugging_face_outputs_has_the_same_loss(
    tiny_vocab: Vocab, two_sentences: dict[str, Tensor], objective: str
) -> None:
    student, teacher = (lively_model(tiny_vocab, seed=seed) for seed in (1, 2))
    want, terms = StudentLoss(student, parse(objective), teacher)(denominator=torch.tensor(6.0), **two_sentences)
    rest = {name: value for name, value in two_sentences.items() if name != "labels"}
    outputs = [each(**rest, output_hidden_states=True, output_attentions=True) for each in (student, teacher)]
    mask = two_sentences["attention_mask"]
    found = parse(objective)(*outputs, two_sentences["labels"], words=tiny_vocab.pad_id, attention_mask=mask)
    torch.testing.assert_close(found.loss, want)
    for name, value in found.terms.items():
        torch.testing.assert_close(value * 6, terms[name])
    with pytest.raises(ConfigError, match=r"needs layers .*output_hidden_states=True"):
        parse("Cosine()")(student(**rest), teacher(**rest), two_sentences["labels"])


def test_later_passes_read_what_the_student_said_trap_10(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    """TIE-KD's iterations, by hand: the second pass's prefixes are the first one's best tokens, shifted, padding kept."""
    student, teacher = (lively_model(tiny_vocab, seed=seed) for seed in (1, 2))
    labels, rest = two_sentences["labels"], {n: t for n, t in two_sentences.items() if n != "labels"}
    loss = StudentLoss(student, parse("NLL() + 3 * WordKD(iterations=2)"), teacher)
    value, sums = loss(denominator=ONE, **two_sentences)
    with torch.no_grad():
        best = student(**rest).logits[..., :-1].argmax(-1)
        first = rest["decoder_input_ids"]
        second = torch.stack([torch.cat([row[:1], said[:-1]]) for row, said in zip(first, best, strict=True)])
        second[1, 2:] = tiny_vocab.pad_id
        each = []
        for prefixes in (first, second):
            lp, lq = (
                m(**{**rest, "decoder_input_ids": prefixes}).logits[..., :-1].log_softmax(-1)
                for m in (student, teacher)
            )
            each.append(((lq.exp() * (lq - lp)).sum(-1))[labels != -100].sum())
    assert bool((best[0, :3] != first[0, 1:]).any())  # the student says something else than gold
    torch.testing.assert_close(sums["WordKD"], (each[0] + each[1]) / 2)
    torch.testing.assert_close(value.detach(), sums["NLL"] + 3 * sums["WordKD"])
    value.backward()
    assert student.model.encoder.layers[0].fc1.weight.grad is not None


def test_what_no_training_can_serve_is_said_at_once(tiny_vocab: Vocab) -> None:
    models, term = [lively_model(tiny_vocab, seed=seed) for seed in (1, 2)], "SelectiveKD(by='mask')"
    for objectives in ((parse(f"NLL() + {term}"), None), (parse("NLL()"), parse(f"WordKD() + {term}"))):
        with pytest.raises(ConfigError, match="a training has no mask"):
            StudentLoss(models[0], objectives[0], models[1], objectives[1])


def test_the_students_own_words_bring_their_modules_and_maps(
    tiny_vocab: Vocab, two_sentences: dict[str, Tensor]
) -> None:
    student, teacher = lively_model(tiny_vocab, "1x1:16:32:2"), lively_model(tiny_vocab, seed=2)
    for own in ("LayerCombination()", "AttentionMaps()", "AttentionAlignment()"):
        loss = StudentLoss(student, parse("NLL()"), teacher, parse(f"WordKD() + {own}"))
        _, found = loss(denominator=ONE, own=True, **two_sentences)
        assert float(found[f"own_{own[:-2]}"]) > 0 and "own_nll" not in found
    with pytest.raises(ConfigError, match="looks at the layers of a teacher model, got none"):
        StudentLoss(student, parse("NLL()"), None, parse("Cosine()"))
    with pytest.raises(ConfigError, match="LayerCombination learns once for both objectives"):
        StudentLoss(student, parse("LayerCombination()"), teacher, parse("LayerCombination(groups='1')"))


def test_one_pass_is_what_it_was_bit_for_bit(tiny_vocab: Vocab, two_sentences: dict[str, Tensor]) -> None:
    one, two = (
        sums(tiny_vocab, two_sentences, f"0.5 * NLL() + 0.5 * WordKD({more}) + 0.5 * Ranking({more})")
        for more in ("", "iterations=1")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_output_bias_is_asked_once_and_again_where_it_was_written(
    tiny_vocab: Vocab, two_sentences: dict[str, Tensor]
) -> None:
    student, teacher = (lively_model(tiny_vocab, seed=seed) for seed in (1, 2))
    loss = StudentLoss(student, parse("NLL() + WordKD()"), teacher)

    class Asked(TorchDispatchMode):
        times = 0

        def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            Asked.times += op.overloadpacket is torch.ops.aten.any and args[0].shape == student.final_logits_bias.shape
            return op(*args, **(kwargs or {}))

    def step() -> tuple[float, int]:
        Asked.times = 0
        with Asked():
            return float(loss(denominator=ONE, **two_sentences)[0].detach()), Asked.times

    first, asked = step()
    assert asked == 2 and step() == (first, 0)
    student.final_logits_bias[0, tiny_vocab.eos_id] = 2.5
    biased, asked = step()
    assert biased != first and asked == 1 and step() == (biased, 0)
    student.load_state_dict(lively_model(tiny_vocab, seed=1).state_dict())
    assert step() == (first, 1)
